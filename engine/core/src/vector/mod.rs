//! What a vector is, apart from PostgreSQL: its bounds, its text and wire formats and its algebra.
//!
//! Must not know datums, memory contexts or SQL. Invariant: every value that leaves this module has 1 to
//! [`MAX_DIMS`] finite elements, or is an error with pgvector's message and SQLSTATE.
//! Source: the behaviour of pgvector 0.8 (documentation and observed results).

pub mod algebra;
mod print_float;
mod read_float;
pub mod text;
pub mod wire;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DIMS;

/// Checks that a vector may have `dims` dimensions.
///
/// # Errors
/// `DataException` below 1, `LimitExceeded` above [`MAX_DIMS`].
pub fn check_dims(dims: usize) -> Result<()> {
    if dims < 1 {
        return Err(Error::new(
            ErrorKind::DataException,
            "vector must have at least 1 dimension",
        ));
    }
    if dims > MAX_DIMS {
        return Err(too_many_dims());
    }
    Ok(())
}

/// Checks `dims` against the type modifier of the target; a negative `typmod` accepts every vector.
///
/// # Errors
/// `DataException` when they differ.
pub fn check_typmod(typmod: i32, dims: usize) -> Result<()> {
    match usize::try_from(typmod) {
        Ok(expected) => check_expected_dims(expected, dims),
        Err(_) => Ok(()),
    }
}

/// Checks that a vector of `dims` dimensions goes where `expected` dimensions are needed.
///
/// # Errors
/// `DataException` when they differ.
pub fn check_expected_dims(expected: usize, dims: usize) -> Result<()> {
    if expected == dims {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DataException,
        format!("expected {expected} dimensions, not {dims}"),
    ))
}

/// Checks that two operands have the same number of dimensions.
///
/// # Errors
/// `DataException` when they differ.
#[inline]
pub fn check_same_dims(a: &[f32], b: &[f32]) -> Result<()> {
    check_equal_dims(a.len(), b.len())
}

/// As [`check_same_dims`], where the numbers of dimensions are known.
///
/// # Errors
/// `DataException` when they differ.
#[inline]
pub fn check_equal_dims(a: usize, b: usize) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DataException,
        format!("different vector dimensions {a} and {b}"),
    ))
}

/// Checks that every element is finite.
///
/// # Errors
/// `DataException` for the first NaN or infinity.
pub fn check_elements(elements: &[f32]) -> Result<()> {
    elements.iter().try_for_each(|&element| check_element(element))
}

#[inline]
fn check_element(element: f32) -> Result<()> {
    if element.is_finite() {
        return Ok(());
    }
    let what = if element.is_nan() { "NaN" } else { "infinite value" };
    Err(Error::new(
        ErrorKind::DataException,
        format!("{what} not allowed in vector"),
    ))
}

fn too_many_dims() -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("vector cannot have more than {MAX_DIMS} dimensions"),
    )
}
