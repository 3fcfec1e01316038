//! Matrices of row vectors in device memory, as the kernels that go over rows read and write them.
//!
//! Must not know kernels. Invariant: rows lie one after the other, each padded with zeros to whole quads, the unit that
//! a kernel loads: uploads pad, and a kernel that writes rows writes their padding too. So a sum over a row needs no
//! special end, and any 64th row starts at a multiple of every device's binding alignment.

use std::ops::Range;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::limits::MAX_DIMS;
use vectorgpu_core::metric::Element;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::array::Array;
use crate::engine::Engine;
use crate::memory::staging::Source;
use crate::memory::view::{COPY_ALIGNMENT, RangeError, View};
use crate::recording::{End, Recording};
use crate::runtime::as_u64;

/// Most dimensions of a row of bits: those of pgvector's indexes.
const MAX_BITS: usize = 64_000;

/// How the elements of a row are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowFormat {
    /// IEEE 754 binary32, little-endian.
    F32,
    /// IEEE 754 binary16, little-endian.
    F16,
    /// Codes of a byte, two's complement; see [`Int8Rows`].
    Int8,
    /// A bit an element: element `i` is bit `i mod 32` of the little-endian word `i / 32`. The last word's bits beyond
    /// the dimensions must be 0; they count.
    Bits,
}

/// `rows` vectors of `dims` dimensions in device memory, all in one format.
///
/// Cloning and slicing share the memory, as with [`Array`].
#[derive(Clone)]
pub struct RowArray {
    format: RowFormat,
    rows: usize,
    dims: usize,
    words: Array<u32>,
}

/// Vectors as int8 codes with one scale each: row `r` stands for `scales[r] * codes[r]`.
#[derive(Clone)]
pub struct Int8Rows {
    codes: RowArray,
    scales: Array<f32>,
}

impl RowFormat {
    /// Most dimensions of a row: 16,000, or 64,000 bits.
    #[must_use]
    pub const fn dims_max(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Int8 => MAX_DIMS,
            Self::Bits => MAX_BITS,
        }
    }

    /// Bytes of a row on the host, where rows are not padded; a row of bits is whole words.
    #[must_use]
    pub const fn row_bytes(self, dims: usize) -> usize {
        match self {
            Self::F32 => Element::F32.code_bytes(dims),
            Self::F16 => Element::F16.code_bytes(dims),
            Self::Int8 => dims,
            Self::Bits => dims.div_ceil(32) * 4,
        }
    }

    /// Bytes of a quad: what a kernel loads at once.
    const fn quad_bytes(self) -> usize {
        match self {
            Self::F16 => 8,
            Self::F32 | Self::Int8 | Self::Bits => 16,
        }
    }

    /// Quads of a row.
    pub(crate) const fn quads(self, dims: usize) -> usize {
        self.row_bytes(dims).div_ceil(self.quad_bytes())
    }

    /// Bytes of a row on the device.
    #[must_use]
    pub const fn stride_bytes(self, dims: usize) -> usize {
        self.quads(dims) * self.quad_bytes()
    }
}

impl From<Element> for RowFormat {
    fn from(element: Element) -> Self {
        match element {
            Element::F32 => Self::F32,
            Element::F16 => Self::F16,
        }
    }
}

impl RowArray {
    /// Takes `array`, `[n, dims]` row-major, for rows of f32 without copying, as the results of a kernel over plain
    /// numbers.
    ///
    /// # Errors
    /// `InvalidArgument` unless `dims` is a multiple of 4 (other rows need padding) and the rows are whole.
    pub fn of_f32(array: &Array<f32>, dims: usize) -> Result<Self> {
        check_dims(RowFormat::F32, dims)?;
        if !dims.is_multiple_of(4) || !array.len().is_multiple_of(dims) {
            return Err(invalid(format!(
                "{} numbers are not rows of {dims} dimensions without padding",
                array.len()
            )));
        }
        Ok(Self {
            format: RowFormat::F32,
            rows: array.len() / dims,
            dims,
            words: array.words(),
        })
    }

    /// How its elements are encoded.
    #[must_use]
    pub fn format(&self) -> RowFormat {
        self.format
    }

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

    /// The rows of `range` as an array of their own, sharing this one's memory.
    ///
    /// # Errors
    /// `OutOfBounds`; `MisalignedOffset` unless the first row starts, in bytes, at a multiple of the device's alignment
    /// of storage bindings (at most 256, as every 64th row does).
    pub fn slice(&self, range: Range<usize>) -> Result<Self, RangeError> {
        let stride = self.format.stride_bytes(self.dims) / size_of::<u32>();
        let word = |row: usize| row.saturating_mul(stride);
        Ok(Self {
            format: self.format,
            rows: range.len(),
            dims: self.dims,
            words: self.words.slice(word(range.start)..word(range.end))?,
        })
    }

    /// The memory, for binding.
    pub(crate) fn view(&self) -> &View {
        self.words.view()
    }

    /// Quads of a row.
    pub(crate) fn quads(&self) -> usize {
        self.format.quads(self.dims)
    }

    /// Words of a row, padding included.
    pub(crate) fn row_words(&self) -> usize {
        self.format.stride_bytes(self.dims) / size_of::<u32>()
    }

    /// Which of the formats that hold numbers it is in.
    ///
    /// # Errors
    /// `InvalidArgument` for codes.
    pub(crate) fn element(&self) -> Result<Element> {
        match self.format {
            RowFormat::F32 => Ok(Element::F32),
            RowFormat::F16 => Ok(Element::F16),
            RowFormat::Int8 | RowFormat::Bits => Err(invalid(format!(
                "rows of {:?} where rows of F32 or F16 are needed",
                self.format
            ))),
        }
    }

    /// Checks that it has this shape.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub(crate) fn check(&self, format: RowFormat, rows: usize, dims: usize) -> Result<()> {
        if (self.format, self.rows, self.dims) == (format, rows, dims) {
            return Ok(());
        }
        Err(invalid(format!(
            "{} rows of {} dimensions as {:?} where {rows} of {dims} as {format:?} are needed",
            self.rows, self.dims, self.format
        )))
    }
}

impl Int8Rows {
    /// Puts codes and their scales together.
    ///
    /// # Errors
    /// `InvalidArgument` unless `codes` are in the format `Int8` and there is one scale for each row.
    pub fn new(codes: RowArray, scales: Array<f32>) -> Result<Self> {
        if codes.format != RowFormat::Int8 || codes.rows != scales.len() {
            return Err(invalid(format!(
                "{} scales do not fit {} rows of {:?}",
                scales.len(),
                codes.rows,
                codes.format
            )));
        }
        Ok(Self { codes, scales })
    }

    /// The codes.
    #[must_use]
    pub fn codes(&self) -> &RowArray {
        &self.codes
    }

    /// The scales.
    #[must_use]
    pub fn scales(&self) -> &Array<f32> {
        &self.scales
    }

    /// The rows of `range`, sharing this one's memory.
    ///
    /// # Errors
    /// As [`RowArray::slice`], for the codes and for the scales.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, RangeError> {
        Ok(Self {
            codes: self.codes.slice(range.clone())?,
            scales: self.scales.slice(range)?,
        })
    }
}

impl Engine {
    /// Room for `rows` rows in a buffer of its own, accounted under `label`, for kernels to write. The contents are
    /// unspecified.
    ///
    /// # Errors
    /// `InvalidArgument` unless `dims` is 1 to [`RowFormat::dims_max`]; as [`Engine::array`].
    pub fn row_array(
        &self,
        label: &'static str,
        format: RowFormat,
        rows: usize,
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<RowArray> {
        let words = words(format, rows, dims)?;
        Ok(RowArray {
            format,
            rows,
            dims,
            words: self.array(label, words, keep_waiting)?,
        })
    }

    /// Room for `rows` int8 rows and their scales in buffers of their own, as [`Engine::row_array`].
    ///
    /// # Errors
    /// As [`Engine::row_array`].
    pub fn int8_rows(
        &self,
        label: &'static str,
        rows: usize,
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Int8Rows> {
        Ok(Int8Rows {
            codes: self.row_array(label, RowFormat::Int8, rows, dims, keep_waiting)?,
            scales: self.array(label, rows, keep_waiting)?,
        })
    }

    /// Rows in long-lived memory, accounted under `label`, for kernels to read. `codes` is `[n, dims]` row-major in
    /// `format`, each row of [`RowFormat::row_bytes`] bytes, of any alignment.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let codes: Vec<u8> = [1.0_f32, 2.0, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    /// let rows = engine.upload_rows("example", RowFormat::F32, 3, &codes, &mut || true).unwrap();
    /// assert_eq!((rows.rows(), rows.dims()), (1, 3));
    /// assert_eq!(engine.download_rows(&rows, &mut || true).unwrap(), codes);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for dimensions as [`Engine::row_array`] and for rows that are not whole; as
    /// [`Engine::upload`].
    pub fn upload_rows(
        &self,
        label: &'static str,
        format: RowFormat,
        dims: usize,
        codes: &[u8],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<RowArray> {
        check_dims(format, dims)?;
        let rows = codes.len() / format.row_bytes(dims);
        let words = words(format, rows, dims)?;
        let bytes = as_u64(words.saturating_mul(size_of::<u32>()))?;
        let block = self.runtime.reserve(label, bytes, keep_waiting)?;
        let array = RowArray {
            format,
            rows,
            dims,
            words: self.array_in(&block, words)?,
        };
        self.write_rows(&array, 0, codes, keep_waiting)?;
        Ok(array)
    }

    /// Writes rows from row `first` on; `codes` as in [`Engine::upload_rows`]. The device may still be copying when this
    /// returns; what is recorded later sees the rows.
    ///
    /// # Errors
    /// `InvalidArgument` when they do not fit or are not whole, `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub fn write_rows(
        &self,
        array: &RowArray,
        first: usize,
        codes: &[u8],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let row_bytes = array.format.row_bytes(array.dims);
        let stride_bytes = array.format.stride_bytes(array.dims);
        let rows = codes.len() / row_bytes;
        if !codes.len().is_multiple_of(row_bytes) || first > array.rows || rows > array.rows - first {
            return Err(invalid(format!(
                "{} bytes do not fit rows {first} to {} of {row_bytes} bytes",
                codes.len(),
                array.rows
            )));
        }
        let start = as_u64(first * stride_bytes)?;
        let part = array
            .view()
            .part(start, as_u64(rows * stride_bytes)?, COPY_ALIGNMENT)?;
        let mut recording = Recording::default();
        let source = Source::rows(codes, row_bytes, stride_bytes);
        self.runtime
            .stage(&mut recording, source, End::View(part), keep_waiting)?;
        self.runtime.submit(recording, keep_waiting)?;
        Ok(())
    }

    /// The rows of `array` without their padding, after everything that was submitted before.
    ///
    /// # Errors
    /// As [`Engine::download`].
    pub fn download_rows(&self, array: &RowArray, keep_waiting: &mut KeepWaiting<'_>) -> Result<Vec<u8>> {
        let row_bytes = array.format.row_bytes(array.dims);
        let stride_bytes = array.format.stride_bytes(array.dims);
        let words = self.download(&array.words, keep_waiting)?;
        let padded: &[u8] = bytemuck::cast_slice(&words);
        let mut codes = Vec::new();
        codes.try_reserve_exact(array.rows * row_bytes).map_err(|error| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("no memory for {} rows: {error}", array.rows),
            )
        })?;
        for row in padded.chunks_exact(stride_bytes) {
            codes.extend_from_slice(&row[..row_bytes]);
        }
        Ok(codes)
    }
}

/// Words that `rows` rows take on the device.
fn words(format: RowFormat, rows: usize, dims: usize) -> Result<usize> {
    check_dims(format, dims)?;
    rows.checked_mul(format.stride_bytes(dims) / size_of::<u32>())
        .ok_or_else(|| Error::new(ErrorKind::LimitExceeded, format!("{rows} rows are too many")))
}

fn check_dims(format: RowFormat, dims: usize) -> Result<()> {
    let most = format.dims_max();
    if (1..=most).contains(&dims) {
        return Ok(());
    }
    Err(invalid(format!("{dims} dimensions are not between 1 and {most}")))
}

/// An error about an argument.
pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_64th_row_is_aligned_for_every_device() {
        for format in [RowFormat::F32, RowFormat::F16, RowFormat::Int8, RowFormat::Bits] {
            for dims in [1, 3, 4, 5, 31, 33, 768, 1536, 16_000] {
                let stride = format.stride_bytes(dims);
                assert!((64 * stride).is_multiple_of(256), "{format:?} {dims}");
                assert!((format.row_bytes(dims)..format.row_bytes(dims) + 16).contains(&stride));
            }
        }
    }

    #[test]
    fn dimensions_outside_the_limits_are_refused() {
        for (format, dims) in [
            (RowFormat::F32, 0),
            (RowFormat::Int8, 16_001),
            (RowFormat::Bits, 64_001),
        ] {
            assert_eq!(
                words(format, 1, dims).unwrap_err().kind(),
                ErrorKind::InvalidArgument
            );
        }
        assert_eq!(
            words(RowFormat::F32, usize::MAX, 4).unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
    }
}
