//! Element types, and the blocks in which quantised elements are stored.
//!
//! Numbers and layouts are those of the ggml library; where they are read is `quant`.

use vectorgpu_core::blocks::BlockType;
use vectorgpu_core::{Error, ErrorKind, Result};

/// How the elements of a tensor are stored. A row consists of whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Quantised, in blocks.
    Blocks(BlockType),
}

/// Types that files may have and this release does not read, by their number.
const UNSUPPORTED: [(u32, &str); 30] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

/// The number of a type that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownType(pub u32);

impl UnknownType {
    /// Its name, where it has one.
    pub fn name(self) -> Option<&'static str> {
        let named = UNSUPPORTED.iter().find(|(number, _)| *number == self.0);
        named.map(|(_, name)| *name)
    }
}

impl DType {
    /// Every type.
    pub fn all() -> impl Iterator<Item = Self> {
        let blocks = BlockType::ALL.into_iter().map(Self::Blocks);
        [Self::F32, Self::F16, Self::BF16].into_iter().chain(blocks)
    }

    /// The number that a GGUF file has for it.
    pub const fn gguf_number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Blocks(BlockType::Q4_0) => 2,
            Self::Blocks(BlockType::Q4_1) => 3,
            Self::Blocks(BlockType::Q5_0) => 6,
            Self::Blocks(BlockType::Q5_1) => 7,
            Self::Blocks(BlockType::Q8_0) => 8,
            Self::Blocks(BlockType::Q2K) => 10,
            Self::Blocks(BlockType::Q3K) => 11,
            Self::Blocks(BlockType::Q4K) => 12,
            Self::Blocks(BlockType::Q5K) => 13,
            Self::Blocks(BlockType::Q6K) => 14,
            Self::BF16 => 30,
        }
    }

    /// The type of this number in a GGUF file.
    ///
    /// # Errors
    /// The number of a type that is not read.
    pub fn from_gguf_number(number: u32) -> std::result::Result<Self, UnknownType> {
        let found = Self::all().find(|dtype| dtype.gguf_number() == number);
        found.ok_or(UnknownType(number))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Blocks(of_type) => of_type.name(),
        }
    }

    /// How its blocks are unpacked; `None` where elements are numbers of their own.
    pub const fn block_type(self) -> Option<BlockType> {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => None,
            Self::Blocks(of_type) => Some(of_type),
        }
    }

    /// Elements of a block.
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Blocks(of_type) => of_type.elements(),
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Blocks(of_type) => of_type.bytes(),
        }
    }

    /// Bytes of `elements` elements.
    ///
    /// # Errors
    /// `CorruptFile` when those are no whole blocks, or more bytes than a machine has.
    pub fn bytes(self, elements: usize) -> Result<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "{elements} elements are no whole blocks of {} {} each",
                    self.block_elements(),
                    self.name()
                ),
            ));
        }
        (elements / self.block_elements())
            .checked_mul(self.block_bytes())
            .ok_or_else(|| Error::new(ErrorKind::CorruptFile, format!("a tensor of {elements} elements")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_one_type_each() {
        for dtype in DType::all() {
            assert_eq!(DType::from_gguf_number(dtype.gguf_number()), Ok(dtype));
            assert_eq!(UnknownType(dtype.gguf_number()).name(), None);
        }
        for (number, name) in UNSUPPORTED {
            assert_eq!(DType::from_gguf_number(number), Err(UnknownType(number)));
            assert_eq!(UnknownType(number).name(), Some(name));
        }
        assert_eq!(UnknownType(77).name(), None);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(DType::Blocks(BlockType::Q4K).bytes(512), Ok(288));
        assert_eq!(DType::F16.bytes(3), Ok(6));
        assert!(DType::Blocks(BlockType::Q8_0).bytes(48).is_err());
        assert!(DType::F32.bytes(usize::MAX).is_err());
    }
}
