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
    /// Blocks of 32 of 4 bits with a scale.
    Q4_0,
    /// Blocks of 32 of 4 bits with a scale and a minimum.
    Q4_1,
    /// Blocks of 32 of 5 bits with a scale.
    Q5_0,
    /// Blocks of 32 of 5 bits with a scale and a minimum.
    Q5_1,
    /// Blocks of 32 of 8 bits with a scale.
    Q8_0,
    /// Blocks of 256 of 2 bits; 16 scales and minima.
    Q2K,
    /// Blocks of 256 of 3 bits; 16 scales.
    Q3K,
    /// Blocks of 256 of 4 bits; 8 scales and minima.
    Q4K,
    /// Blocks of 256 of 5 bits; 8 scales and minima.
    Q5K,
    /// Blocks of 256 of 6 bits; 16 scales.
    Q6K,
}

/// Types that files may have and this release does not read, by their number.
const UNSUPPORTED: [(u32, &str); 29] = [
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
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The number that a GGUF file has for it.
    pub const fn gguf_number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::BF16 => 30,
        }
    }

    /// The type of this number in a GGUF file.
    ///
    /// # Errors
    /// The number of a type that is not read.
    pub fn from_gguf_number(number: u32) -> std::result::Result<Self, UnknownType> {
        let found = Self::ALL.into_iter().find(|dtype| dtype.gguf_number() == number);
        found.ok_or(UnknownType(number))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// How its blocks are unpacked; `None` where elements are numbers of their own.
    pub const fn block_type(self) -> Option<BlockType> {
        Some(match self {
            Self::F32 | Self::F16 | Self::BF16 => return None,
            Self::Q4_0 => BlockType::Q4_0,
            Self::Q4_1 => BlockType::Q4_1,
            Self::Q5_0 => BlockType::Q5_0,
            Self::Q5_1 => BlockType::Q5_1,
            Self::Q8_0 => BlockType::Q8_0,
            Self::Q2K => BlockType::Q2K,
            Self::Q3K => BlockType::Q3K,
            Self::Q4K => BlockType::Q4K,
            Self::Q5K => BlockType::Q5K,
            Self::Q6K => BlockType::Q6K,
        })
    }

    /// Elements of a block.
    pub const fn block_elements(self) -> usize {
        match self.block_type() {
            Some(of_type) => of_type.elements(),
            None => 1,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match (self, self.block_type()) {
            (_, Some(of_type)) => of_type.bytes(),
            (Self::F32, None) => 4,
            (_, None) => 2,
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
        for dtype in DType::ALL {
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
        assert_eq!(DType::Q4K.bytes(512), Ok(288));
        assert_eq!(DType::F16.bytes(3), Ok(6));
        assert!(DType::Q8_0.bytes(48).is_err());
        assert!(DType::F32.bytes(usize::MAX).is_err());
    }
}
