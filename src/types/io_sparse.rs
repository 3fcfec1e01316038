//! Text, binary and type-modifier functions of `sparsevec`.
//!
//! Shells between PostgreSQL's strings and message buffers and `vectorgpu_core::sparse`.

use std::ffi::{CStr, CString};

use pgrx::datum::Internal;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::sparse::{text, wire};
use vectorgpu_core::vector_type::VectorType;

use super::message::Message;
use super::modifier::integer_modifiers;
use super::sparse::{SparseVector, SparseVectorBuilder};
use crate::error::OrRaise;

/// `sparsevec_in(cstring, oid, integer) -> sparsevec`.
#[pg_extern(sql = false)]
fn sparsevec_in(text: &CStr, _element_type: pg_sys::Oid, typmod: i32) -> SparseVectorBuilder {
    let vector = text::parse(text.to_bytes(), typmod).or_raise();
    SparseVectorBuilder::from_sparse(vector.as_sparse())
}

/// `sparsevec_out(sparsevec) -> cstring`.
#[pg_extern(sql = false)]
fn sparsevec_out(vector: SparseVector<'_>) -> CString {
    let mut out = Vec::new();
    text::format(vector.elements(), &mut out);
    CString::new(out).expect("digits and punctuation hold no NUL")
}

/// `sparsevec_typmod_in(cstring[]) -> integer`: the dimensions in `sparsevec(n)`.
#[pg_extern(sql = false)]
fn sparsevec_typmod_in(modifiers: Array<'_, &CStr>) -> i32 {
    VectorType::Sparsevec
        .type_modifier(&integer_modifiers(modifiers))
        .or_raise()
}

/// `sparsevec_recv(internal, oid, integer) -> sparsevec`.
#[pg_extern(sql = false)]
fn sparsevec_recv(buffer: Internal, _element_type: pg_sys::Oid, typmod: i32) -> SparseVectorBuilder {
    receive(&mut Message::new(buffer), typmod).or_raise()
}

fn receive(message: &mut Message, typmod: i32) -> Result<SparseVectorBuilder> {
    let (header, _) = message.take(wire::HEADER_BYTES).as_chunks();
    let header = wire::decode_header(header[0], typmod)?;
    let mut vector = SparseVectorBuilder::with_room(header);
    let (indices, values) = vector.parts_mut();
    let bytes = header.count * wire::ELEMENT_BYTES;
    message.read(bytes, |bytes| wire::decode_indices(bytes, header.dims, indices))?;
    message.read(bytes, |bytes| wire::decode_values(bytes, values))?;
    Ok(vector)
}

/// `sparsevec_send(sparsevec) -> bytea`.
#[pg_extern(sql = false)]
fn sparsevec_send(vector: SparseVector<'_>) -> Vec<u8> {
    wire::encode(vector.elements())
}
