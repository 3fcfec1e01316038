//! Element-wise operations and parts of vectors.

use pgrx::prelude::*;
use vectorgpu_core::sparse::distance as sparse_distance;
use vectorgpu_core::vector::{DenseElement, algebra, check_same_dims};
use vectorgpu_core::{Result, distance};

use crate::error::OrRaise;
use crate::types::bit::BitBuilder;
use crate::types::sparse::{SparseVector, SparseVectorBuilder};
use crate::types::varlena::AggregateCall;
use crate::types::vector::{Dense, DenseBuilder, HalfVector, HalfVectorBuilder, Vector, VectorBuilder};

/// The algebra of one type of dense vectors: `T_dims(T) -> integer`; `T_add`, `T_sub`, `T_mul` and `T_concat`, all
/// `(T, T) -> T`, the operators `+`, `-`, `*` and `||`; `l2_normalize(T) -> T`; `binary_quantize(T) -> bit`;
/// `subvector(T, integer, integer) -> T`.
macro_rules! dense_algebra {
    ($value:ident, $builder:ident: $dims:ident, $add:ident, $sub:ident, $mul:ident, $concat:ident,
     $l2_normalize:ident, $binary_quantize:ident, $subvector:ident) => {
        #[pg_extern(sql = false)]
        fn $dims(a: $value<'_>) -> i32 {
            i32::try_from(a.len()).expect("at most MAX_DIMS")
        }

        /// Also the transition and combine function of `sum`, whose state it adds to in place.
        #[pg_extern(sql = false)]
        fn $add(a: $value<'_>, b: $value<'_>, call: AggregateCall) -> $builder {
            sum(a, &b, &call).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $sub(a: $value<'_>, b: $value<'_>) -> $builder {
            difference(&a, &b).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $mul(a: $value<'_>, b: $value<'_>) -> $builder {
            product(&a, &b).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $concat(a: $value<'_>, b: $value<'_>) -> $builder {
            concatenation(&a, &b).or_raise()
        }

        /// A zero vector stays zero.
        #[pg_extern(sql = false)]
        fn $l2_normalize(a: $value<'_>) -> $builder {
            $builder::from_elements(&distance::l2_normalize(&a))
        }

        /// 1 for each positive element.
        #[pg_extern(sql = false)]
        fn $binary_quantize(a: $value<'_>) -> BitBuilder {
            let mut bits = BitBuilder::zeros(a.len());
            algebra::binary_quantize(&a, bits.bytes_mut());
            bits
        }

        /// `start` counts from 1.
        #[pg_extern(sql = false)]
        fn $subvector(a: $value<'_>, start: i32, count: i32) -> $builder {
            part(&a, start, count).or_raise()
        }
    };
}

dense_algebra!(Vector, VectorBuilder:
    vector_dims, vector_add, vector_sub, vector_mul, vector_concat, l2_normalize, binary_quantize, subvector);
dense_algebra!(HalfVector, HalfVectorBuilder:
    halfvec_vector_dims, halfvec_add, halfvec_sub, halfvec_mul, halfvec_concat, halfvec_l2_normalize,
    halfvec_binary_quantize, halfvec_subvector);

fn sum<T: DenseElement>(a: Dense<'_, T>, b: &[T], call: &AggregateCall) -> Result<DenseBuilder<T>> {
    check_same_dims(&a, b)?;
    let mut sum = a.into_builder(call);
    algebra::add_assign(&mut sum, b)?;
    Ok(sum)
}

fn difference<T: DenseElement>(a: &[T], b: &[T]) -> Result<DenseBuilder<T>> {
    let mut difference = DenseBuilder::from_elements(a);
    algebra::sub_assign(&mut difference, b)?;
    Ok(difference)
}

fn product<T: DenseElement>(a: &[T], b: &[T]) -> Result<DenseBuilder<T>> {
    let mut product = DenseBuilder::zeros(a.len());
    algebra::mul(a, b, &mut product)?;
    Ok(product)
}

fn concatenation<T: DenseElement>(a: &[T], b: &[T]) -> Result<DenseBuilder<T>> {
    T::TYPE.check_dims(a.len() + b.len())?;
    let mut both = DenseBuilder::zeros(a.len() + b.len());
    let (first, second) = both.split_at_mut(a.len());
    first.copy_from_slice(a);
    second.copy_from_slice(b);
    Ok(both)
}

fn part<T: DenseElement>(a: &[T], start: i32, count: i32) -> Result<DenseBuilder<T>> {
    let range = algebra::subvector_range(T::TYPE, a.len(), start, count)?;
    Ok(DenseBuilder::from_elements(&a[range]))
}

/// `l2_normalize(sparsevec) -> sparsevec`; a zero vector stays zero.
#[pg_extern(sql = false)]
fn sparsevec_l2_normalize(a: SparseVector<'_>) -> SparseVectorBuilder {
    let normalized = sparse_distance::l2_normalize(a.elements());
    SparseVectorBuilder::from_sparse(normalized.as_sparse())
}
