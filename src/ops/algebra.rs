//! Element-wise operations and parts of vectors.

use pgrx::prelude::*;
use vectorgpu_core::vector::{algebra, check_dims, check_same_dims};
use vectorgpu_core::{Result, distance};

use crate::error::OrRaise;
use crate::types::bit::BitBuilder;
use crate::types::varlena::AggregateCall;
use crate::types::vector::{Vector, VectorBuilder};

/// `vector_dims(vector) -> integer`.
#[pg_extern(sql = false)]
fn vector_dims(a: Vector<'_>) -> i32 {
    i32::try_from(a.len()).expect("at most MAX_DIMS")
}

/// `vector_add(vector, vector) -> vector`, operator `+`; also the transition and combine function of `sum`, whose
/// state it adds to in place.
#[pg_extern(sql = false)]
fn vector_add(a: Vector<'_>, b: Vector<'_>, call: AggregateCall) -> VectorBuilder {
    check_same_dims(&a, &b).or_raise();
    let mut sum = a.into_builder(&call);
    algebra::add_assign(&mut sum, &b).or_raise();
    sum
}

/// `vector_sub(vector, vector) -> vector`, operator `-`.
#[pg_extern(sql = false)]
fn vector_sub(a: Vector<'_>, b: Vector<'_>) -> VectorBuilder {
    let mut difference = VectorBuilder::from_elements(&a);
    algebra::sub_assign(&mut difference, &b).or_raise();
    difference
}

/// `vector_mul(vector, vector) -> vector`, operator `*`.
#[pg_extern(sql = false)]
fn vector_mul(a: Vector<'_>, b: Vector<'_>) -> VectorBuilder {
    let mut product = VectorBuilder::zeros(a.len());
    algebra::mul(&a, &b, &mut product).or_raise();
    product
}

/// `vector_concat(vector, vector) -> vector`, operator `||`.
#[pg_extern(sql = false)]
fn vector_concat(a: Vector<'_>, b: Vector<'_>) -> VectorBuilder {
    check_dims(a.len() + b.len()).or_raise();
    let mut both = VectorBuilder::zeros(a.len() + b.len());
    let (first, second) = both.split_at_mut(a.len());
    first.copy_from_slice(&a);
    second.copy_from_slice(&b);
    both
}

/// `l2_normalize(vector) -> vector`; a zero vector stays zero.
#[pg_extern(sql = false)]
fn l2_normalize(a: Vector<'_>) -> VectorBuilder {
    VectorBuilder::from_elements(&distance::l2_normalize(&a))
}

/// `binary_quantize(vector) -> bit`: 1 for each positive element.
#[pg_extern(sql = false)]
fn binary_quantize(a: Vector<'_>) -> BitBuilder {
    let mut bits = BitBuilder::zeros(a.len());
    algebra::binary_quantize(&a, bits.bytes_mut());
    bits
}

/// `subvector(vector, start integer, count integer) -> vector`; `start` counts from 1.
#[pg_extern(sql = false)]
fn subvector(a: Vector<'_>, start: i32, count: i32) -> VectorBuilder {
    part(&a, start, count).or_raise()
}

fn part(a: &[f32], start: i32, count: i32) -> Result<VectorBuilder> {
    let range = algebra::subvector_range(a.len(), start, count)?;
    Ok(VectorBuilder::from_elements(&a[range]))
}
