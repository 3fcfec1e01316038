//! Between sparse vectors and dense ones.

use super::{Sparse, SparseBuffer, check_value, too_many_elements};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_NON_ZERO;
use crate::vector::{DenseElement, checked_nearest};
use crate::vector_type::VectorType;

impl SparseBuffer {
    /// Keeps what is not zero of the elements of a vector, one after the other.
    ///
    /// # Errors
    /// `DataException` for no element, NaN or infinity, `LimitExceeded` for more dimensions than a sparse vector has, or
    /// more elements that are not zero.
    pub fn from_values(values: impl Iterator<Item = f32>) -> Result<Self> {
        let mut vector = Self::default();
        for value in values {
            if value != 0.0 {
                if vector.values.len() == MAX_NON_ZERO {
                    return Err(too_many_elements());
                }
                vector.push(vector.dims, value)?;
            }
            vector.dims += 1;
        }
        VectorType::Sparsevec.check_dims(vector.dims)?;
        vector.values.iter().try_for_each(|&value| check_value(value))?;
        Ok(vector)
    }

    /// Keeps what is not zero of a dense vector, which has `1..=MAX_DIMS` finite elements.
    ///
    /// # Errors
    /// As [`Self::from_values`], for what is no dense vector.
    pub fn from_dense<T: DenseElement>(elements: &[T]) -> Result<Self> {
        VectorType::Sparsevec.check_dims(elements.len())?;
        let mut vector = Self {
            dims: elements.len(),
            ..Self::default()
        };
        let mut outcome = Ok(());
        T::visit(elements, |first, values| {
            for (at, &value) in values.iter().enumerate() {
                if value != 0.0 && outcome.is_ok() {
                    outcome = check_value(value).and_then(|()| vector.push(first + at, value));
                }
            }
        });
        outcome.map(|()| vector)
    }

    fn push(&mut self, index: usize, value: f32) -> Result<()> {
        let index = i32::try_from(index).map_err(|_| VectorType::Sparsevec.too_many_dims())?;
        self.indices.push(index);
        self.values.push(value);
        Ok(())
    }
}

/// Writes a sparse vector's elements over `dense`, `[dims]`, which holds zeros.
///
/// # Errors
/// `OutOfRange` for a value beyond the element type, `Internal` for an index outside the vector, which only a damaged one
/// has.
pub fn to_dense<T: DenseElement>(vector: Sparse<'_>, dense: &mut [T]) -> Result<()> {
    for (&index, &value) in vector.indices.iter().zip(vector.values) {
        let element = usize::try_from(index)
            .ok()
            .and_then(|index| dense.get_mut(index))
            .ok_or_else(|| Error::new(ErrorKind::Internal, "index out of bounds"))?;
        *element = checked_nearest(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::super::strategy::{sparse, value};
    use super::*;
    use crate::property::cases;

    #[test]
    fn zeros_of_either_sign_are_left_out() {
        let vector = SparseBuffer::from_dense(&[0.0f32, 1.5, -0.0, -2.0]).expect("a vector");
        let expected = Sparse {
            dims: 4,
            indices: &[1, 3],
            values: &[1.5, -2.0],
        };
        assert_eq!(vector.as_sparse(), expected);
        let halves = [0.0, 1.5, -0.0, -2.0].map(f16::from_f32);
        assert_eq!(SparseBuffer::from_dense(&halves), Ok(vector.clone()));
        let values = [0.0, 1.5, -0.0, -2.0].into_iter();
        assert_eq!(SparseBuffer::from_values(values), Ok(vector));
    }

    #[test]
    #[cfg_attr(miri, ignore = "tens of thousands of elements, and no unsafe code")]
    fn what_no_sparse_vector_holds_is_refused() {
        for (values, kind, message) in [
            (
                vec![],
                ErrorKind::DataException,
                "sparsevec must have at least 1 dimension",
            ),
            (
                vec![0.0, f32::NAN],
                ErrorKind::DataException,
                "NaN not allowed in sparsevec",
            ),
            (
                vec![f32::INFINITY],
                ErrorKind::DataException,
                "infinite value not allowed in sparsevec",
            ),
            (
                vec![1.0; MAX_NON_ZERO + 1],
                ErrorKind::LimitExceeded,
                "sparsevec cannot have more than 16000 non-zero elements",
            ),
        ] {
            let error = SparseBuffer::from_values(values.into_iter()).expect_err(message);
            assert_eq!((error.kind(), error.message()), (kind, message));
        }
        let mut long = vec![0.0; 50_000];
        long[49_999] = 1.0;
        let vector = SparseBuffer::from_values(long.into_iter()).expect("one element");
        assert_eq!(vector.as_sparse().indices, [49_999]);
    }

    #[test]
    fn a_damaged_index_and_a_value_too_large_for_a_half_are_errors() {
        for indices in [[-1], [3], [i32::MAX], [i32::MIN]] {
            let damaged = Sparse {
                dims: 3,
                indices: &indices,
                values: &[1.0],
            };
            let error = to_dense(damaged, &mut [0.0f32; 3]).expect_err("outside");
            assert_eq!(error.kind(), ErrorKind::Internal);
        }
        let large = Sparse {
            dims: 1,
            indices: &[0],
            values: &[1e6],
        };
        let error = to_dense(large, &mut [f16::ZERO]).expect_err("too large");
        assert_eq!(error.message(), "\"1e+06\" is out of range for type halfvec");
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn dense_and_back_is_the_same_vector(vector in (1..200).prop_flat_map(|dims| sparse(dims, value()))) {
            let mut dense = vec![0.0f32; vector.dims];
            to_dense(vector.as_sparse(), &mut dense).expect("inside");
            prop_assert_eq!(SparseBuffer::from_dense(&dense), Ok(vector.clone()));
            prop_assert_eq!(SparseBuffer::from_values(dense.into_iter()), Ok(vector));
        }
    }
}
