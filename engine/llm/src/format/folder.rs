//! Files of an administrator's folder, and what was recorded of them.
//!
//! Invariant: an open file is a regular one, inside the folder, wherever links led. Nothing here waits for another process: a pipe or a
//! device is refused, not read. Who may write in the folder is the administrator's to see to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

/// Bytes that are hashed between two looks whether to go on.
const HASH_BYTES: usize = 1 << 20;

/// A folder with model files.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Without links.
    path: PathBuf,
}

/// Which file it is, and whether it was written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The file system's device.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
    /// Its size.
    pub bytes: u64,
    /// When its contents last changed: nanoseconds since 1970.
    pub modified_ns: i64,
}

/// What was recorded of a file. The caller keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Its path from the folder.
    pub path: String,
    /// Which file it was.
    pub identity: Identity,
    /// The SHA-256 of its contents.
    pub sha256: [u8; 32],
}

/// An open file of a folder.
#[derive(Debug)]
pub struct OpenFile {
    path: String,
    file: File,
    identity: Identity,
}

/// An open file that is the one which was recorded.
#[derive(Debug)]
pub struct VerifiedFile(OpenFile);

impl Folder {
    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder at `path`.
    ///
    /// # Errors
    /// `InvalidArgument` when it is none, or cannot be reached.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |detail: String| {
            Error::new(ErrorKind::InvalidArgument, "cannot open the folder of models").with_detail(detail)
        };
        let path = path.canonicalize().map_err(|error| cannot(error.to_string()))?;
        if !path.is_dir() {
            return Err(cannot("it is no folder".to_owned()));
        }
        Ok(Self { path })
    }

    /// Opens the file at `path` from the folder.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that leaves the folder, and for what is no regular file or cannot be opened.
    pub fn file(&self, path: &str) -> Result<OpenFile> {
        let cannot = |detail: String| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot open model file \"{path}\""),
            )
            .with_detail(detail)
        };
        let failed = |error: io::Error| cannot(error.to_string());
        let target = self.inside(path)?;
        let expected = target.symlink_metadata().map_err(failed)?;
        if !expected.is_file() {
            return Err(cannot("it is no regular file".to_owned()));
        }
        // Should something else be there by now: a link is not followed, and a pipe without a writer not waited for.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&target)
            .map_err(failed)?;
        let identity = Identity::of(&file).map_err(failed)?;
        if (identity.device, identity.inode) != (expected.dev(), expected.ino()) {
            return Err(cannot("it was exchanged while it was opened".to_owned()));
        }
        Ok(OpenFile {
            path: path.to_owned(),
            file,
            identity,
        })
    }

    /// Opens the file that `record` is of.
    ///
    /// # Errors
    /// As [`Self::file`], and `CorruptFile` when it is not the one that was recorded.
    pub fn verified(&self, record: &FileRecord) -> Result<VerifiedFile> {
        let file = self.file(&record.path)?;
        if file.identity != record.identity {
            return Err(changed(&record.path)
                .with_detail("it is another file, or has another size or time of change, than was recorded")
                .with_hint("If the change was meant, record the file again."));
        }
        Ok(VerifiedFile(file))
    }

    /// Reads a whole file and says what to remember of it.
    ///
    /// # Errors
    /// As [`Self::file`]; `Cancelled`; `CorruptFile` when the file changes meanwhile or cannot be read.
    pub fn record(&self, path: &str, keep_waiting: &mut KeepWaiting<'_>) -> Result<FileRecord> {
        let file = self.file(path)?;
        let (mut hash, mut at) = (Sha256::new(), 0);
        let mut part = vec![0; HASH_BYTES];
        while at < file.identity.bytes {
            if !keep_waiting() {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled on request"));
            }
            let left = usize::try_from(file.identity.bytes - at).unwrap_or(usize::MAX);
            let part = &mut part[..HASH_BYTES.min(left)];
            file.read_at(part, at)?;
            hash.update(&*part);
            at += part.len() as u64;
        }
        file.check_unchanged()?;
        Ok(FileRecord {
            path: path.to_owned(),
            identity: file.identity,
            sha256: hash.finalize().into(),
        })
    }

    /// What is at `path` from the folder, without links.
    ///
    /// # Errors
    /// `InvalidArgument` when there is nothing, or it is outside.
    pub(super) fn inside(&self, path: &str) -> Result<PathBuf> {
        let refuse = |detail: String| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot open model file \"{path}\""),
            )
            .with_detail(detail)
        };
        let is_plain = |part| matches!(part, Component::Normal(_));
        if path.is_empty() || !Path::new(path).components().all(is_plain) {
            return Err(refuse(
                "it is not named by its path from the folder of models".to_owned(),
            ));
        }
        let target = self.path.join(path).canonicalize();
        let target = target.map_err(|error| refuse(error.to_string()))?;
        if !target.starts_with(&self.path) {
            return Err(refuse("it is outside the folder of models".to_owned()));
        }
        Ok(target)
    }
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
        })
    }
}

impl OpenFile {
    /// Its size when it was opened.
    pub fn bytes(&self) -> u64 {
        self.identity.bytes
    }

    /// Fills `out` with what the file has from byte `at`.
    ///
    /// # Errors
    /// `CorruptFile` when it has less, or cannot be read.
    pub fn read_at(&self, out: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(out, at).map_err(|error| {
            Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "cannot read {} bytes of \"{}\" at byte {at}",
                    out.len(),
                    self.path
                ),
            )
            .with_detail(error.to_string())
        })
    }

    /// Checks that the file is as it was when it was opened.
    ///
    /// # Errors
    /// `CorruptFile` when it is not.
    pub fn check_unchanged(&self) -> Result<()> {
        match Identity::of(&self.file) {
            Ok(now) if now == self.identity => Ok(()),
            _ => Err(changed(&self.path)),
        }
    }
}

impl VerifiedFile {
    pub(super) fn file(&self) -> &File {
        &self.0.file
    }

    pub(super) fn into_file(self) -> OpenFile {
        self.0
    }

    /// Checks that the file is as it was recorded.
    ///
    /// # Errors
    /// `CorruptFile` when it is not.
    pub fn check_unchanged(&self) -> Result<()> {
        self.0.check_unchanged()
    }
}

fn changed(path: &str) -> Error {
    Error::new(
        ErrorKind::CorruptFile,
        format!("the model file \"{path}\" has changed"),
    )
}

#[cfg(test)]
mod tests;
