//! The three vector types as their bounds and messages differ; the checks that all of them make.
//!
//! Must not know layouts. Invariant: every message is pgvector's, with the name of the type that the user named.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_DIMS, MAX_SPARSE_DIMS};

/// A vector type of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorType {
    /// `vector(n)`: every element, in single precision.
    Vector,
    /// `halfvec(n)`: every element, in half precision.
    Halfvec,
    /// `sparsevec(n)`: the elements that are not zero, in single precision.
    Sparsevec,
}

impl VectorType {
    /// Its name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Halfvec => "halfvec",
            Self::Sparsevec => "sparsevec",
        }
    }

    /// Most dimensions that a value has.
    pub const fn max_dims(self) -> usize {
        match self {
            Self::Vector | Self::Halfvec => MAX_DIMS,
            Self::Sparsevec => MAX_SPARSE_DIMS,
        }
    }

    /// Checks that a value may have `dims` dimensions.
    ///
    /// # Errors
    /// `DataException` below 1, `LimitExceeded` above [`Self::max_dims`].
    pub fn check_dims(self, dims: usize) -> Result<()> {
        if dims < 1 {
            return Err(Error::new(
                ErrorKind::DataException,
                format!("{} must have at least 1 dimension", self.name()),
            ));
        }
        if dims > self.max_dims() {
            return Err(self.too_many_dims());
        }
        Ok(())
    }

    /// Checks that two operands have the same number of dimensions.
    ///
    /// # Errors
    /// `DataException` when they differ.
    #[inline]
    pub fn check_equal_dims(self, a: usize, b: usize) -> Result<()> {
        if a == b {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::DataException,
            format!("different {} dimensions {a} and {b}", self.name()),
        ))
    }

    /// Reads the `n` of `vector(n)` from the integers between the parentheses.
    ///
    /// # Errors
    /// `InvalidArgument` when there is not one, or not one from 1 to [`Self::max_dims`].
    pub fn type_modifier(self, modifiers: &[i32]) -> Result<i32> {
        let (name, most) = (self.name(), self.max_dims());
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        match *modifiers {
            [dims] if dims < 1 => invalid(format!("dimensions for type {name} must be at least 1")),
            [dims] if usize::try_from(dims).is_ok_and(|dims| dims > most) => {
                invalid(format!("dimensions for type {name} cannot exceed {most}"))
            }
            [dims] => Ok(dims),
            _ => invalid("invalid type modifier".to_owned()),
        }
    }

    #[cold]
    pub(crate) fn too_many_dims(self) -> Error {
        Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "{} cannot have more than {} dimensions",
                self.name(),
                self.max_dims()
            ),
        )
    }

    /// What is said about an element that is not finite.
    #[cold]
    pub(crate) fn not_finite(self, is_nan: bool) -> Error {
        let what = if is_nan { "NaN" } else { "infinite value" };
        Error::new(
            ErrorKind::DataException,
            format!("{what} not allowed in {}", self.name()),
        )
    }

    /// What is said about malformed text.
    #[cold]
    pub(crate) fn invalid_text(self, text: &[u8]) -> Error {
        Error::new(
            ErrorKind::InvalidText,
            format!(
                "invalid input syntax for type {}: \"{}\"",
                self.name(),
                quotable(text)
            ),
        )
    }

    /// What is said about a number too large (or, for `sparsevec`, too small) for an element; `number` is its text.
    #[cold]
    pub(crate) fn out_of_range(self, number: &[u8]) -> Error {
        Error::new(
            ErrorKind::OutOfRange,
            format!(
                "\"{}\" is out of range for type {}",
                quotable(number),
                self.name()
            ),
        )
    }
}

/// Checks `dims` against the type modifier of the target; a negative `typmod` accepts every value.
///
/// # Errors
/// `DataException` when they differ.
pub fn check_typmod(typmod: i32, dims: usize) -> Result<()> {
    match usize::try_from(typmod) {
        Ok(expected) => check_expected_dims(expected, dims),
        Err(_) => Ok(()),
    }
}

/// Checks that a value of `dims` dimensions goes where `expected` dimensions are needed.
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

/// `text` for a message: as it is, or in ASCII with escapes where it is not UTF-8, so that a server with another
/// encoding gets either its own bytes back or ASCII.
fn quotable(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(text.escape_ascii().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_modifier_is_one_number_of_dimensions_that_the_type_allows() {
        for (kind, name, most) in [
            (VectorType::Vector, "vector", 16_000),
            (VectorType::Halfvec, "halfvec", 16_000),
            (VectorType::Sparsevec, "sparsevec", 1_000_000_000),
        ] {
            assert_eq!(kind.type_modifier(&[1]), Ok(1));
            assert_eq!(kind.type_modifier(&[most]), Ok(most));
            for (modifiers, message) in [
                (vec![], "invalid type modifier".to_owned()),
                (vec![1, 2], "invalid type modifier".to_owned()),
                (vec![0], format!("dimensions for type {name} must be at least 1")),
                (vec![-1], format!("dimensions for type {name} must be at least 1")),
                (
                    vec![most + 1],
                    format!("dimensions for type {name} cannot exceed {most}"),
                ),
            ] {
                let error = kind.type_modifier(&modifiers).expect_err(name);
                assert_eq!(
                    (error.kind(), error.message()),
                    (ErrorKind::InvalidArgument, &*message)
                );
            }
        }
    }
}
