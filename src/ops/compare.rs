//! Ordering of vectors: the comparison operators and the support function of the btree operator class.

use std::cmp::Ordering;

use pgrx::prelude::*;
use vectorgpu_core::vector::algebra::compare;

use crate::types::vector::Vector;

/// `vector_lt(vector, vector) -> boolean`, operator `<`.
#[pg_extern(sql = false)]
fn vector_lt(a: Vector<'_>, b: Vector<'_>) -> bool {
    compare(&a, &b) == Ordering::Less
}

/// `vector_le(vector, vector) -> boolean`, operator `<=`.
#[pg_extern(sql = false)]
fn vector_le(a: Vector<'_>, b: Vector<'_>) -> bool {
    compare(&a, &b) != Ordering::Greater
}

/// `vector_eq(vector, vector) -> boolean`, operator `=`.
#[pg_extern(sql = false)]
fn vector_eq(a: Vector<'_>, b: Vector<'_>) -> bool {
    compare(&a, &b) == Ordering::Equal
}

/// `vector_ne(vector, vector) -> boolean`, operator `<>`.
#[pg_extern(sql = false)]
fn vector_ne(a: Vector<'_>, b: Vector<'_>) -> bool {
    compare(&a, &b) != Ordering::Equal
}

/// `vector_ge(vector, vector) -> boolean`, operator `>=`.
#[pg_extern(sql = false)]
fn vector_ge(a: Vector<'_>, b: Vector<'_>) -> bool {
    compare(&a, &b) != Ordering::Less
}

/// `vector_gt(vector, vector) -> boolean`, operator `>`.
#[pg_extern(sql = false)]
fn vector_gt(a: Vector<'_>, b: Vector<'_>) -> bool {
    compare(&a, &b) == Ordering::Greater
}

/// `vector_cmp(vector, vector) -> integer`: -1, 0 or 1.
#[pg_extern(sql = false)]
fn vector_cmp(a: Vector<'_>, b: Vector<'_>) -> i32 {
    i32::from(compare(&a, &b) as i8)
}
