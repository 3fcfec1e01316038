//! What a sparse vector is, apart from PostgreSQL: its bounds, formats, distances, ordering and conversions.
//!
//! Must not know datums, memory contexts or SQL. Invariant: every value that leaves this module has ascending indices
//! from 0 to below its dimensions and as many finite values, none of them zero, at most [`MAX_NON_ZERO`].
//! Source: the behaviour of pgvector 0.8 (documentation and observed results).

mod compare;
mod convert;
pub mod distance;
pub mod text;
pub mod wire;

pub use compare::compare;
pub use convert::to_dense;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_NON_ZERO;
use crate::vector_type::VectorType;

/// A sparse vector to be read: where it is not zero, and its values there.
///
/// Functions of this module that read one are defined for the invariant's values only, but safe for all: a damaged
/// datum gives wrong numbers or an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sparse<'a> {
    /// Number of dimensions.
    pub dims: usize,
    /// Positions of the elements that are not zero, counted from 0, ascending.
    pub indices: &'a [i32],
    /// The elements at those positions, as many.
    pub values: &'a [f32],
}

/// A sparse vector that owns its elements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseBuffer {
    dims: usize,
    indices: Vec<i32>,
    values: Vec<f32>,
}

impl SparseBuffer {
    /// The vector, to be read.
    pub fn as_sparse(&self) -> Sparse<'_> {
        Sparse {
            dims: self.dims,
            indices: &self.indices,
            values: &self.values,
        }
    }
}

/// Checks that two operands have the same number of dimensions.
///
/// # Errors
/// `DataException` when they differ.
pub fn check_same_dims(a: Sparse<'_>, b: Sparse<'_>) -> Result<()> {
    VectorType::Sparsevec.check_equal_dims(a.dims, b.dims)
}

/// Checks the number of elements that are not zero against what a vector of `dims` dimensions holds.
///
/// # Errors
/// `DataException` for a negative number, `LimitExceeded` above [`MAX_NON_ZERO`] or `dims`.
fn check_count(count: i32, dims: usize) -> Result<usize> {
    let Ok(count) = usize::try_from(count) else {
        return Err(Error::new(
            ErrorKind::DataException,
            "sparsevec cannot have negative number of elements",
        ));
    };
    if count > MAX_NON_ZERO {
        return Err(too_many_elements());
    }
    if count > dims {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "sparsevec cannot have more elements than dimensions",
        ));
    }
    Ok(count)
}

/// Checks that `index` lies inside `dims` dimensions and behind the `previous` index.
///
/// # Errors
/// `DataException` where it does not.
#[inline]
fn check_index(index: i32, previous: Option<i32>, dims: usize) -> Result<()> {
    let message = if usize::try_from(index).map_or(true, |index| index >= dims) {
        "sparsevec index out of bounds"
    } else if previous.is_some_and(|previous| index < previous) {
        "sparsevec indices must be in ascending order"
    } else if previous == Some(index) {
        "sparsevec indices must not contain duplicates"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::DataException, message))
}

/// Checks that a value is finite.
///
/// # Errors
/// `DataException` where it is not.
#[inline]
fn check_value(value: f32) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(VectorType::Sparsevec.not_finite(value.is_nan()))
}

#[cold]
fn too_many_elements() -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("sparsevec cannot have more than {MAX_NON_ZERO} non-zero elements"),
    )
}

#[cfg(test)]
mod strategy;
