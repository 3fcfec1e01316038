//! Rows of blocks of each type as numbers: plain loops, which the compiler fits to each instruction set (`cpu::blocks`).

use super::{BlockType, GROUP};

/// Elements of a block of a K type.
const SUPER: usize = 256;

/// Unpacks the blocks of `row`: as many elements as `numbers` has.
#[inline(always)]
pub(crate) fn unpack(
    of_type: BlockType,
    row: &[u8],
    numbers: &mut [u8],
    scales: &mut [f32],
    minima: &mut [f32],
) {
    let blocks = row
        .chunks_exact(of_type.bytes())
        .zip(numbers.chunks_exact_mut(of_type.elements()))
        .zip(scales.chunks_exact_mut(of_type.elements() / GROUP))
        .zip(minima.chunks_exact_mut(of_type.elements() / GROUP));
    macro_rules! each {
        ($unpack:expr, $bytes:literal, $elements:literal) => {
            for (((block, numbers), scales), minima) in blocks {
                let parts = (
                    block.first_chunk::<$bytes>(),
                    numbers.first_chunk_mut::<$elements>(),
                    scales.first_chunk_mut::<{ $elements / GROUP }>(),
                    minima.first_chunk_mut::<{ $elements / GROUP }>(),
                );
                if let (Some(block), Some(numbers), Some(scales), Some(minima)) = parts {
                    $unpack(block, numbers, scales, minima);
                }
            }
        };
    }
    match of_type {
        BlockType::Q4_0 => each!(q4_0, 18, 32),
        BlockType::Q4_1 => each!(q4_1, 20, 32),
        BlockType::Q5_0 => each!(q5_0, 22, 32),
        BlockType::Q5_1 => each!(q5_1, 24, 32),
        BlockType::Q8_0 => each!(q8_0, 34, 32),
        BlockType::Q2K => each!(q2_k, 84, 256),
        BlockType::Q3K => each!(q3_k, 110, 256),
        BlockType::Q4K => each!(q4_k, 144, 256),
        BlockType::Q5K => each!(q5_k, 176, 256),
        BlockType::Q6K => each!(q6_k, 210, 256),
    }
}

/// The f16 at `at`, without the instruction that not every machine has.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    let bits = u32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    let (sign, rest) = ((bits & 0x8000) << 16, bits & 0x7fff);
    if rest >= 0x7c00 {
        // Infinity and NaN.
        return f32::from_bits(sign | 0x7f80_0000 | (rest & 0x3ff) << 13);
    }
    // The exponent of the product is right for subnormal numbers, too.
    let magnitude = f32::from_bits(rest << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | sign)
}

/// Byte `i` is element `i` in its low bits and element `i + 16` in its high ones.
#[inline(always)]
fn nibbles(bytes: &[u8], numbers: &mut [u8; 32]) {
    let (low, high) = numbers.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

#[inline(always)]
fn q4_0(block: &[u8; 18], numbers: &mut [u8; 32], scales: &mut [f32; 2], minima: &mut [f32; 2]) {
    let scale = half_at(block, 0);
    (*scales, *minima) = ([scale; 2], [8.0 * scale; 2]);
    nibbles(&block[2..], numbers);
}

#[inline(always)]
fn q4_1(block: &[u8; 20], numbers: &mut [u8; 32], scales: &mut [f32; 2], minima: &mut [f32; 2]) {
    (*scales, *minima) = ([half_at(block, 0); 2], [-half_at(block, 2); 2]);
    nibbles(&block[4..], numbers);
}

/// Adds the fifth bit of each element: bit `i` of `bits`.
#[inline(always)]
fn fifths(bits: [u8; 4], numbers: &mut [u8; 32]) {
    for (numbers, bits) in numbers.chunks_exact_mut(8).zip(bits) {
        for (place, number) in numbers.iter_mut().enumerate() {
            *number |= (bits >> place & 1) << 4;
        }
    }
}

#[inline(always)]
fn q5_0(block: &[u8; 22], numbers: &mut [u8; 32], scales: &mut [f32; 2], minima: &mut [f32; 2]) {
    let scale = half_at(block, 0);
    (*scales, *minima) = ([scale; 2], [16.0 * scale; 2]);
    nibbles(&block[6..], numbers);
    fifths([block[2], block[3], block[4], block[5]], numbers);
}

#[inline(always)]
fn q5_1(block: &[u8; 24], numbers: &mut [u8; 32], scales: &mut [f32; 2], minima: &mut [f32; 2]) {
    (*scales, *minima) = ([half_at(block, 0); 2], [-half_at(block, 2); 2]);
    nibbles(&block[8..], numbers);
    fifths([block[4], block[5], block[6], block[7]], numbers);
}

#[inline(always)]
fn q8_0(block: &[u8; 34], numbers: &mut [u8; 32], scales: &mut [f32; 2], minima: &mut [f32; 2]) {
    let scale = half_at(block, 0);
    (*scales, *minima) = ([scale; 2], [128.0 * scale; 2]);
    for (number, byte) in numbers.iter_mut().zip(&block[2..]) {
        // From a signed byte to an unsigned one that is 128 larger.
        *number = byte ^ 0x80;
    }
}

/// Elements come in two halves of 128; each of the 32 bytes of a half holds 2 bits of four elements, 32 apart.
#[inline(always)]
fn quarters(bytes: &[u8], numbers: &mut [u8; SUPER]) {
    for (bytes, numbers) in bytes.chunks_exact(32).zip(numbers.chunks_exact_mut(128)) {
        for (quarter, numbers) in numbers.chunks_exact_mut(32).enumerate() {
            for (number, byte) in numbers.iter_mut().zip(bytes) {
                *number = byte >> (2 * quarter) & 3;
            }
        }
    }
}

#[inline(always)]
fn q2_k(block: &[u8; 84], numbers: &mut [u8; SUPER], scales: &mut [f32; 16], minima: &mut [f32; 16]) {
    let (scale, minimum) = (half_at(block, 80), half_at(block, 82));
    for ((byte, of_scale), of_minimum) in block.iter().zip(scales).zip(minima) {
        *of_scale = scale * f32::from(byte & 15);
        *of_minimum = minimum * f32::from(byte >> 4);
    }
    quarters(&block[16..80], numbers);
}

/// As `q2_k`, with a third bit of each element, which is clear where 4 is to be subtracted.
#[inline(always)]
fn q3_k(block: &[u8; 110], numbers: &mut [u8; SUPER], scales: &mut [f32; 16], minima: &mut [f32; 16]) {
    let (thirds, packed) = (&block[..32], &block[96..108]);
    let scale = half_at(block, 108);
    for (group, (of_scale, of_minimum)) in scales.iter_mut().zip(minima).enumerate() {
        // Four bits in the first eight bytes, two more in the last four.
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        *of_scale = scale * (f32::from(low | high << 4) - 32.0);
        *of_minimum = 4.0 * *of_scale;
    }
    quarters(&block[32..96], numbers);
    for (eighth, numbers) in numbers.chunks_exact_mut(32).enumerate() {
        for (number, third) in numbers.iter_mut().zip(thirds) {
            *number |= (third >> eighth & 1) << 2;
        }
    }
}

/// Eight scales and eight minima of six bits each, in the twelve bytes after two f16.
#[inline(always)]
fn scales_and_minima(block: &[u8], scales: &mut [f32; 16], minima: &mut [f32; 16]) {
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
        let (of_scale, of_minimum) = (scale * f32::from(of_scale), minimum * f32::from(of_minimum));
        scales[2 * group..2 * group + 2].fill(of_scale);
        minima[2 * group..2 * group + 2].fill(of_minimum);
    }
}

/// Elements come in four parts of 64; each of the 32 bytes of a part holds elements `i` and `i + 32`.
#[inline(always)]
fn wide_nibbles(bytes: &[u8], numbers: &mut [u8; SUPER]) {
    for (bytes, numbers) in bytes.chunks_exact(32).zip(numbers.chunks_exact_mut(64)) {
        let (low, high) = numbers.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
}

#[inline(always)]
fn q4_k(block: &[u8; 144], numbers: &mut [u8; SUPER], scales: &mut [f32; 16], minima: &mut [f32; 16]) {
    scales_and_minima(block, scales, minima);
    wide_nibbles(&block[16..], numbers);
}

/// As `q4_k`, with a fifth bit: bit `i / 32` of byte `i % 32`.
#[inline(always)]
fn q5_k(block: &[u8; 176], numbers: &mut [u8; SUPER], scales: &mut [f32; 16], minima: &mut [f32; 16]) {
    scales_and_minima(block, scales, minima);
    wide_nibbles(&block[48..], numbers);
    for (eighth, numbers) in numbers.chunks_exact_mut(32).enumerate() {
        for (number, fifth) in numbers.iter_mut().zip(&block[16..48]) {
            *number |= (fifth >> eighth & 1) << 4;
        }
    }
}

/// Elements come in two halves of 128: four bits of element `i` of a half in byte `i % 64`, the high ones for the last 64, and two
/// bits in byte `i % 32`.
#[inline(always)]
fn q6_k(block: &[u8; 210], numbers: &mut [u8; SUPER], scales: &mut [f32; 16], minima: &mut [f32; 16]) {
    let scale = half_at(block, 208);
    for ((byte, of_scale), of_minimum) in block[192..208].iter().zip(scales).zip(minima) {
        *of_scale = scale * f32::from(byte.cast_signed());
        *of_minimum = 32.0 * *of_scale;
    }
    let halves = block[..128]
        .chunks_exact(64)
        .zip(block[128..192].chunks_exact(32));
    for ((low, high), numbers) in halves.zip(numbers.chunks_exact_mut(128)) {
        for (quarter, numbers) in numbers.chunks_exact_mut(32).enumerate() {
            let low = &low[quarter % 2 * 32..][..32];
            for ((number, low), high) in numbers.iter_mut().zip(low).zip(high) {
                *number = low >> (quarter / 2 * 4) & 15 | (high >> (2 * quarter) & 3) << 4;
            }
        }
    }
}
