//! Values of `vector`, `halfvec`, `bit` and `sparsevec` as the single-precision numbers that the engine computes with: of a sparse
//! vector its projection, by which an index clusters, beside the vector itself.
//!
//! Must not know what is computed. Invariant: a half is read as the number that it is, and a bit as 0 or 1, so distances are
//! those of the type's own operators, bit for bit; a number that becomes a half is rounded as the cast to `halfvec` rounds it.

use std::borrow::Cow;
use std::ops::Deref;

use pgrx::pg_sys;
use vectorgpu_core::ivf::value::IndexValue;
use vectorgpu_core::metric::Storage;
use vectorgpu_core::quantize::sketch::{project, projection_dims};
use vectorgpu_core::vector::{DenseElement, checked_narrow, f16};
use vectorgpu_core::vector_type::VectorType;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::bit::{self, BitBuilder, BitString};
use super::sparse::SparseVector;
use super::vector::{HalfVector, HalfVectorBuilder, Vector, VectorBuilder};

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ElementType {
    /// `vector`, or a type with its layout.
    Single = 0,
    /// `halfvec`, or a type with its layout.
    Half = 1,
    /// PostgreSQL's `bit`.
    Bit = 2,
    /// `sparsevec`.
    Sparse = 3,
}

/// The elements of a value.
pub(crate) enum Elements<'a> {
    /// Where they lie.
    Borrowed(Vector<'a>),
    /// Decoded.
    Decoded(&'a [f32]),
    /// A sparse vector and its projection.
    Projected(SparseVector<'a>, &'a [f32]),
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
            2 => Some(Self::Bit),
            3 => Some(Self::Sparse),
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
                make_room(decoded, halves.len())?;
                DenseElement::widen(&halves, decoded);
                Ok(Elements::Decoded(decoded))
            }
            Self::Bit => {
                // SAFETY: as the caller's.
                let bits = unsafe { BitString::from_datum(datum) }?;
                make_room(decoded, bits.count())?;
                for (element, bit) in decoded.iter_mut().zip(bits.bits()) {
                    *element = f32::from(u8::from(bit));
                }
                Ok(Elements::Decoded(decoded))
            }
            Self::Sparse => {
                // SAFETY: as the caller's.
                let sparse = unsafe { SparseVector::from_datum(datum) }?;
                decoded.clear();
                project(sparse.elements(), decoded)?;
                Ok(Elements::Projected(sparse, decoded))
            }
        }
    }

    /// Checks that a query has as many dimensions as the rows of an index.
    ///
    /// # Errors
    /// `DataException` when they differ, as the type's operators say it.
    pub(crate) fn check_equal_dims(self, of_index: usize, of_query: usize) -> Result<()> {
        match self {
            Self::Single => VectorType::Vector.check_equal_dims(of_index, of_query),
            Self::Half => VectorType::Halfvec.check_equal_dims(of_index, of_query),
            Self::Bit => bit::check_equal_lengths(of_index, of_query),
            Self::Sparse => VectorType::Sparsevec.check_equal_dims(of_index, of_query),
        }
    }

    /// What holds such values.
    pub(crate) const fn type_name(self) -> &'static str {
        match self {
            Self::Single => VectorType::Vector.name(),
            Self::Half => VectorType::Halfvec.name(),
            Self::Bit => "bit",
            Self::Sparse => VectorType::Sparsevec.name(),
        }
    }

    /// Dimensions of the numbers read of a value of `dims` dimensions.
    pub(crate) const fn read_dims(self, dims: usize) -> usize {
        match self {
            Self::Single | Self::Half | Self::Bit => dims,
            Self::Sparse => projection_dims(dims),
        }
    }

    /// Whether an index of such values can have this storage.
    pub(crate) const fn allows(self, storage: Storage) -> bool {
        matches!(self, Self::Sparse) == matches!(storage, Storage::Sketch)
    }

    /// The nearest elements that a value of this type can have.
    ///
    /// # Errors
    /// `OutOfRange` where a number is too large for it; `Unsupported` where values are no rounded numbers.
    pub(crate) fn rounded(self, elements: &[f32]) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Bit => Err(Error::new(
                ErrorKind::Unsupported,
                "vectors cannot be compared with bit strings",
            )
            .with_hint(
                "Use ORDER BY with one of the operators <~> and <%>, for many queries in a LATERAL subquery.",
            )),
            Self::Sparse => Err(no_function_of_sparse_vectors()),
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

/// The error of functions that take vectors.
fn no_function_of_sparse_vectors() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "sparse vectors are searched for one at a time",
    )
    .with_hint("Use ORDER BY with a distance, for many queries in a LATERAL subquery.")
}

/// Makes `decoded` `len` zeros.
fn make_room(decoded: &mut Vec<f32>, len: usize) -> Result<()> {
    decoded.clear();
    decoded.try_reserve(len).map_err(|error| {
        Error::new(ErrorKind::OutOfMemory, "no memory for a row").with_detail(error.to_string())
    })?;
    decoded.resize(len, 0.0);
    Ok(())
}

impl Elements<'_> {
    /// Dimensions of the value.
    pub(crate) fn value_dims(&self) -> usize {
        match self {
            Self::Projected(sparse, _) => sparse.elements().dims,
            _ => self.len(),
        }
    }

    /// The value as an index takes it.
    pub(crate) fn as_index_value(&self) -> IndexValue<'_> {
        let sparse = match self {
            Self::Projected(sparse, _) => Some(sparse.elements()),
            _ => None,
        };
        IndexValue { vector: self, sparse }
    }
}

impl Deref for Elements<'_> {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(vector) => vector.elements(),
            Self::Decoded(elements) | Self::Projected(_, elements) => elements,
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
    Bit(BitBuilder),
}

impl ElementsBuilder {
    /// Builds values of this type.
    ///
    /// # Errors
    /// `Unsupported` for one whose values are not made of the numbers that are read of them.
    pub(crate) fn new(element_type: ElementType) -> Result<Self> {
        if element_type == ElementType::Sparse {
            return Err(no_function_of_sparse_vectors());
        }
        Ok(Self {
            element_type,
            value: None,
        })
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
            // Sparse vectors are refused by `new`.
            (ElementType::Bit | ElementType::Sparse, _) => Built::Bit(BitBuilder::from_bits(
                elements.iter().map(|element| *element > 0.0),
            )),
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
            Built::Bit(bits) => bits.as_value().as_datum(),
        }
    }
}
