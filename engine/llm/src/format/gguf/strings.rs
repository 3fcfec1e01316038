//! Many strings in one piece of memory: a vocabulary has more than a hundred thousand.

use std::io::Read;

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::format::Bounded;

/// Bytes of a string's length in a file.
const LENGTH_BYTES: u64 = 8;
/// Longest string: chat templates have some ten thousand bytes.
pub(super) const MAX_STRING_BYTES: u64 = 16 << 20;

/// Strings by number. Their bytes are what the file has: not all of them need be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StringTable {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl StringTable {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of string `number`.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    /// All strings.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|number| self.get(number).unwrap_or_default())
    }

    /// Adds a string.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    /// Reads `count` strings.
    pub(super) fn read<R: Read>(file: &mut Bounded<R>, count: u64) -> Result<Self> {
        let count = file.expect(count, LENGTH_BYTES)?;
        let mut table = Self::default();
        table.ends.try_reserve_exact(count).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory to read a model file")
                .with_detail(error.to_string())
        })?;
        for _ in 0..count {
            table.push(&string(file, MAX_STRING_BYTES)?);
        }
        Ok(table)
    }
}

/// Reads a string of at most `most` bytes.
pub(super) fn string<R: Read>(file: &mut Bounded<R>, most: u64) -> Result<Vec<u8>> {
    let length = file.u64()?;
    if length > most {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the file has a string of {length} bytes, more than {most}"),
        ));
    }
    file.bytes(length)
}

/// Reads a name: UTF-8, of at most `most` bytes.
pub(super) fn name<R: Read>(file: &mut Bounded<R>, most: u64) -> Result<String> {
    String::from_utf8(string(file, most)?)
        .map_err(|_| Error::new(ErrorKind::CorruptFile, "the file has a name that is not UTF-8"))
}
