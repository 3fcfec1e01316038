//! Ordering of vectors: the comparison operators and the support functions of the btree operator classes.

use std::cmp::Ordering;

use pgrx::prelude::*;
use vectorgpu_core::sparse;
use vectorgpu_core::vector::algebra;

use crate::types::sparse::SparseVector;
use crate::types::vector::{HalfVector, Vector};

/// The comparisons of one type, `(T, T) -> boolean`, and `T_cmp(T, T) -> integer`: -1, 0 or 1. `$compare` orders what
/// `elements()` of a value gives.
macro_rules! comparisons {
    ($value:ident, $compare:path:
     $lt:ident, $le:ident, $eq:ident, $ne:ident, $ge:ident, $gt:ident, $cmp:ident) => {
        #[pg_extern(sql = false)]
        fn $lt(a: $value<'_>, b: $value<'_>) -> bool {
            $compare(a.elements(), b.elements()) == Ordering::Less
        }

        #[pg_extern(sql = false)]
        fn $le(a: $value<'_>, b: $value<'_>) -> bool {
            $compare(a.elements(), b.elements()) != Ordering::Greater
        }

        #[pg_extern(sql = false)]
        fn $eq(a: $value<'_>, b: $value<'_>) -> bool {
            $compare(a.elements(), b.elements()) == Ordering::Equal
        }

        #[pg_extern(sql = false)]
        fn $ne(a: $value<'_>, b: $value<'_>) -> bool {
            $compare(a.elements(), b.elements()) != Ordering::Equal
        }

        #[pg_extern(sql = false)]
        fn $ge(a: $value<'_>, b: $value<'_>) -> bool {
            $compare(a.elements(), b.elements()) != Ordering::Less
        }

        #[pg_extern(sql = false)]
        fn $gt(a: $value<'_>, b: $value<'_>) -> bool {
            $compare(a.elements(), b.elements()) == Ordering::Greater
        }

        #[pg_extern(sql = false)]
        fn $cmp(a: $value<'_>, b: $value<'_>) -> i32 {
            i32::from($compare(a.elements(), b.elements()) as i8)
        }
    };
}

comparisons!(Vector, algebra::compare:
    vector_lt, vector_le, vector_eq, vector_ne, vector_ge, vector_gt, vector_cmp);
comparisons!(HalfVector, algebra::compare:
    halfvec_lt, halfvec_le, halfvec_eq, halfvec_ne, halfvec_ge, halfvec_gt, halfvec_cmp);
comparisons!(SparseVector, sparse::compare:
    sparsevec_lt, sparsevec_le, sparsevec_eq, sparsevec_ne, sparsevec_ge, sparsevec_gt, sparsevec_cmp);
