//! How weights lie in device memory: the types of files in few layouts, each aligned to words.
//!
//! A row is cut into units of 32 elements. All of a part's units lie in up to four planes, one after the other: the numbers,
//! or their lower halves; the upper bits of numbers of 5 and 6 bits; factors of each unit; factors of each eight units.
//! shaders/shared/weights.wgsl reads them and says what they stand for. Nothing is rounded: factors are those of the file, so
//! a weight differs from what core unpacks by the rounding of one product and one sum.

use vectorgpu_core::blocks::{BlockType, Numbers};
use vectorgpu_core::cpu::kernels;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::WeightType;
use crate::rows::invalid;

/// Elements of a unit.
pub(crate) const UNIT: usize = 32;

/// What a plane's start is a multiple of, in bytes: a quad.
const PLANE_ALIGNMENT: usize = 16;

/// Constants of the shaders for a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Format {
    /// Bits of a number; 16, 17 and 32 stand for f16, bf16 and f32.
    pub(crate) bits: u32,
    /// How scales and shifts are made.
    pub(crate) factors: u32,
    /// What is subtracted from a number.
    pub(crate) offset: u32,
}

/// Bytes of a part's planes for each row, and where they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Units of a row.
    pub(crate) units: usize,
    /// Start and length of each plane, in bytes.
    pub(crate) planes: [(usize, usize); 4],
    /// Bytes in all.
    pub(crate) bytes: usize,
}

/// Rows on their way to the device, a buffer a plane.
#[derive(Debug, Default)]
pub(super) struct Planes(pub(super) [Vec<u8>; 4]);

impl WeightType {
    /// Elements of a block; a row has whole ones.
    #[must_use]
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Blocks(of_type) => of_type.elements(),
        }
    }

    /// Bytes of a row of `inputs` elements in a file.
    ///
    /// # Errors
    /// `InvalidArgument` unless those are whole blocks, and at least one; `Unsupported` unless a multiple of 32.
    pub fn row_bytes(self, inputs: usize) -> Result<usize> {
        if inputs == 0 || !inputs.is_multiple_of(self.block_elements()) {
            return Err(invalid(format!(
                "{inputs} weights are not whole blocks of {}",
                self.block_elements()
            )));
        }
        if !inputs.is_multiple_of(UNIT) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("rows of {inputs} weights, which is not a multiple of {UNIT}"),
            ));
        }
        let block_bytes = match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Blocks(of_type) => of_type.bytes(),
        };
        (inputs / self.block_elements())
            .checked_mul(block_bytes)
            .ok_or_else(|| invalid(format!("{inputs} weights are too many")))
    }

    /// How the device keeps it.
    pub(crate) const fn format(self) -> Format {
        let (bits, factors, offset) = match self {
            Self::F32 => (32, 0, 0),
            Self::F16 => (16, 0, 0),
            Self::BF16 => (17, 0, 0),
            Self::Blocks(BlockType::Q4_0) => (4, 0, 8),
            Self::Blocks(BlockType::Q4_1) => (4, 1, 0),
            Self::Blocks(BlockType::Q5_0) => (5, 0, 16),
            Self::Blocks(BlockType::Q5_1) => (5, 1, 0),
            Self::Blocks(BlockType::Q8_0) => (8, 0, 0),
            Self::Blocks(BlockType::Q2K) => (4, 4, 0),
            Self::Blocks(BlockType::Q3K) => (4, 3, 4),
            Self::Blocks(BlockType::Q4K) => (4, 2, 0),
            Self::Blocks(BlockType::Q5K) => (5, 2, 0),
            Self::Blocks(BlockType::Q6K) => (6, 3, 32),
        };
        Format {
            bits,
            factors,
            offset,
        }
    }

    /// Every type.
    pub fn all() -> impl Iterator<Item = Self> {
        let blocks = BlockType::ALL.into_iter().map(Self::Blocks);
        [Self::F32, Self::F16, Self::BF16].into_iter().chain(blocks)
    }
}

impl Format {
    /// Whether weights are floating-point numbers, without factors.
    pub(crate) const fn is_float(self) -> bool {
        self.bits >= 16
    }

    /// Bytes of eight units in each plane.
    const fn eight_units(self) -> [usize; 4] {
        let numbers = match self.bits {
            32 => 8 * 128,
            16 | 17 => 8 * 64,
            8 => 8 * 32,
            _ => 8 * 16,
        };
        let upper = match self.bits {
            5 => 8 * 4,
            6 => 8 * 8,
            _ => 0,
        };
        let (factors, supers) = match self.factors {
            _ if self.is_float() => (0, 0),
            0 => (8 * 2, 0),
            1 => (8 * 4, 0),
            4 => (8 * 4, 4),
            _ => (8 * 2, 4),
        };
        [numbers, upper, factors, supers]
    }

    /// Bytes of a row, rounded up: what a part needs for each, beside what aligns its planes.
    pub(super) fn row_bytes(self, inputs: usize) -> usize {
        self.eight_units().iter().sum::<usize>() * inputs.div_ceil(8 * UNIT)
    }

    /// The planes of `rows` rows of `inputs` elements; `None` when that overflows.
    pub(super) fn layout(self, rows: usize, inputs: usize) -> Option<Layout> {
        let units = inputs / UNIT;
        let mut planes = [(0, 0); 4];
        let mut bytes = 0_usize;
        for (plane, eight) in planes.iter_mut().zip(self.eight_units()) {
            // Only planes of what is kept for each unit may end within eight of them.
            let length = rows.checked_mul(units)?.checked_mul(eight)?.div_ceil(8);
            *plane = (bytes, length);
            bytes = bytes
                .checked_add(length)?
                .checked_next_multiple_of(PLANE_ALIGNMENT)?;
        }
        Some(Layout { units, planes, bytes })
    }
}

impl Planes {
    /// Appends a row.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn push(&mut self, of_type: WeightType, row: &[u8], numbers: &mut Numbers) -> Result<()> {
        // No plane takes more than a byte and a half for a byte of the file's.
        let reserved = self
            .0
            .iter_mut()
            .try_for_each(|plane| plane.try_reserve(2 * row.len()));
        reserved.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for weights").with_detail(error.to_string())
        })?;
        let WeightType::Blocks(of_type) = of_type else {
            self.0[0].extend_from_slice(row);
            return Ok(());
        };
        kernels().unpack_blocks(of_type, row, numbers);
        let bits = WeightType::Blocks(of_type).format().bits;
        for unit in numbers.numbers().as_chunks::<UNIT>().0 {
            self.push_numbers(bits, unit);
        }
        for block in row.chunks_exact(of_type.bytes()) {
            self.push_factors(of_type, block);
        }
        Ok(())
    }

    fn push_numbers(&mut self, bits: u32, unit: &[u8; UNIT]) {
        let [lower, upper, ..] = &mut self.0;
        if bits == 8 {
            // Core has them 128 larger, so that they are unsigned.
            lower.extend(unit.iter().map(|number| number ^ 0x80));
            return;
        }
        // Four numbers at a time.
        let mut fours = [0; UNIT / 4];
        for (four, bytes) in fours.iter_mut().zip(unit.as_chunks().0) {
            *four = u32::from_le_bytes(*bytes);
        }
        for pair in fours.as_chunks::<2>().0 {
            let [even, odd] = pair.map(|four| four & 0x0f0f_0f0f);
            lower.extend_from_slice(&(even | odd << 4).to_le_bytes());
        }
        let (mask, bits) = match bits {
            5 => (0x0101_0101, 1),
            6 => (0x0303_0303, 2),
            _ => return,
        };
        for some in fours.chunks_exact(8 / bits) {
            let places = some.iter().enumerate();
            let word = places.fold(0, |word, (j, four)| word | (four >> 4 & mask) << (bits * j));
            upper.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn push_factors(&mut self, of_type: BlockType, block: &[u8]) {
        let [_, _, factors, supers] = &mut self.0;
        // With the sign of the second f16 turned: what is added, not subtracted.
        let negated = |at: usize| [block[at], block[at + 1], block[at + 2], block[at + 3] ^ 0x80];
        match of_type {
            BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => factors.extend_from_slice(&block[..2]),
            BlockType::Q4_1 | BlockType::Q5_1 => factors.extend_from_slice(&block[..4]),
            BlockType::Q2K => {
                factors.extend(block[..16].iter().flat_map(|byte| [byte & 15, byte >> 4]));
                supers.extend(negated(80));
            }
            BlockType::Q3K => {
                factors.extend((0..16).map(|group| three_bit_scale(&block[96..108], group)));
                supers.extend([block[108], block[109], 0, 0]);
            }
            BlockType::Q4K | BlockType::Q5K => {
                factors.extend((0..8).flat_map(|group| scale_and_minimum(&block[4..16], group)));
                supers.extend(negated(0));
            }
            BlockType::Q6K => {
                factors.extend_from_slice(&block[192..208]);
                supers.extend([block[208], block[209], 0, 0]);
            }
        }
    }
}

/// The scale of six bits of a group of Q3_K, less 32, as a signed byte.
fn three_bit_scale(packed: &[u8], group: usize) -> u8 {
    let low = packed[group % 8] >> (group / 8 * 4) & 15;
    let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
    (low | high << 4).wrapping_sub(32)
}

/// The scale and the minimum, of six bits each, of a group of Q4_K or Q5_K.
fn scale_and_minimum(packed: &[u8], group: usize) -> [u8; 2] {
    if group < 4 {
        return [packed[group] & 63, packed[group + 4] & 63];
    }
    let low = packed[group + 4];
    [
        low & 15 | packed[group - 4] >> 6 << 4,
        low >> 4 | packed[group] >> 6 << 4,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_get_as_many_bytes_as_the_layout_says() {
        for of_type in WeightType::all() {
            for (rows, inputs) in [(1, 256), (3, 512), (2, 1280), (3, 96)] {
                let Ok(row_bytes) = of_type.row_bytes(inputs) else {
                    continue;
                };
                let mut planes = Planes::default();
                let mut numbers = Numbers::with_room(inputs).unwrap();
                for _ in 0..rows {
                    planes
                        .push(of_type, &vec![0x5a; row_bytes], &mut numbers)
                        .unwrap();
                }
                let layout = of_type.format().layout(rows, inputs).unwrap();
                let lengths = layout.planes.map(|(_, length)| length);
                assert_eq!(planes.0.map(|plane| plane.len()), lengths, "{of_type:?} {inputs}");
                assert!(layout.bytes <= rows * of_type.format().row_bytes(inputs) + 4 * PLANE_ALIGNMENT);
            }
        }
    }

    #[test]
    fn rows_that_are_not_whole_units_are_refused() {
        let kind = |of_type: WeightType, inputs| of_type.row_bytes(inputs).unwrap_err().kind();
        assert_eq!(kind(WeightType::F16, 48), ErrorKind::Unsupported);
        assert_eq!(
            kind(WeightType::Blocks(BlockType::Q4K), 96),
            ErrorKind::InvalidArgument
        );
        assert_eq!(kind(WeightType::F32, 0), ErrorKind::InvalidArgument);
        assert!(WeightType::Blocks(BlockType::Q4_0).row_bytes(96).is_ok());
    }
}
