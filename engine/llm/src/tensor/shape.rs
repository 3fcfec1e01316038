//! Shapes of tensors, row-major: the last dimension is the one whose elements lie beside each other.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::DType;

/// Most dimensions of a tensor.
pub const MAX_TENSOR_DIMS: usize = 4;

/// The dimensions of a tensor, outermost first. At least one, none of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    dims: [usize; MAX_TENSOR_DIMS],
    count: usize,
}

impl Shape {
    /// The shape with these dimensions, outermost first.
    ///
    /// # Errors
    /// `CorruptFile` for none, more than [`MAX_TENSOR_DIMS`], a 0, or more elements than can be counted.
    pub fn new(dims: &[usize]) -> Result<Self> {
        let corrupt = |what: String| Err(Error::new(ErrorKind::CorruptFile, what));
        if !(1..=MAX_TENSOR_DIMS).contains(&dims.len()) {
            return corrupt(format!("a tensor of {} dimensions", dims.len()));
        }
        if dims.contains(&0) {
            return corrupt("a tensor without elements".to_owned());
        }
        if dims
            .iter()
            .try_fold(1usize, |elements, dim| elements.checked_mul(*dim))
            .is_none()
        {
            return corrupt(format!("a tensor of {dims:?} elements"));
        }
        let mut shape = Self {
            dims: [1; MAX_TENSOR_DIMS],
            count: dims.len(),
        };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.count]
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// Elements that lie beside each other.
    pub fn row_elements(&self) -> usize {
        self.dims[self.count - 1]
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.elements() / self.row_elements()
    }

    /// Bytes of the tensor.
    ///
    /// # Errors
    /// As [`DType::bytes`] of a row, and where the rows are more bytes than can be counted.
    pub fn bytes(&self, dtype: DType) -> Result<usize> {
        let row = dtype.bytes(self.row_elements())?;
        row.checked_mul(self.rows()).ok_or_else(|| {
            Error::new(
                ErrorKind::CorruptFile,
                format!("a tensor of {:?} elements", self.dims()),
            )
        })
    }
}
