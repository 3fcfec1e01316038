//! Text, binary and type-modifier functions of `vector`.
//!
//! Shells between PostgreSQL's strings and message buffers and `vectorgpu_core::vector`.

use std::ffi::{CStr, CString};

use pgrx::datum::Internal;
use pgrx::prelude::*;
use vectorgpu_core::limits::MAX_DIMS;
use vectorgpu_core::vector::{check_typmod, text, wire};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::vector::{Vector, VectorBuilder};
use crate::error::OrRaise;

/// `vector_in(cstring, oid, integer) -> vector`.
#[pg_extern(sql = false)]
fn vector_in(text: &CStr, _element_type: pg_sys::Oid, typmod: i32) -> VectorBuilder {
    parse(text.to_bytes(), typmod).or_raise()
}

fn parse(text: &[u8], typmod: i32) -> Result<VectorBuilder> {
    let mut vector = VectorBuilder::zeros(text::element_capacity(text));
    let dims = text::parse(text, &mut vector)?;
    check_typmod(typmod, dims)?;
    // The capacity counts commas, of which a well-formed vector has one fewer than elements.
    assert_eq!(dims, vector.len(), "a parsed vector fills its room");
    Ok(vector)
}

/// `vector_out(vector) -> cstring`.
#[pg_extern(sql = false)]
fn vector_out(vector: Vector<'_>) -> CString {
    let mut out = Vec::new();
    text::format(&vector, &mut out);
    CString::new(out).expect("digits and punctuation hold no NUL")
}

/// `vector_typmod_in(cstring[]) -> integer`: the dimensions in `vector(n)`.
#[pg_extern(sql = false)]
fn vector_typmod_in(modifiers: Array<'_, &CStr>) -> i32 {
    check_modifiers(&integer_modifiers(modifiers)).or_raise()
}

fn check_modifiers(modifiers: &[i32]) -> Result<i32> {
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
    match *modifiers {
        [dims] if dims < 1 => invalid("dimensions for type vector must be at least 1".to_owned()),
        [dims] if usize::try_from(dims).is_ok_and(|dims| dims > MAX_DIMS) => {
            invalid(format!("dimensions for type vector cannot exceed {MAX_DIMS}"))
        }
        [dims] => Ok(dims),
        _ => invalid("invalid type modifier".to_owned()),
    }
}

/// Reads the modifiers as PostgreSQL does, with its errors for what is not an integer.
#[expect(
    unsafe_code,
    reason = "PostgreSQL's own parser of type modifiers has only a C interface"
)]
fn integer_modifiers(modifiers: Array<'_, &CStr>) -> Vec<i32> {
    let mut count = 0;
    let array = modifiers.into_array_type().cast_mut();
    // SAFETY: a valid array, which the function only reads; `count` receives the number of integers.
    let first = unsafe { pg_sys::ArrayGetIntegerTypmods(array, &raw mut count) };
    let Ok(count @ 1..) = usize::try_from(count) else {
        return Vec::new();
    };
    // SAFETY: the function returned `count` integers in palloc'd memory.
    unsafe { std::slice::from_raw_parts(first, count) }.to_vec()
}

/// `vector_recv(internal, oid, integer) -> vector`.
#[pg_extern(sql = false)]
fn vector_recv(buffer: Internal, _element_type: pg_sys::Oid, typmod: i32) -> VectorBuilder {
    receive(&mut Message::new(buffer), typmod).or_raise()
}

fn receive(message: &mut Message, typmod: i32) -> Result<VectorBuilder> {
    let (header, _) = message.take(wire::HEADER_BYTES).as_chunks();
    let dims = wire::decode_header(header[0], typmod)?;
    let mut vector = VectorBuilder::zeros(dims);
    let bytes = dims * wire::ELEMENT_BYTES;
    // Of a message that is too short, what is there is checked first, as a reader of single elements would do.
    let present = bytes.min(message.remaining());
    wire::decode_elements(message.take(present), &mut vector)?;
    message.take(bytes - present);
    Ok(vector)
}

/// `vector_send(vector) -> bytea`.
#[pg_extern(sql = false)]
fn vector_send(vector: Vector<'_>) -> Vec<u8> {
    wire::encode(&vector)
}

/// The message that a receive function reads from.
struct Message {
    buffer: pg_sys::StringInfo,
}

#[expect(
    unsafe_code,
    reason = "a receive function gets PostgreSQL's message buffer as a raw pointer"
)]
impl Message {
    fn new(buffer: Internal) -> Self {
        let buffer = buffer
            .unwrap()
            .expect("a receive function is strict")
            .cast_mut_ptr();
        Self { buffer }
    }

    /// Bytes not yet read.
    fn remaining(&self) -> usize {
        // SAFETY: the argument of type internal of a receive function is a StringInfo.
        let buffer = unsafe { &*self.buffer };
        usize::try_from(buffer.len - buffer.cursor).unwrap_or(0)
    }

    /// Reads `count` bytes, or raises 08P01 when fewer are left.
    fn take(&mut self, count: usize) -> &[u8] {
        let length = i32::try_from(count).unwrap_or(i32::MAX);
        // SAFETY: a StringInfo as above; the function checks the length and moves the cursor.
        let start = unsafe { pg_sys::pq_getmsgbytes(self.buffer, length) };
        // SAFETY: the function returned `count` bytes inside the buffer, which nobody changes during the call.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use std::panic::AssertUnwindSafe;

    use pgrx::stringinfo::StringInfo;

    use super::*;

    /// Numbers of all magnitudes from a multiplicative generator, so that a failure can be repeated.
    fn seeded_numbers(count: usize) -> Vec<f32> {
        let mut state = 20_261_123u64;
        let next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f32::from_bits(u32::try_from(state >> 32).expect("32 bits"))
        };
        std::iter::repeat_with(next)
            .filter(|number| number.is_finite())
            .take(count)
            .collect()
    }

    #[pg_test]
    fn numbers_print_as_postgresql_prints_a_real() {
        // The generator's numbers, whole numbers on both sides of the exponent form, and every power of ten.
        let mut numbers = seeded_numbers(200_000);
        numbers.extend((0..100_000u32).map(|number| f32::from_bits(0x4974_2400 - 50_000 + number)));
        numbers.extend((-45..39).map(|power| format!("1e{power}").parse::<f32>().expect("a number")));
        let different = Spi::get_one_with_args::<i64>(
            "SELECT count(*) FROM unnest($1) e WHERE ARRAY[e]::vector::text <> '[' || e::text || ']'",
            &[numbers.into()],
        );
        assert_eq!(different, Ok(Some(0)));
    }

    #[pg_test]
    fn text_and_binary_forms_read_back_bit_for_bit() {
        let different = Spi::get_one_with_args::<i64>(
            "SELECT count(*) FROM unnest($1) e, LATERAL (SELECT ARRAY[e, -e]::vector v) pair \
             WHERE vector_send(v::text::vector) <> vector_send(v)",
            &[seeded_numbers(50_000).into()],
        );
        assert_eq!(different, Ok(Some(0)));

        for dims in [1, 2, 100, 16_000] {
            let elements = seeded_numbers(dims);
            let mut buffer = StringInfo::new();
            buffer.push_bytes(&wire::encode(&elements));
            let mut message = Message {
                buffer: buffer.into_pg(),
            };
            let received = receive(&mut message, i32::try_from(dims).expect("small")).expect("own output");
            let bits = |elements: &[f32]| {
                elements
                    .iter()
                    .map(|element| element.to_bits())
                    .collect::<Vec<_>>()
            };
            assert_eq!(bits(&received), bits(&elements));
            assert_eq!(message.remaining(), 0);
        }
    }

    #[pg_test]
    fn arbitrary_messages_are_received_or_refused() {
        for (at, number) in seeded_numbers(2000).into_iter().enumerate() {
            let mut bytes = vec![0, u8::try_from(at % 5).expect("small"), 0, 0];
            bytes.extend(number.to_bits().to_le_bytes().repeat(at % 4));
            let mut buffer = StringInfo::new();
            buffer.push_bytes(&bytes[..bytes.len() - at % 3]);
            let mut message = Message {
                buffer: buffer.into_pg(),
            };
            let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
                receive(&mut message, -1).map(|vector| vector.len())
            }))
            .catch_when(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, |_| Ok(0))
            .execute();
            match outcome {
                Ok(dims) => assert!(dims == 0 || dims == at % 5),
                Err(error) => assert_eq!(error.kind(), ErrorKind::DataException),
            }
        }
    }
}
