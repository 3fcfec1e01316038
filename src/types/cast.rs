//! Casts to arrays and to a type modifier.
//!
//! Each takes the target's type modifier and an explicit-cast flag that makes no difference.

use pgrx::array::FlatArray;
use pgrx::memcx::MemCx;
use pgrx::palloc::PBox;
use pgrx::prelude::*;
use vectorgpu_core::vector::check_typmod;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::vector::Vector;
use crate::error::OrRaise;

/// `vector(vector, integer, boolean) -> vector`: checks the dimensions.
#[pg_extern(sql = false)]
fn vector_to_vector(vector: Vector<'_>, typmod: i32, _explicit: bool) -> Vector<'_> {
    check_typmod(typmod, vector.len()).or_raise();
    vector
}

/// `vector_to_float4(vector, integer, boolean) -> real[]`.
#[pg_extern(sql = false)]
fn vector_to_float4<'fcx>(
    vector: Vector<'fcx>,
    _typmod: i32,
    _explicit: bool,
    memory: &MemCx<'fcx>,
) -> PBox<'fcx, FlatArray<'fcx, f32>> {
    float4_array(&vector, memory).or_raise()
}

fn float4_array<'fcx>(values: &[f32], memory: &MemCx<'fcx>) -> Result<PBox<'fcx, FlatArray<'fcx, f32>>> {
    FlatArray::new_from_slice(values, memory).map_err(|error| {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("cannot allocate an array: {error:?}"),
        )
    })
}
