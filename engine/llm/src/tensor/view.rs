//! Views of tensors: where their bytes are, without a copy.

use std::ops::Range;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::{DType, Shape, TensorBytes};
use crate::quant;

/// Rows of blocks.
#[derive(Debug, Clone)]
pub struct TensorView {
    buffer: TensorBytes,
    bytes: Range<usize>,
    dtype: DType,
    shape: Shape,
    row_bytes: usize,
}

impl TensorView {
    /// The tensor whose bytes lie at `bytes` of `buffer`.
    ///
    /// # Errors
    /// `CorruptFile` when those are not the shape's, or not in the buffer.
    pub fn new(buffer: TensorBytes, bytes: Range<usize>, dtype: DType, shape: Shape) -> Result<Self> {
        if shape.bytes(dtype)? != bytes.len() || bytes.end > buffer.len() {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                "a tensor of other bytes than its shape has",
            ));
        }
        Ok(Self {
            row_bytes: dtype.bytes(shape.row_elements())?,
            buffer,
            bytes,
            dtype,
            shape,
        })
    }

    /// How elements are stored.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All bytes, row after row.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.bytes.clone()]
    }

    /// The bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Row `number`, if there is such a row.
    pub fn row(&self, number: usize) -> Option<&[u8]> {
        let start = number.checked_mul(self.row_bytes)?;
        self.as_bytes().get(start..start.checked_add(self.row_bytes)?)
    }

    /// Some rows, as a view of the same bytes.
    ///
    /// # Errors
    /// `Internal` for rows that are not there, or none.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self> {
        if rows.is_empty() || rows.end > self.shape.rows() {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("rows {rows:?} of a tensor of {} rows", self.shape.rows()),
            ));
        }
        let start = self.bytes.start + rows.start * self.row_bytes;
        let end = self.bytes.start + rows.end * self.row_bytes;
        let shape = Shape::new(&[rows.len(), self.shape.row_elements()])?;
        Self::new(self.buffer.clone(), start..end, self.dtype, shape)
    }

    /// All elements as f32.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut elements = Vec::new();
        elements
            .try_reserve_exact(self.shape.elements())
            .map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, "no memory for a model's weights")
                    .with_detail(error.to_string())
            })?;
        elements.resize(self.shape.elements(), 0.0);
        quant::decode(self.dtype, self.as_bytes(), &mut elements)?;
        Ok(elements)
    }
}
