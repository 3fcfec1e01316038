//! A file in memory without a copy.
//!
//! Invariant of whoever opens one: nobody shortens or rewrites the file while it is mapped. A page that is gone is a signal that ends the
//! process, and with a backend the whole server restarts. So only a [`VerifiedFile`] can be mapped: one that an administrator put into a
//! folder of theirs, and that is still the one of which size, time of change and contents were recorded.

use std::ops::Deref;

use memmap2::Mmap;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::VerifiedFile;

/// A mapped file.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file that its administrator vouches for.
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses, `CorruptFile` when the file has changed since it was verified.
    #[expect(unsafe_code, reason = "a map is only sound while its file stays as it is")]
    pub fn open(file: &VerifiedFile) -> Result<Self> {
        // SAFETY: the module's invariant, which a verified file's administrator vouches for.
        let map = unsafe { Mmap::map(file.file()) }.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "cannot map a model file").with_detail(error.to_string())
        })?;
        file.check_unchanged()?;
        Ok(Self(map))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
