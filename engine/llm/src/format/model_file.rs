//! A GGUF file whose tensors can be looked at.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::gguf::{Gguf, Metadata};
use super::mmap::MappedFile;
use crate::tensor::TensorView;

/// An open model file. Its tensors are views of the mapped file.
#[derive(Debug)]
pub struct ModelFile {
    header: Gguf,
    bytes: Arc<MappedFile>,
}

impl ModelFile {
    /// Opens a file that stays as it is (`MappedFile`).
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be read, and what [`Gguf::read`] reports.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot open model file \"{}\"", path.display()),
            )
            .with_detail(error.to_string())
        };
        let file = File::open(path).map_err(cannot)?;
        let length = file.metadata().map_err(cannot)?.len();
        let header = Gguf::read(BufReader::new(&file), length)?;
        let bytes = Arc::new(MappedFile::open(&file)?);
        if bytes.len() as u64 != length {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                "the file changed while it was opened",
            ));
        }
        Ok(Self { header, bytes })
    }

    /// What the file says.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// `CorruptFile` when there is none.
    pub fn tensor(&self, name: &str) -> Result<TensorView> {
        self.optional(name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::CorruptFile,
                format!("the file has no tensor \"{name}\""),
            )
        })
    }

    /// The tensor of this name, if there is one.
    ///
    /// # Errors
    /// `CorruptFile` when it lies outside the file.
    pub fn optional(&self, name: &str) -> Result<Option<TensorView>> {
        let Some(info) = self.header.tensor(name) else {
            return Ok(None);
        };
        let outside = || {
            Error::new(
                ErrorKind::CorruptFile,
                format!("tensor \"{name}\" is not in the file"),
            )
        };
        let start = usize::try_from(self.header.data_start + info.offset).map_err(|_| outside())?;
        let length = usize::try_from(info.bytes).map_err(|_| outside())?;
        let end = start
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(outside)?;
        TensorView::new(Arc::clone(&self.bytes), start..end, info.dtype, info.shape).map(Some)
    }
}
