//! Rows as f16 with a power of two each, as matrix units multiply them.
//!
//! Must not know kernels. Unlike plain f16 rows, no finite row of f32 overflows and none loses its small elements to the
//! range of f16; rows are padded with zeros to whole octets.

use std::ops::Range;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::array::Array;
use crate::engine::Engine;
use crate::memory::view::RangeError;
use crate::rows::{RowFormat, invalid};

/// Elements of an octet, the unit that the kernels load.
const OCTET: usize = 8;
/// Words of an octet of f16.
const OCTET_WORDS: usize = 4;

/// `rows` vectors of `dims` dimensions: element `i` of row `r` is `factors[r] * codes[r, i]`, each factor a power of two.
///
/// Cloning and slicing share the memory, as with [`Array`].
#[derive(Clone)]
pub struct ScaledRows {
    rows: usize,
    dims: usize,
    codes: Array<u32>,
    factors: Array<f32>,
}

impl ScaledRows {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// The f16 elements, two to a word, `[rows, 8 * octets]` with `octets = ceil(dims / 8)`.
    #[must_use]
    pub fn codes(&self) -> &Array<u32> {
        &self.codes
    }

    /// The factor of each row.
    #[must_use]
    pub fn factors(&self) -> &Array<f32> {
        &self.factors
    }

    /// The rows of `range`, sharing this one's memory.
    ///
    /// # Errors
    /// `OutOfBounds`; `MisalignedOffset` unless the range starts where the device can bind it, as every 64th row does.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, RangeError> {
        let words = self.octets() * OCTET_WORDS;
        let word = |row: usize| row.saturating_mul(words);
        Ok(Self {
            rows: range.len(),
            dims: self.dims,
            codes: self.codes.slice(word(range.start)..word(range.end))?,
            factors: self.factors.slice(range)?,
        })
    }

    /// Octets of a row.
    pub(crate) fn octets(&self) -> usize {
        self.dims.div_ceil(OCTET)
    }
}

impl Engine {
    /// Room for `rows` scaled rows in buffers of their own, accounted under `label`, for [`crate::Step::to_f16`] to
    /// write. The contents are unspecified.
    ///
    /// # Errors
    /// `InvalidArgument` unless `dims` is 1 to 16,000; as [`Engine::array`].
    pub fn scaled_rows(
        &self,
        label: &'static str,
        rows: usize,
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<ScaledRows> {
        if !(1..=RowFormat::F16.dims_max()).contains(&dims) {
            return Err(invalid(format!("{dims} dimensions are not between 1 and 16000")));
        }
        let words = rows.saturating_mul(dims.div_ceil(OCTET) * OCTET_WORDS);
        Ok(ScaledRows {
            rows,
            dims,
            codes: self.array(label, words, keep_waiting)?,
            factors: self.array(label, rows, keep_waiting)?,
        })
    }
}
