//! Text, binary and type-modifier functions of `vector` and `halfvec`.
//!
//! Shells between PostgreSQL's strings and message buffers and `vectorgpu_core::vector`.

use std::ffi::{CStr, CString};

use pgrx::datum::Internal;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::vector::{DenseElement, check_typmod, text, wire};
use vectorgpu_core::vector_type::VectorType;

use super::message::Message;
use super::modifier::integer_modifiers;
use super::vector::{Dense, DenseBuilder, HalfVector, HalfVectorBuilder, Vector, VectorBuilder};
use crate::error::OrRaise;

/// The functions of one type: `T_in(cstring, oid, integer) -> T`, `T_out(T) -> cstring`,
/// `T_typmod_in(cstring[]) -> integer`, `T_recv(internal, oid, integer) -> T` and `T_send(T) -> bytea`.
macro_rules! input_and_output {
    ($value:ident, $builder:ident, $type:ident: $in:ident, $out:ident, $typmod_in:ident, $recv:ident, $send:ident) => {
        #[pg_extern(sql = false)]
        fn $in(text: &CStr, _element_type: pg_sys::Oid, typmod: i32) -> $builder {
            parse(text.to_bytes(), typmod).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $out(vector: $value<'_>) -> CString {
            print(&vector)
        }

        #[pg_extern(sql = false)]
        fn $typmod_in(modifiers: Array<'_, &CStr>) -> i32 {
            VectorType::$type
                .type_modifier(&integer_modifiers(modifiers))
                .or_raise()
        }

        #[pg_extern(sql = false)]
        fn $recv(buffer: Internal, _element_type: pg_sys::Oid, typmod: i32) -> $builder {
            receive(&mut Message::new(buffer), typmod).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $send(vector: $value<'_>) -> Vec<u8> {
            wire::encode(&vector)
        }
    };
}

input_and_output!(Vector, VectorBuilder, Vector:
    vector_in, vector_out, vector_typmod_in, vector_recv, vector_send);
input_and_output!(HalfVector, HalfVectorBuilder, Halfvec:
    halfvec_in, halfvec_out, halfvec_typmod_in, halfvec_recv, halfvec_send);

fn parse<T: DenseElement>(text: &[u8], typmod: i32) -> Result<DenseBuilder<T>> {
    let mut vector = DenseBuilder::zeros(text::element_capacity(text));
    let dims = text::parse(text, &mut vector)?;
    check_typmod(typmod, dims)?;
    // The capacity counts commas, of which a well-formed vector has one fewer than elements.
    assert_eq!(dims, vector.len(), "a parsed vector fills its room");
    Ok(vector)
}

fn print<T: DenseElement>(vector: &Dense<'_, T>) -> CString {
    let mut out = Vec::new();
    text::format(vector, &mut out);
    CString::new(out).expect("digits and punctuation hold no NUL")
}

fn receive<T: DenseElement>(message: &mut Message, typmod: i32) -> Result<DenseBuilder<T>> {
    let (header, _) = message.take(wire::HEADER_BYTES).as_chunks();
    let dims = wire::decode_header::<T>(header[0], typmod)?;
    let mut vector = DenseBuilder::zeros(dims);
    message.read(dims * size_of::<T>(), |bytes| {
        wire::decode_elements(bytes, &mut vector)
    })?;
    Ok(vector)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use std::panic::AssertUnwindSafe;

    use pgrx::stringinfo::StringInfo;

    use vectorgpu_core::ErrorKind;

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
            let mut message = Message::over(buffer.into_pg());
            let received =
                receive::<f32>(&mut message, i32::try_from(dims).expect("small")).expect("own output");
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
            let mut message = Message::over(buffer.into_pg());
            let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
                receive::<f32>(&mut message, -1).map(|vector| vector.len())
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
