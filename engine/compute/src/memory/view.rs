//! A range of a device buffer, as kernels bind it and copies use it.
//!
//! Ranges are checked when they are made, with errors that say what is wrong: drivers do not check, and wgpu's own
//! message comes too late to name the caller's mistake.

use std::fmt;
use std::rc::Rc;

use vectorgpu_core::{Error, ErrorKind};

use super::block::Block;
use super::buffer::DeviceBuffer;

/// What every offset and length that the device copies is a multiple of.
pub(crate) const COPY_ALIGNMENT: u64 = 4;

/// Why a range of device memory cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeError {
    /// An offset in bytes that is no multiple of what the device wants.
    MisalignedOffset {
        /// The offset in bytes.
        offset: u64,
        /// What it must be a multiple of.
        alignment: u64,
    },
    /// A length in bytes that is no multiple of what the device wants.
    MisalignedLength {
        /// The length in bytes.
        bytes: u64,
        /// What it must be a multiple of.
        alignment: u64,
    },
    /// A range that ends behind the memory it lies in.
    OutOfBounds {
        /// Where the range would end, in bytes; `u64::MAX` when that overflows.
        end: u64,
        /// The size of the memory in bytes.
        bytes: u64,
    },
    /// Less than a kernel reads at the least, or nothing.
    TooSmall {
        /// The length in bytes.
        bytes: u64,
        /// The least length in bytes.
        least: u64,
    },
    /// Memory that a kernel writes shares its buffer with memory that the same run uses otherwise. Results belong into
    /// arrays of their own.
    Shared,
    /// More than a kernel of this device can see at once.
    TooLarge {
        /// The length in bytes.
        bytes: u64,
        /// The most, in bytes.
        most: u64,
    },
}

impl fmt::Display for RangeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MisalignedOffset { offset, alignment } => {
                write!(out, "offset {offset} is not a multiple of {alignment} bytes")
            }
            Self::MisalignedLength { bytes, alignment } => {
                write!(out, "length {bytes} is not a multiple of {alignment} bytes")
            }
            Self::OutOfBounds { end, bytes } => {
                write!(out, "a range that ends at {end} does not fit {bytes} bytes")
            }
            Self::TooSmall { bytes, least } => write!(out, "{bytes} bytes are less than the {least} needed"),
            Self::Shared => out.write_str("a result shares its buffer with another argument"),
            Self::TooLarge { bytes, most } => write!(out, "{bytes} bytes are more than the {most} possible"),
        }
    }
}

impl std::error::Error for RangeError {}

impl From<RangeError> for Error {
    fn from(error: RangeError) -> Self {
        Self::new(
            ErrorKind::InvalidArgument,
            format!("device memory cannot be used so: {error}"),
        )
    }
}

/// A range of a block, or the whole buffer in which a block lies.
#[derive(Clone)]
pub(crate) struct View {
    block: Rc<Block>,
    /// From the start of the buffer.
    offset: u64,
    bytes: u64,
}

impl View {
    /// The first `bytes` of `block`.
    ///
    /// # Errors
    /// `OutOfBounds`, or `MisalignedLength` unless a multiple of 4.
    pub(crate) fn front(block: &Rc<Block>, bytes: u64) -> Result<Self, RangeError> {
        check(0, bytes, COPY_ALIGNMENT, block.bytes())?;
        Ok(Self {
            block: Rc::clone(block),
            offset: block.offset(),
            bytes,
        })
    }

    /// The first `least` bytes of `block`, and what follows them in it, up to `most` in all, for a kernel that is told how much
    /// of it is used: so the same memory is always bound in the same way, and a kept bind group serves again.
    ///
    /// # Errors
    /// As [`Self::front`].
    pub(crate) fn roomy_front(block: &Rc<Block>, least: u64, most: u64) -> Result<Self, RangeError> {
        let roomy = block.bytes().min(most) / COPY_ALIGNMENT * COPY_ALIGNMENT;
        Self::front(block, roomy.max(least))
    }

    /// All of the buffer that `block` is cut from, for kernels that read several blocks of it.
    pub(crate) fn whole_buffer(block: &Rc<Block>) -> Self {
        Self {
            block: Rc::clone(block),
            offset: 0,
            bytes: block.buffer().bytes(),
        }
    }

    /// `bytes` from `start` of this view, where `start` is a multiple of `alignment`.
    ///
    /// # Errors
    /// `OutOfBounds`, `MisalignedOffset`, or `MisalignedLength` unless a multiple of 4.
    pub(crate) fn part(&self, start: u64, bytes: u64, alignment: u64) -> Result<Self, RangeError> {
        check(start, bytes, alignment, self.bytes)?;
        Ok(Self {
            block: Rc::clone(&self.block),
            offset: self.offset + start,
            bytes,
        })
    }

    /// Checks that a kernel can bind it.
    ///
    /// # Errors
    /// `MisalignedOffset`, `TooSmall`, `TooLarge`.
    pub(crate) fn check_binding(&self, alignment: u64, least: u64, most: u64) -> Result<(), RangeError> {
        if !self.offset().is_multiple_of(alignment) {
            return Err(RangeError::MisalignedOffset {
                offset: self.offset(),
                alignment,
            });
        }
        if self.bytes < least.max(1) {
            return Err(RangeError::TooSmall {
                bytes: self.bytes,
                least: least.max(1),
            });
        }
        if self.bytes > most {
            return Err(RangeError::TooLarge {
                bytes: self.bytes,
                most,
            });
        }
        Ok(())
    }

    /// Whether both are the same range of the same buffer.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.buffer().number() == other.buffer().number()
            && (self.offset(), self.bytes) == (other.offset(), other.bytes)
    }

    /// The buffer it lies in.
    pub(crate) fn buffer(&self) -> &Rc<DeviceBuffer> {
        self.block.buffer()
    }

    /// The block it lies in.
    pub(crate) fn block(&self) -> &Rc<Block> {
        &self.block
    }

    /// Where it starts in the buffer.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn check(start: u64, bytes: u64, alignment: u64, available: u64) -> Result<(), RangeError> {
    if !start.is_multiple_of(alignment) {
        return Err(RangeError::MisalignedOffset {
            offset: start,
            alignment,
        });
    }
    if !bytes.is_multiple_of(COPY_ALIGNMENT) {
        return Err(RangeError::MisalignedLength {
            bytes,
            alignment: COPY_ALIGNMENT,
        });
    }
    let end = start.saturating_add(bytes);
    if end > available {
        return Err(RangeError::OutOfBounds {
            end,
            bytes: available,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_must_be_aligned_and_inside() {
        assert_eq!(check(256, 12, 256, 268), Ok(()));
        assert_eq!(
            check(128, 12, 256, 1000),
            Err(RangeError::MisalignedOffset {
                offset: 128,
                alignment: 256
            })
        );
        assert_eq!(
            check(0, 7, 4, 1000),
            Err(RangeError::MisalignedLength {
                bytes: 7,
                alignment: 4
            })
        );
        assert_eq!(
            check(256, 16, 256, 271),
            Err(RangeError::OutOfBounds { end: 272, bytes: 271 })
        );
        assert_eq!(
            check(u64::MAX - 3, 4, 4, 100),
            Err(RangeError::OutOfBounds {
                end: u64::MAX,
                bytes: 100
            })
        );
    }

    #[test]
    fn the_message_names_the_numbers() {
        let error = Error::from(RangeError::MisalignedOffset {
            offset: 12,
            alignment: 256,
        });
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error
                .message()
                .contains("offset 12 is not a multiple of 256 bytes")
        );
    }
}
