//! Distances and norms. The values are those of `vectorgpu_core::distance`, which index scans order by, too, and of
//! `vectorgpu_core::sparse::distance`.

use pgrx::prelude::*;
use vectorgpu_core::distance;
use vectorgpu_core::sparse::{self, distance as sparse_distance};
use vectorgpu_core::vector;

use crate::error::OrRaise;
use crate::types::bit::{BitString, check_equal_lengths};
use crate::types::sparse::SparseVector;
use crate::types::vector::{HalfVector, Vector};

/// The distances of two values of one type, all `(T, T) -> float8`, and its norm, `(T) -> float8`. Operands of different
/// dimensions raise 22000. `$module` checks and `$distance` computes what `elements()` of a value gives.
macro_rules! distances {
    ($value:ident, $module:ident, $distance:ident: $l2:ident, $l2_squared:ident, $inner_product:ident,
     $negative_inner_product:ident, $cosine:ident, $l1:ident, $norm:ident) => {
        #[pg_extern(sql = false)]
        fn $l2(a: $value<'_>, b: $value<'_>) -> f64 {
            let (a, b) = (a.elements(), b.elements());
            $module::check_same_dims(a, b).or_raise();
            $distance::l2(a, b)
        }

        #[pg_extern(sql = false)]
        fn $l2_squared(a: $value<'_>, b: $value<'_>) -> f64 {
            let (a, b) = (a.elements(), b.elements());
            $module::check_same_dims(a, b).or_raise();
            f64::from($distance::l2_squared(a, b))
        }

        #[pg_extern(sql = false)]
        fn $inner_product(a: $value<'_>, b: $value<'_>) -> f64 {
            let (a, b) = (a.elements(), b.elements());
            $module::check_same_dims(a, b).or_raise();
            $distance::inner_product(a, b)
        }

        #[pg_extern(sql = false)]
        fn $negative_inner_product(a: $value<'_>, b: $value<'_>) -> f64 {
            let (a, b) = (a.elements(), b.elements());
            $module::check_same_dims(a, b).or_raise();
            $distance::negative_inner_product(a, b)
        }

        /// NaN when one of them is zero.
        #[pg_extern(sql = false)]
        fn $cosine(a: $value<'_>, b: $value<'_>) -> f64 {
            let (a, b) = (a.elements(), b.elements());
            $module::check_same_dims(a, b).or_raise();
            $distance::cosine(a, b)
        }

        #[pg_extern(sql = false)]
        fn $l1(a: $value<'_>, b: $value<'_>) -> f64 {
            let (a, b) = (a.elements(), b.elements());
            $module::check_same_dims(a, b).or_raise();
            $distance::l1(a, b)
        }

        #[pg_extern(sql = false)]
        fn $norm(a: $value<'_>) -> f64 {
            $distance::norm(a.elements())
        }
    };
}

distances!(Vector, vector, distance:
    l2_distance, vector_l2_squared_distance, inner_product, vector_negative_inner_product, cosine_distance,
    l1_distance, vector_norm);
distances!(HalfVector, vector, distance:
    halfvec_l2_distance, halfvec_l2_squared_distance, halfvec_inner_product, halfvec_negative_inner_product,
    halfvec_cosine_distance, halfvec_l1_distance, halfvec_l2_norm);
distances!(SparseVector, sparse, sparse_distance:
    sparsevec_l2_distance, sparsevec_l2_squared_distance, sparsevec_inner_product,
    sparsevec_negative_inner_product, sparsevec_cosine_distance, sparsevec_l1_distance, sparsevec_l2_norm);

/// `vector_spherical_distance(vector, vector) -> float8`: the angle between unit vectors, divided by pi.
#[pg_extern(sql = false)]
fn vector_spherical_distance(a: Vector<'_>, b: Vector<'_>) -> f64 {
    vector::check_same_dims(&a, &b).or_raise();
    distance::spherical_distance(&a, &b)
}

/// `halfvec_spherical_distance(halfvec, halfvec) -> float8`: the angle between unit vectors, divided by pi.
#[pg_extern(sql = false)]
fn halfvec_spherical_distance(a: HalfVector<'_>, b: HalfVector<'_>) -> f64 {
    vector::check_same_dims(&a, &b).or_raise();
    distance::spherical_distance(&a, &b)
}

/// `hamming_distance(bit, bit) -> float8`, operator `<~>`.
#[pg_extern(sql = false)]
fn hamming_distance(a: BitString<'_>, b: BitString<'_>) -> f64 {
    check_equal_lengths(a.count(), b.count()).or_raise();
    distance::hamming(a.bytes(), b.bytes())
}

/// `jaccard_distance(bit, bit) -> float8`, operator `<%>`.
#[pg_extern(sql = false)]
fn jaccard_distance(a: BitString<'_>, b: BitString<'_>) -> f64 {
    check_equal_lengths(a.count(), b.count()).or_raise();
    distance::jaccard(a.bytes(), b.bytes())
}
