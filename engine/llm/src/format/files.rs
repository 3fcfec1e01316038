//! The files of a model, and whether they are known not to change.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::storage::Storage;
use super::{FileRecord, Folder, MappedFile, ModelFile, SafeTensors, TensorSource};

/// Files that may lie beside a model's tensors, and say something of it.
const SMALL_FILES: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

/// Files of a folder: any, or those that were recorded.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    folder: &'a Folder,
    records: Option<&'a [FileRecord]>,
}

/// Opens the model at `path`: a GGUF file, or a folder with safetensors files.
///
/// # Errors
/// What [`ModelFile::read`] and [`SafeTensors::read`] report.
pub fn open_model(files: Files<'_>, path: &str) -> Result<Box<dyn TensorSource>> {
    Ok(if files.is_folder(path)? {
        Box::new(SafeTensors::read(files, path)?)
    } else {
        Box::new(ModelFile::read(files, path)?)
    })
}

impl<'a> Files<'a> {
    /// Any file of `folder`. Tensors are copies, which no later change of a file can touch.
    pub fn any(folder: &'a Folder) -> Self {
        Self {
            folder,
            records: None,
        }
    }

    /// Only the files of `records`, as they were recorded. Tensors are views of them.
    pub fn recorded(folder: &'a Folder, records: &'a [FileRecord]) -> Self {
        Self {
            folder,
            records: Some(records),
        }
    }

    /// Records every file that reading the model at `path` may need.
    ///
    /// # Errors
    /// What [`Folder::record`] reports, and `CorruptFile` for a list of tensors that cannot be.
    pub fn record(
        folder: &Folder,
        path: &str,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<FileRecord>> {
        let files = Files::any(folder);
        let mut paths = Vec::new();
        if files.is_folder(path)? {
            paths.extend(SMALL_FILES.map(|name| format!("{path}/{name}")));
            paths.retain(|path| files.has(path));
            paths.extend(SafeTensors::files(files, path)?);
        } else {
            paths.push(path.to_owned());
        }
        let record = |path: String| folder.record(&path, keep_waiting);
        paths.into_iter().map(record).collect()
    }

    /// Whether `path` names a folder.
    ///
    /// # Errors
    /// `InvalidArgument` when it names nothing.
    pub fn is_folder(&self, path: &str) -> Result<bool> {
        match self.records {
            Some(records) => Ok(!records.iter().any(|record| record.path == path)),
            None => self.folder.inside(path).map(|path| path.is_dir()),
        }
    }

    /// Whether there is a file at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        match self.records {
            Some(_) => self.record_of(path).is_some(),
            None => self.folder.inside(path).is_ok_and(|path| path.is_file()),
        }
    }

    /// Names of the files in folder `path` that end with `ending`, in order.
    pub(super) fn names(&self, path: &str, ending: &str) -> Result<Vec<String>> {
        let cannot = |error: std::io::Error| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot open model folder \"{path}\""),
            )
            .with_detail(error.to_string())
        };
        let mut names = Vec::new();
        match self.records {
            Some(records) => {
                let inside = |record: &FileRecord| {
                    record
                        .path
                        .strip_prefix(path)?
                        .strip_prefix('/')
                        .map(str::to_owned)
                };
                names.extend(records.iter().filter_map(inside));
            }
            None => {
                for entry in self.folder.inside(path)?.read_dir().map_err(cannot)? {
                    names.extend(entry.map_err(cannot)?.file_name().into_string());
                }
            }
        }
        names.retain(|name| name.ends_with(ending) && !name.contains('/'));
        names.sort_unstable();
        Ok(names)
    }

    /// The bytes of a file's tensors.
    pub(super) fn storage(&self, path: &str) -> Result<Storage> {
        if self.records.is_none() {
            return self.folder.file(path).map(Storage::Read);
        }
        let record = self.record_of(path).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("nothing was recorded of model file \"{path}\""),
            )
        })?;
        let file = self.folder.verified(record)?;
        Ok(Storage::Mapped(Arc::new(MappedFile::open(&file)?)))
    }

    /// The whole of a file that is read at once, if there is such a file.
    ///
    /// # Errors
    /// `LimitExceeded` when it has more than `most` bytes; `CorruptFile` when it is not what was recorded.
    pub(crate) fn small(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        if !self.has(path) {
            return Ok(None);
        }
        let file = match self.record_of(path) {
            Some(record) => self.folder.verified(record)?.into_file(),
            None => self.folder.file(path)?,
        };
        if file.bytes() > most {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("\"{path}\" has {} bytes, more than {most}", file.bytes()),
            ));
        }
        let mut bytes = vec![0; usize::try_from(file.bytes()).unwrap_or_default()];
        file.read_at(&mut bytes, 0)?;
        file.check_unchanged()?;
        // What is read whole can be checked whole, so it is.
        let differs = |record: &FileRecord| record.sha256[..] != Sha256::digest(&bytes)[..];
        if self.record_of(path).is_some_and(differs) {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                format!("\"{path}\" has other contents than were recorded"),
            ));
        }
        Ok(Some(bytes))
    }

    fn record_of(&self, path: &str) -> Option<&'a FileRecord> {
        self.records?.iter().find(|record| record.path == path)
    }
}
