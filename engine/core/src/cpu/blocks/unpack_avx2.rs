//! Rows of the common types as numbers, by AVX2: what the compiler does not find by itself.
#![expect(
    unsafe_code,
    reason = "loads and stores of raw memory, with lengths that the slices' types give"
)]

use std::arch::x86_64::*;

use crate::blocks::{BlockType, GROUP, unpack as unpack_row};

/// As `blocks::unpack`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn unpack(
    of_type: BlockType,
    row: &[u8],
    numbers: &mut [u8],
    scales: &mut [f32],
    minima: &mut [f32],
) {
    match of_type {
        BlockType::Q4_0 => small::<18>(row, numbers, scales, minima, |block, numbers| {
            store(numbers, nibbles(chunk(&block[2..])));
            let scale = half(&block[..]);
            (scale, 8.0 * scale)
        }),
        BlockType::Q4_1 => small::<20>(row, numbers, scales, minima, |block, numbers| {
            store(numbers, nibbles(chunk(&block[4..])));
            (half(&block[..]), -half(&block[2..]))
        }),
        BlockType::Q5_0 => small::<22>(row, numbers, scales, minima, |block, numbers| {
            let fifths = fifths([block[2], block[3], block[4], block[5]]);
            store(numbers, _mm256_or_si256(nibbles(chunk(&block[6..])), fifths));
            let scale = half(&block[..]);
            (scale, 16.0 * scale)
        }),
        BlockType::Q5_1 => small::<24>(row, numbers, scales, minima, |block, numbers| {
            let fifths = fifths([block[4], block[5], block[6], block[7]]);
            store(numbers, _mm256_or_si256(nibbles(chunk(&block[8..])), fifths));
            (half(&block[..]), -half(&block[2..]))
        }),
        BlockType::Q8_0 => small::<34>(row, numbers, scales, minima, |block, numbers| {
            let signs = _mm256_set1_epi8(i8::MIN);
            store(numbers, _mm256_xor_si256(load(chunk(&block[2..])), signs));
            let scale = half(&block[..]);
            (scale, 128.0 * scale)
        }),
        BlockType::Q6K => q6_k(row, numbers, scales, minima),
        BlockType::Q2K | BlockType::Q3K | BlockType::Q4K | BlockType::Q5K => {
            unpack_row(of_type, row, numbers, scales, minima);
        }
    }
}

/// Blocks of 32 elements with one scale and one minimum, which `block` returns.
#[inline(always)]
fn small<const BYTES: usize>(
    row: &[u8],
    numbers: &mut [u8],
    scales: &mut [f32],
    minima: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [u8; 32]) -> (f32, f32),
) {
    let factors = scales
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(minima.as_chunks_mut::<2>().0);
    let blocks = row
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(numbers.as_chunks_mut::<32>().0);
    for ((bytes, numbers), (scales, minima)) in blocks.zip(factors) {
        let (scale, minimum) = block(bytes, numbers);
        (*scales, *minima) = ([scale; 2], [minimum; 2]);
    }
}

/// The first bytes of a slice that is long enough.
#[inline(always)]
pub(super) fn chunk<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().expect("a block has its parts")
}

#[inline]
#[target_feature(enable = "f16c")]
pub(super) fn half(bytes: &[u8]) -> f32 {
    let bits = i32::from(u16::from_le_bytes(*chunk(bytes)));
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [u8; 32], numbers: __m256i) {
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), numbers) }
}

/// The low halves of 16 bytes, then the high ones.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn nibbles(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: 16 bytes.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes);
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// 16 wherever bit `i` is set, else 0.
#[inline]
#[target_feature(enable = "avx2")]
fn fifths(bits: [u8; 4]) -> __m256i {
    let spread = _mm256_setr_epi64x(
        0,
        0x0101_0101_0101_0101,
        0x0202_0202_0202_0202,
        0x0303_0303_0303_0303,
    );
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bits)), spread);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    _mm256_and_si256(is_set, _mm256_set1_epi8(16))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q6_k(row: &[u8], numbers: &mut [u8], scales: &mut [f32], minima: &mut [f32]) {
    const GROUPS: usize = 256 / GROUP;
    let factors = scales
        .as_chunks_mut::<GROUPS>()
        .0
        .iter_mut()
        .zip(minima.as_chunks_mut::<GROUPS>().0);
    let blocks = row
        .as_chunks::<210>()
        .0
        .iter()
        .zip(numbers.as_chunks_mut::<256>().0);
    let (four, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    for ((block, numbers), (scales, minima)) in blocks.zip(factors) {
        let scale = half(&block[208..]);
        for ((byte, of_scale), of_minimum) in block[192..208].iter().zip(scales).zip(minima) {
            *of_scale = scale * f32::from(byte.cast_signed());
            *of_minimum = 32.0 * *of_scale;
        }
        let halves = block[..128]
            .as_chunks::<64>()
            .0
            .iter()
            .zip(block[128..192].as_chunks::<32>().0);
        for ((low, high), numbers) in halves.zip(numbers.as_chunks_mut::<128>().0) {
            let (low, high) = ([load(chunk(&low[..32])), load(chunk(&low[32..]))], load(high));
            let quarters = numbers.as_chunks_mut::<32>().0;
            // Bits of neighbours come along in shifts by words, and are masked away.
            let parts = [
                (low[0], _mm256_slli_epi16::<4>(high)),
                (low[1], _mm256_slli_epi16::<2>(high)),
                (_mm256_srli_epi16::<4>(low[0]), high),
                (_mm256_srli_epi16::<4>(low[1]), _mm256_srli_epi16::<2>(high)),
            ];
            for ((low, high), out) in parts.into_iter().zip(quarters) {
                let number = _mm256_or_si256(_mm256_and_si256(low, four), _mm256_and_si256(high, two));
                store(out, number);
            }
        }
    }
}
