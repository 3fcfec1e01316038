//! A file in memory without a copy.
//!
//! Invariant of whoever opens one: nobody shortens or rewrites the file while it is mapped. A page that is gone is a signal that ends the
//! process, and with a backend the whole server restarts; so only files that an administrator put into a folder of theirs, and
//! whose size and time of change are those that were recorded, may be mapped.

use std::fs::File;
use std::ops::Deref;

use memmap2::Mmap;
use vectorgpu_core::{Error, ErrorKind, Result};

/// A mapped file.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file that the caller knows to stay as it is.
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses.
    #[expect(unsafe_code, reason = "a map is only sound while its file stays as it is")]
    pub fn open(file: &File) -> Result<Self> {
        // SAFETY: the module's invariant, which the caller vouches for.
        let map = unsafe { Mmap::map(file) }.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "cannot map a model file").with_detail(error.to_string())
        })?;
        Ok(Self(map))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
