//! A GGUF file whose tensors can be looked at.

use std::path::Path;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::gguf::{Gguf, Metadata};
use super::storage::Storage;
use super::{Files, Folder, TensorSource};
use crate::tensor::TensorView;

/// An open GGUF file.
#[derive(Debug)]
pub struct ModelFile {
    header: Gguf,
    storage: Storage,
}

impl ModelFile {
    /// Opens any file. Its tensors are copies.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be opened, and what [`Gguf::read`] reports.
    pub fn open(path: &Path) -> Result<Self> {
        let no_file = || {
            Error::new(
                ErrorKind::InvalidArgument,
                "cannot open model file: there is none",
            )
        };
        let path = path
            .canonicalize()
            .map_err(|error| no_file().with_detail(error.to_string()))?;
        let folder = Folder::open(path.parent().ok_or_else(no_file)?)?;
        let name = path.file_name().and_then(|name| name.to_str());
        Self::read(Files::any(&folder), name.ok_or_else(no_file)?)
    }

    /// Opens the file at `path` of `files`.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be opened, `CorruptFile` when it is not the one that was recorded, and what [`Gguf::read`] reports.
    pub fn read(files: Files<'_>, path: &str) -> Result<Self> {
        let storage = files.storage(path)?;
        let header = Gguf::read(storage.reader(), storage.bytes())?;
        Ok(Self { header, storage })
    }

    /// What the file says.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }
}

impl TensorSource for ModelFile {
    fn description(&self) -> &Metadata {
        self.metadata()
    }

    fn pairs_are_adjacent(&self) -> bool {
        true
    }

    fn parameters(&self) -> u64 {
        let elements = self
            .header
            .tensors
            .iter()
            .map(|info| info.shape.elements() as u64);
        elements.sum()
    }

    fn optional(&self, name: &str) -> Result<Option<TensorView>> {
        let Some(info) = self.header.tensor(name) else {
            return Ok(None);
        };
        // The header was checked: tensors lie inside the file.
        let start = self.header.data_start + info.offset;
        self.storage.tensor(name, start, info.dtype, info.shape).map(Some)
    }
}
