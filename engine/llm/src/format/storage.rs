//! The bytes of a file: mapped, or read when they are asked for.

use std::io::{BufReader, Read};
use std::sync::Arc;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::MappedFile;
use super::folder::OpenFile;
use crate::tensor::{DType, Shape, TensorBytes, TensorView};

/// Where the bytes of a file's tensors come from.
#[derive(Debug)]
pub(super) enum Storage {
    /// A file that stays as it is: views of it cost nothing.
    Mapped(Arc<MappedFile>),
    /// Any other file: each tensor is a copy.
    Read(OpenFile),
}

/// Reads a file from its start.
struct FromStart<'a> {
    file: &'a OpenFile,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.file.bytes().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let part = out.len().min(left);
        let (part, _) = out.split_at_mut(part);
        self.file
            .read_at(part, self.at)
            .map_err(|error| std::io::Error::other(error.detail().unwrap_or_default().to_owned()))?;
        self.at += part.len() as u64;
        Ok(part.len())
    }
}

impl Storage {
    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Mapped(map) => map.len() as u64,
            Self::Read(file) => file.bytes(),
        }
    }

    /// Its bytes from the first on.
    pub(super) fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Self::Mapped(map) => Box::new(&map[..]),
            Self::Read(file) => Box::new(BufReader::new(FromStart { file, at: 0 })),
        }
    }

    /// The tensor whose first byte is at `start`.
    ///
    /// # Errors
    /// `CorruptFile` when it is not in the file, or the file is not what it was; `OutOfMemory`.
    pub(super) fn tensor(&self, name: &str, start: u64, dtype: DType, shape: Shape) -> Result<TensorView> {
        let outside = || {
            Error::new(
                ErrorKind::CorruptFile,
                format!("tensor \"{name}\" is not in the file"),
            )
        };
        let length = shape.bytes(dtype)?;
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes()) {
            return Err(outside());
        }
        match self {
            Self::Mapped(map) => {
                let start = usize::try_from(start).map_err(|_| outside())?;
                let bytes = TensorBytes::Mapped(Arc::clone(map));
                TensorView::new(bytes, start..start + length, dtype, shape)
            }
            Self::Read(file) => {
                let bytes = TensorBytes::Owned(Arc::new(read(file, start, length)?));
                TensorView::new(bytes, 0..length, dtype, shape)
            }
        }
    }
}

fn read(file: &OpenFile, start: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|error| {
        Error::new(ErrorKind::OutOfMemory, "no memory for a model's weights").with_detail(error.to_string())
    })?;
    bytes.resize(length, 0);
    file.read_at(&mut bytes, start)?;
    file.check_unchanged()?;
    Ok(bytes)
}
