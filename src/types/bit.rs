//! Values of PostgreSQL's type `bit(n)`.
//!
//! Layout: int32 length word, int32 number of bits, then the bits from the highest of the first byte on; padding bits
//! are zero. Source: PostgreSQL's utils/varbit.h.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::value::{Layout, Value, ValueBuilder};

/// Bytes of the number of bits, after the length word.
const HEADER_BYTES: usize = 4;

/// The layout of a bit string.
pub(crate) struct BitLayout;

/// A bit string in PostgreSQL's memory.
pub(crate) type BitString<'a> = Value<'a, BitLayout>;
/// A bit string being built.
pub(crate) type BitBuilder = ValueBuilder<BitLayout>;

impl Layout for BitLayout {
    const NAME: &'static str = "bit";

    fn check(payload: &[u8]) -> Result<()> {
        match bit_count(payload) {
            Some(count) if payload.len() == HEADER_BYTES + count.div_ceil(8) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::DataException,
                format!("malformed bit value of {} bytes", payload.len()),
            )),
        }
    }
}

/// Checks that two bit strings have the same length.
///
/// # Errors
/// `DataException` when they have not.
pub(crate) fn check_equal_lengths(a: usize, b: usize) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DataException,
        format!("different bit lengths {a} and {b}"),
    ))
}

fn bit_count(payload: &[u8]) -> Option<usize> {
    let count = i32::from_ne_bytes(*payload.first_chunk()?);
    usize::try_from(count).ok()
}

impl BitString<'_> {
    /// Number of bits.
    pub(crate) fn count(&self) -> usize {
        bit_count(self.payload()).expect("checked when the value was made")
    }

    /// The bits, eight to a byte; padding bits are zero.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.payload()[HEADER_BYTES..]
    }
}

impl BitString<'_> {
    /// The bits, first to last.
    pub(crate) fn bits(&self) -> impl Iterator<Item = bool> {
        let of_byte = |byte: &u8| {
            let byte = *byte;
            (0..8).map(move |place| byte >> (7 - place) & 1 == 1)
        };
        self.bytes().iter().flat_map(of_byte).take(self.count())
    }
}

impl BitBuilder {
    /// Allocates these bits in the current memory context.
    pub(crate) fn from_bits(bits: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut string = Self::zeros(bits.len());
        let bytes = string.bytes_mut();
        for (place, bit) in bits.enumerate() {
            bytes[place / 8] |= u8::from(bit) << (7 - place % 8);
        }
        string
    }

    /// Allocates `count` zero bits in the current memory context.
    pub(crate) fn zeros(count: usize) -> Self {
        let mut bits = Self::zeroed(HEADER_BYTES + count.div_ceil(8));
        let count = i32::try_from(count).expect("fewer bits than a datum holds");
        bits.payload_mut()[..HEADER_BYTES].copy_from_slice(&count.to_ne_bytes());
        bits
    }

    /// The bits, eight to a byte; the caller leaves padding bits zero.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.payload_mut()[HEADER_BYTES..]
    }
}
