//! Reads the header of a GGUF file: what its metadata say, and where which tensor lies.
//!
//! Versions 2 and 3, little-endian. Must not know what a model is. Invariant: every tensor of a [`Gguf`] lies inside the file, at a
//! multiple of its alignment, and overlaps no other one; names and keys are unique. Source: the format's specification
//! (docs/gguf.md of the ggml library).
//!
//! A file is data from strangers. So no count is believed beyond the bytes that are left, sizes are computed with checks, and what a
//! header may hold is limited.

mod metadata;
mod strings;
mod tensors;

use std::io::Read;

use vectorgpu_core::{Error, ErrorKind, Result};

pub use metadata::{Array, Metadata, Value};
pub use strings::StringTable;
pub use tensors::TensorInfo;

use super::Bounded;

const MAGIC: [u8; 4] = *b"GGUF";
/// Most keys, and most tensors.
const MAX_COUNT: u64 = 1 << 16;
const DEFAULT_ALIGNMENT: u32 = 32;
const MAX_ALIGNMENT: u32 = 4096;

/// The header of a file.
#[derive(Debug)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// What the file says of its model.
    pub metadata: Metadata,
    /// In the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Byte of the file from which tensors' offsets count.
    pub data_start: u64,
}

impl Gguf {
    /// Reads the header of a file of `length` bytes.
    ///
    /// # Errors
    /// `CorruptFile` for what no writer wrote, `Unsupported` for another version, byte order or element type, `LimitExceeded` for a
    /// header larger than any model's, `OutOfMemory`.
    pub fn read(source: impl Read, length: u64) -> Result<Self> {
        let mut file = Bounded::new(source, length);
        let (version, tensor_count, metadata) = begin(&mut file)?;
        let alignment = alignment(&metadata)?;
        let tensors = tensors::read(&mut file, tensor_count)?;
        let data_start = file
            .position()
            .checked_next_multiple_of(u64::from(alignment))
            .ok_or_else(|| corrupt("the file's header has no end"))?;
        let data_bytes = length
            .checked_sub(data_start)
            .or_else(|| tensors.is_empty().then_some(0))
            .ok_or_else(|| corrupt("the file ends with its header"))?;
        tensors::check_places(&tensors, alignment, data_bytes)?;
        Ok(Self {
            version,
            metadata,
            tensors,
            data_start,
        })
    }

    /// Reads what a file of `length` bytes says, and nothing of its tensors: their types need not be known here.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_metadata(source: impl Read, length: u64) -> Result<Metadata> {
        let (_version, _tensors, metadata) = begin(&mut Bounded::new(source, length))?;
        Ok(metadata)
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// The version, the number of tensors, and what the file says.
fn begin<R: Read>(file: &mut Bounded<R>) -> Result<(u32, usize, Metadata)> {
    let magic = file.array()?;
    if magic != MAGIC {
        return Err(corrupt("the file is not a GGUF file"));
    }
    let version = file.u32()?;
    check_version(version)?;
    let tensor_count = count(file.u64()?, "tensors")?;
    let key_count = count(file.u64()?, "keys")?;
    Ok((version, tensor_count, Metadata::read(file, key_count)?))
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}

fn check_version(version: u32) -> Result<()> {
    let refuse = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    match version {
        2 | 3 => Ok(()),
        // The number of a big-endian file as a little-endian one has it.
        _ if version & 0xffff == 0 && version != 0 => refuse("the GGUF file is big-endian".to_owned()),
        _ => refuse(format!("GGUF version {version}; this release reads 2 and 3")),
    }
}

fn count(count: u64, of: &str) -> Result<usize> {
    match usize::try_from(count) {
        Ok(number) if count <= MAX_COUNT => Ok(number),
        _ => Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the file announces {count} {of}, more than {MAX_COUNT}"),
        )),
    }
}

fn alignment(metadata: &Metadata) -> Result<u32> {
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::U32(alignment)) => *alignment,
        Some(_) => return Err(corrupt("general.alignment is not a 32-bit number")),
    };
    if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT {
        Ok(alignment)
    } else {
        Err(corrupt(format!(
            "general.alignment is {alignment}, not a power of two up to {MAX_ALIGNMENT}"
        )))
    }
}

#[cfg(test)]
mod tests;
