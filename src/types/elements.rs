//! Values of the types whose elements are all stored, `vector` and `halfvec`, as the single-precision numbers that the
//! engine computes with.
//!
//! Must not know what is computed. Invariant: a half is read as the number that it is, so distances are those of the
//! type's own operators, bit for bit; a number that becomes a half is rounded as the cast to `halfvec` rounds it.

use std::borrow::Cow;
use std::ops::Deref;

use pgrx::pg_sys;
use vectorgpu_core::vector::{DenseElement, checked_narrow, f16};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::vector::{HalfVector, HalfVectorBuilder, Vector, VectorBuilder};

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ElementType {
    /// `vector`, or a type with its layout.
    Single = 0,
    /// `halfvec`, or a type with its layout.
    Half = 1,
}

/// The elements of a value.
pub(crate) enum Elements<'a> {
    /// Where they lie.
    Borrowed(Vector<'a>),
    /// Decoded.
    Decoded(&'a [f32]),
}

impl ElementType {
    /// A number that stands for it.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The one that [`Self::code`] made a number of.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Single),
            1 => Some(Self::Half),
            _ => None,
        }
    }

    /// Reads a value; `decoded` is memory for elements that are not single-precision numbers.
    ///
    /// # Errors
    /// `DataException` for a header that no value has.
    ///
    /// # Safety
    /// `datum` is a non-null datum of a type that has this layout, unchanged during `'a`.
    #[expect(unsafe_code, reason = "a datum says its type only at run time")]
    pub(crate) unsafe fn read<'a>(
        self,
        datum: pg_sys::Datum,
        decoded: &'a mut Vec<f32>,
    ) -> Result<Elements<'a>> {
        match self {
            // SAFETY: as the caller's.
            Self::Single => Ok(Elements::Borrowed(unsafe { Vector::from_datum(datum) }?)),
            Self::Half => {
                // SAFETY: as the caller's.
                let halves = unsafe { HalfVector::from_datum(datum) }?;
                decoded.clear();
                decoded.try_reserve(halves.len()).map_err(|error| {
                    Error::new(ErrorKind::OutOfMemory, "no memory for a row").with_detail(error.to_string())
                })?;
                decoded.resize(halves.len(), 0.0);
                DenseElement::widen(&halves, decoded);
                Ok(Elements::Decoded(decoded))
            }
        }
    }

    /// The nearest elements that a value of this type can have.
    ///
    /// # Errors
    /// `OutOfRange` where a number is too large for it.
    pub(crate) fn rounded(self, elements: &[f32]) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Single => Ok(Cow::Borrowed(elements)),
            Self::Half => {
                let mut halves = vec![f16::ZERO; elements.len()];
                checked_narrow(elements, &mut halves)?;
                let mut rounded = vec![0.0; elements.len()];
                DenseElement::widen(&halves, &mut rounded);
                Ok(Cow::Owned(rounded))
            }
        }
    }
}

impl Deref for Elements<'_> {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(vector) => vector.elements(),
            Self::Decoded(elements) => elements,
        }
    }
}

/// A value being built, again and again in the same memory where that suffices.
pub(crate) struct ElementsBuilder {
    element_type: ElementType,
    value: Option<Built>,
}

enum Built {
    Single(VectorBuilder),
    Half(HalfVectorBuilder),
}

impl ElementsBuilder {
    /// Builds values of this type.
    pub(crate) fn new(element_type: ElementType) -> Self {
        Self {
            element_type,
            value: None,
        }
    }

    /// The value with these elements, which its type can have, in the current memory context; it lives until the next call.
    ///
    /// # Panics
    /// When `elements` are not as many as a vector has.
    pub(crate) fn value(&mut self, elements: &[f32]) -> BuiltElements<'_> {
        let kept = self.value.take();
        let built = match (self.element_type, kept) {
            (ElementType::Single, Some(Built::Single(mut vector))) if vector.len() == elements.len() => {
                vector.copy_from_slice(elements);
                Built::Single(vector)
            }
            (ElementType::Single, _) => Built::Single(VectorBuilder::from_elements(elements)),
            (ElementType::Half, kept) => {
                let mut halves = match kept {
                    Some(Built::Half(halves)) if halves.len() == elements.len() => halves,
                    _ => HalfVectorBuilder::zeros(elements.len()),
                };
                f16::narrow(elements, &mut halves);
                Built::Half(halves)
            }
        };
        BuiltElements(self.value.insert(built))
    }
}

/// A value that an [`ElementsBuilder`] holds.
pub(crate) struct BuiltElements<'a>(&'a Built);

impl BuiltElements<'_> {
    /// The datum, which is valid as long as this value.
    pub(crate) fn as_datum(&self) -> pg_sys::Datum {
        match self.0 {
            Built::Single(vector) => vector.as_value().as_datum(),
            Built::Half(halves) => halves.as_value().as_datum(),
        }
    }
}
