//! One block of each quantised type.

use half::f16;

use crate::tensor::DType;

/// Most elements of a block.
const MOST: usize = 256;
/// Fewest elements with a scale of their own.
const GROUP_MIN: usize = 16;

/// A block as whole numbers: element `i` is `scales[i / group] * numbers[i] - minima[i / group]`.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The numbers; those of the block come first.
    pub numbers: [i8; MOST],
    /// A scale for each group.
    pub scales: [f32; MOST / GROUP_MIN],
    /// A minimum for each group.
    pub minima: [f32; MOST / GROUP_MIN],
    /// Elements of a group.
    pub group: usize,
    /// Elements of the block.
    pub count: usize,
}

impl Default for Unpacked {
    fn default() -> Self {
        Self {
            numbers: [0; MOST],
            scales: [0.0; MOST / GROUP_MIN],
            minima: [0.0; MOST / GROUP_MIN],
            group: GROUP_MIN,
            count: 0,
        }
    }
}

impl Unpacked {
    /// Writes the elements to `out`.
    pub fn values(&self, out: &mut [f32]) {
        let groups = self.numbers[..self.count].chunks(self.group);
        let factors = self.scales.iter().zip(&self.minima);
        for ((numbers, out), (scale, minimum)) in groups.zip(out.chunks_mut(self.group)).zip(factors) {
            for (out, number) in out.iter_mut().zip(numbers) {
                *out = scale * f32::from(*number) - minimum;
            }
        }
    }

    fn shape(&mut self, count: usize, group: usize) {
        (self.count, self.group) = (count, group);
    }
}

/// Unpacks a block of a quantised type.
///
/// # Panics
/// When `block` is not one block of `dtype`, or its elements are not quantised.
pub fn unpack(dtype: DType, block: &[u8], out: &mut Unpacked) {
    assert_eq!(block.len(), dtype.block_bytes(), "bytes of a block");
    match dtype {
        DType::Q4_0 => q4(block, 2, out, 8),
        DType::Q4_1 => q4(block, 4, out, 0),
        DType::Q5_0 => q5(block, 2, out),
        DType::Q5_1 => q5(block, 4, out),
        DType::Q8_0 => q8(block, out),
        DType::Q2K => q2_k(block, out),
        DType::Q3K => q3_k(block, out),
        DType::Q4K => q4_k(block, out),
        DType::Q5K => q5_k(block, out),
        DType::Q6K => q6_k(block, out),
        DType::F32 | DType::F16 | DType::BF16 => panic!("{} is not quantised", dtype.name()),
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// At most 6 bits.
fn small(number: u8) -> i8 {
    number.cast_signed()
}

/// Scale, minimum if the head has four bytes, then pairs of 4 bits: element `i` and element `i + 16`.
fn q4(block: &[u8], head: usize, out: &mut Unpacked, bias: i8) {
    out.shape(32, 32);
    out.scales[0] = half_at(block, 0);
    out.minima[0] = if head == 4 { -half_at(block, 2) } else { 0.0 };
    for (i, byte) in block[head..].iter().enumerate() {
        out.numbers[i] = small(byte & 15) - bias;
        out.numbers[i + 16] = small(byte >> 4) - bias;
    }
}

/// As `q4`, with the fifth bits of all elements in between.
fn q5(block: &[u8], head: usize, out: &mut Unpacked) {
    out.shape(32, 32);
    out.scales[0] = half_at(block, 0);
    let has_minimum = head == 4;
    out.minima[0] = if has_minimum { -half_at(block, 2) } else { 0.0 };
    let bias = if has_minimum { 0 } else { 16 };
    let (high, low) = block[head..].split_at(4);
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let fifth = |i: usize| if high >> i & 1 == 1 { 16 } else { 0 };
    for (i, byte) in low.iter().enumerate() {
        out.numbers[i] = (small(byte & 15) | fifth(i)) - bias;
        out.numbers[i + 16] = (small(byte >> 4) | fifth(i + 16)) - bias;
    }
}

fn q8(block: &[u8], out: &mut Unpacked) {
    out.shape(32, 32);
    out.scales[0] = half_at(block, 0);
    out.minima[0] = 0.0;
    for (number, byte) in out.numbers.iter_mut().zip(&block[2..]) {
        *number = byte.cast_signed();
    }
}

/// Elements come in two halves of 128; each of the 32 bytes of a half holds 2 bits of four elements, 32 apart.
fn q2_k(block: &[u8], out: &mut Unpacked) {
    out.shape(256, 16);
    let (scales, rest) = block.split_at(16);
    let (quarters, factors) = rest.split_at(64);
    let (scale, minimum) = (half_at(factors, 0), half_at(factors, 2));
    for (group, byte) in scales.iter().enumerate() {
        out.scales[group] = scale * f32::from(byte & 15);
        out.minima[group] = minimum * f32::from(byte >> 4);
    }
    for i in 0..MOST {
        let (byte, shift) = quarter(quarters, i);
        out.numbers[i] = small(byte >> shift & 3);
    }
}

/// The byte with the two bits of element `i`, and where they are in it.
fn quarter(quarters: &[u8], i: usize) -> (u8, usize) {
    (quarters[i / 128 * 32 + i % 32], i % 128 / 32 * 2)
}

/// As `q2_k`, with a third bit of each element, which is clear where 4 is to be subtracted.
fn q3_k(block: &[u8], out: &mut Unpacked) {
    out.shape(256, 16);
    let (thirds, rest) = block.split_at(32);
    let (quarters, rest) = rest.split_at(64);
    let scale = half_at(rest, 12);
    for group in 0..16 {
        // Four bits in the first eight bytes, two more in the last four.
        let low = rest[group % 8] >> (group / 8 * 4) & 15;
        let high = rest[8 + group % 4] >> (group / 4 * 2) & 3;
        out.scales[group] = scale * f32::from(small(low | high << 4) - 32);
        out.minima[group] = 0.0;
    }
    for i in 0..MOST {
        let (byte, shift) = quarter(quarters, i);
        let third = thirds[i % 32] >> (i / 32) & 1;
        out.numbers[i] = small(byte >> shift & 3) - if third == 1 { 0 } else { 4 };
    }
}

/// Eight scales and eight minima of six bits each, in twelve bytes.
fn scales_and_minima(block: &[u8], out: &mut Unpacked) {
    let (scale, minimum, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    for group in 0..8 {
        let (of_scale, of_minimum) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let low = packed[group + 4];
            (
                low & 15 | packed[group - 4] >> 6 << 4,
                low >> 4 | packed[group] >> 6 << 4,
            )
        };
        out.scales[group] = scale * f32::from(of_scale);
        out.minima[group] = minimum * f32::from(of_minimum);
    }
}

/// Elements come in four parts of 64; each of the 32 bytes of a part holds elements `i` and `i + 32`.
fn q4_k(block: &[u8], out: &mut Unpacked) {
    out.shape(256, 32);
    scales_and_minima(block, out);
    for i in 0..MOST {
        out.numbers[i] = small(nibble(&block[16..], i));
    }
}

fn nibble(nibbles: &[u8], i: usize) -> u8 {
    nibbles[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15
}

/// As `q4_k`, with a fifth bit: bit `i / 32` of byte `i % 32`.
fn q5_k(block: &[u8], out: &mut Unpacked) {
    out.shape(256, 32);
    scales_and_minima(block, out);
    let (fifths, nibbles) = block[16..].split_at(32);
    for i in 0..MOST {
        let fifth = fifths[i % 32] >> (i / 32) & 1;
        out.numbers[i] = small(nibble(nibbles, i) | fifth << 4);
    }
}

/// Elements come in two halves of 128: four bits of element `i` of a half in byte `i % 64`, the high ones for the last 64, and two
/// bits in byte `i % 32`.
fn q6_k(block: &[u8], out: &mut Unpacked) {
    out.shape(256, 16);
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, rest) = rest.split_at(16);
    let scale = half_at(rest, 0);
    for (group, byte) in scales.iter().enumerate() {
        out.scales[group] = scale * f32::from(byte.cast_signed());
        out.minima[group] = 0.0;
    }
    for i in 0..MOST {
        let (half, of_half) = (i / 128, i % 128);
        let four = low[half * 64 + of_half % 64] >> (of_half / 64 * 4) & 15;
        let two = high[half * 32 + of_half % 32] >> (of_half / 32 * 2) & 3;
        out.numbers[i] = small(four | two << 4) - 32;
    }
}
