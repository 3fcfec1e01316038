//! Casts between the vector types, to arrays, and to a type modifier.
//!
//! Each takes the target's type modifier and an explicit-cast flag that makes no difference.

use pgrx::array::FlatArray;
use pgrx::memcx::MemCx;
use pgrx::palloc::PBox;
use pgrx::prelude::*;
use vectorgpu_core::sparse::{self, SparseBuffer};
use vectorgpu_core::vector::{DenseElement, check_typmod, checked_narrow};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::sparse::{SparseVector, SparseVectorBuilder};
use super::vector::{Dense, DenseBuilder, HalfVector, HalfVectorBuilder, Vector, VectorBuilder};
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

/// `halfvec(halfvec, integer, boolean) -> halfvec`: checks the dimensions.
#[pg_extern(sql = false)]
fn halfvec_to_halfvec(vector: HalfVector<'_>, typmod: i32, _explicit: bool) -> HalfVector<'_> {
    check_typmod(typmod, vector.len()).or_raise();
    vector
}

/// `halfvec_to_float4(halfvec, integer, boolean) -> real[]`.
#[pg_extern(sql = false)]
fn halfvec_to_float4<'fcx>(
    vector: HalfVector<'fcx>,
    _typmod: i32,
    _explicit: bool,
    memory: &MemCx<'fcx>,
) -> PBox<'fcx, FlatArray<'fcx, f32>> {
    let mut values = vec![0.0; vector.len()];
    DenseElement::widen(&vector, &mut values);
    float4_array(&values, memory).or_raise()
}

fn float4_array<'fcx>(values: &[f32], memory: &MemCx<'fcx>) -> Result<PBox<'fcx, FlatArray<'fcx, f32>>> {
    FlatArray::new_from_slice(values, memory).map_err(|error| {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("cannot allocate an array: {error:?}"),
        )
    })
}

/// `halfvec_to_vector(halfvec, integer, boolean) -> vector`.
#[pg_extern(sql = false)]
fn halfvec_to_vector(vector: HalfVector<'_>, typmod: i32, _explicit: bool) -> VectorBuilder {
    let mut wide = VectorBuilder::checked_zeros(vector.len(), typmod).or_raise();
    DenseElement::widen(&vector, &mut wide);
    wide
}

/// `vector_to_halfvec(vector, integer, boolean) -> halfvec`.
#[pg_extern(sql = false)]
fn vector_to_halfvec(vector: Vector<'_>, typmod: i32, _explicit: bool) -> HalfVectorBuilder {
    let mut halves = HalfVectorBuilder::checked_zeros(vector.len(), typmod).or_raise();
    checked_narrow(&vector, &mut halves).or_raise();
    halves
}

/// `sparsevec(sparsevec, integer, boolean) -> sparsevec`: checks the dimensions.
#[pg_extern(sql = false)]
fn sparsevec_to_sparsevec(vector: SparseVector<'_>, typmod: i32, _explicit: bool) -> SparseVector<'_> {
    check_typmod(typmod, vector.elements().dims).or_raise();
    vector
}

/// `vector_to_sparsevec(vector, integer, boolean) -> sparsevec`.
#[pg_extern(sql = false)]
fn vector_to_sparsevec(vector: Vector<'_>, typmod: i32, _explicit: bool) -> SparseVectorBuilder {
    from_dense(&vector, typmod).or_raise()
}

/// `halfvec_to_sparsevec(halfvec, integer, boolean) -> sparsevec`.
#[pg_extern(sql = false)]
fn halfvec_to_sparsevec(vector: HalfVector<'_>, typmod: i32, _explicit: bool) -> SparseVectorBuilder {
    from_dense(&vector, typmod).or_raise()
}

fn from_dense<T: DenseElement>(vector: &Dense<'_, T>, typmod: i32) -> Result<SparseVectorBuilder> {
    check_typmod(typmod, vector.len())?;
    let sparse = SparseBuffer::from_dense(vector)?;
    Ok(SparseVectorBuilder::from_sparse(sparse.as_sparse()))
}

/// `sparsevec_to_vector(sparsevec, integer, boolean) -> vector`.
#[pg_extern(sql = false)]
fn sparsevec_to_vector(vector: SparseVector<'_>, typmod: i32, _explicit: bool) -> VectorBuilder {
    to_dense(&vector, typmod).or_raise()
}

/// `sparsevec_to_halfvec(sparsevec, integer, boolean) -> halfvec`.
#[pg_extern(sql = false)]
fn sparsevec_to_halfvec(vector: SparseVector<'_>, typmod: i32, _explicit: bool) -> HalfVectorBuilder {
    to_dense(&vector, typmod).or_raise()
}

fn to_dense<T: DenseElement>(vector: &SparseVector<'_>, typmod: i32) -> Result<DenseBuilder<T>> {
    let vector = vector.elements();
    let mut dense = DenseBuilder::checked_zeros(vector.dims, typmod)?;
    sparse::to_dense(vector, &mut dense)?;
    Ok(dense)
}
