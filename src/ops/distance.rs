//! Distances and norms. The values are those of `vectorgpu_core::distance`, which index scans order by, too.

use pgrx::prelude::*;
use vectorgpu_core::distance;
use vectorgpu_core::vector::check_same_dims;

use crate::error::OrRaise;
use crate::types::vector::Vector;

/// Calls `distance` on two vectors of the same dimensions; raises 22000 for others.
#[inline]
fn between<T>(a: &Vector<'_>, b: &Vector<'_>, distance: impl Fn(&[f32], &[f32]) -> T) -> T {
    let (a, b) = (a.elements(), b.elements());
    check_same_dims(a, b).or_raise();
    distance(a, b)
}

/// `l2_distance(vector, vector) -> float8`, operator `<->`.
#[pg_extern(sql = false)]
fn l2_distance(a: Vector<'_>, b: Vector<'_>) -> f64 {
    between(&a, &b, distance::l2)
}

/// `vector_l2_squared_distance(vector, vector) -> float8`.
#[pg_extern(sql = false)]
fn vector_l2_squared_distance(a: Vector<'_>, b: Vector<'_>) -> f64 {
    f64::from(between(&a, &b, distance::l2_squared))
}

/// `inner_product(vector, vector) -> float8`.
#[pg_extern(sql = false)]
fn inner_product(a: Vector<'_>, b: Vector<'_>) -> f64 {
    between(&a, &b, distance::inner_product)
}

/// `vector_negative_inner_product(vector, vector) -> float8`, operator `<#>`.
#[pg_extern(sql = false)]
fn vector_negative_inner_product(a: Vector<'_>, b: Vector<'_>) -> f64 {
    between(&a, &b, distance::negative_inner_product)
}

/// `cosine_distance(vector, vector) -> float8`, operator `<=>`; NaN when one of them is zero.
#[pg_extern(sql = false)]
fn cosine_distance(a: Vector<'_>, b: Vector<'_>) -> f64 {
    between(&a, &b, distance::cosine)
}

/// `vector_spherical_distance(vector, vector) -> float8`: the angle between unit vectors, divided by pi.
#[pg_extern(sql = false)]
fn vector_spherical_distance(a: Vector<'_>, b: Vector<'_>) -> f64 {
    between(&a, &b, distance::spherical_distance)
}

/// `l1_distance(vector, vector) -> float8`, operator `<+>`.
#[pg_extern(sql = false)]
fn l1_distance(a: Vector<'_>, b: Vector<'_>) -> f64 {
    between(&a, &b, distance::l1)
}

/// `vector_norm(vector) -> float8`.
#[pg_extern(sql = false)]
fn vector_norm(a: Vector<'_>) -> f64 {
    distance::norm(&a)
}
