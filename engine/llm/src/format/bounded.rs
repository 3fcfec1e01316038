//! Reading little-endian values from a file whose length is known, never beyond it.

use std::io::Read;

use vectorgpu_core::{Error, ErrorKind, Result};

/// A reader that knows how many bytes are left, so that no length in a file is believed beyond that.
pub struct Bounded<R> {
    source: R,
    position: u64,
    length: u64,
}

impl<R: Read> Bounded<R> {
    /// Reads `source`, which has `length` bytes.
    pub fn new(source: R, length: u64) -> Self {
        Self {
            source,
            position: 0,
            length,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.length - self.position
    }

    /// Checks that `count` values of `bytes` bytes at least can be left.
    ///
    /// # Errors
    /// `CorruptFile` when they cannot.
    pub fn expect(&self, count: u64, bytes: u64) -> Result<usize> {
        let fits = count.checked_mul(bytes).is_some_and(|bytes| bytes <= self.left());
        match usize::try_from(count) {
            Ok(count) if fits => Ok(count),
            _ => Err(Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "the file announces {count} values at byte {} and has {} bytes left",
                    self.position,
                    self.left()
                ),
            )),
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `CorruptFile` when they are not there or cannot be read.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// As [`Self::array`], and `OutOfMemory`.
    pub fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        let length = self.expect(length, 1)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory to read a model file")
                .with_detail(error.to_string())
        })?;
        bytes.resize(length, 0);
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next u32.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next u64.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.expect(bytes.len() as u64, 1)?;
        self.source.read_exact(bytes).map_err(|error| {
            Error::new(
                ErrorKind::CorruptFile,
                format!("cannot read byte {} of the file", self.position),
            )
            .with_detail(error.to_string())
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
