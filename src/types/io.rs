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
