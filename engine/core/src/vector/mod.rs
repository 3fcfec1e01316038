//! What a dense vector is, apart from PostgreSQL: its text and wire formats and its algebra, for elements in single
//! precision (`vector`) and half precision (`halfvec`).
//!
//! Must not know datums, memory contexts or SQL. Invariant: every value that leaves this module has 1 to
//! [`crate::limits::MAX_DIMS`] finite elements, or is an error with pgvector's message and SQLSTATE.
//! Source: the behaviour of pgvector 0.8 (documentation and observed results).

pub mod algebra;
mod element;
pub(crate) mod print_float;
pub(crate) mod read_float;
pub mod text;
pub mod wire;

pub use element::{DenseElement, checked_narrow, checked_nearest};
pub use half::f16;

use crate::error::Result;
use crate::vector_type::VectorType;
pub use crate::vector_type::{check_expected_dims, check_typmod};

/// Checks that two operands have the same number of dimensions.
///
/// # Errors
/// `DataException` when they differ.
#[inline]
pub fn check_same_dims<T: DenseElement>(a: &[T], b: &[T]) -> Result<()> {
    T::TYPE.check_equal_dims(a.len(), b.len())
}

/// As [`check_same_dims`] for two values of type `vector`, where the numbers of dimensions are known.
///
/// # Errors
/// `DataException` when they differ.
#[inline]
pub fn check_equal_dims(a: usize, b: usize) -> Result<()> {
    VectorType::Vector.check_equal_dims(a, b)
}

/// Checks that every element is finite.
///
/// # Errors
/// `DataException` for the first NaN or infinity.
pub fn check_elements<T: DenseElement>(elements: &[T]) -> Result<()> {
    elements.iter().try_for_each(|&element| check_element(element))
}

#[inline]
fn check_element<T: DenseElement>(element: T) -> Result<()> {
    if element.is_finite() {
        return Ok(());
    }
    Err(T::TYPE.not_finite(element.is_nan()))
}
