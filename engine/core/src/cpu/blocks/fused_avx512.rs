//! A row of the common types with one token, without unpacking it to memory first: what a token at a time spends its time on.

use std::arch::x86_64::*;

use super::TokenRow;
use super::unpack_avx2::{chunk, half, load, nibbles};
use crate::blocks::BlockType;

/// The product, for types that have a kernel here.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn product(of_type: BlockType, row: &[u8], token: TokenRow<'_>) -> Option<f32> {
    Some(match of_type {
        BlockType::Q4_0 => small::<18>(row, token, |block| {
            let scale = half(&block[..]);
            (nibbles(chunk(&block[2..])), scale, 8.0 * scale)
        }),
        BlockType::Q4_1 => small::<20>(row, token, |block| {
            (nibbles(chunk(&block[4..])), half(&block[..]), -half(&block[2..]))
        }),
        BlockType::Q5_0 => small::<22>(row, token, |block| {
            let scale = half(&block[..]);
            let bits = u32::from_le_bytes(*chunk(&block[2..]));
            (
                with_fifths(nibbles(chunk(&block[6..])), bits),
                scale,
                16.0 * scale,
            )
        }),
        BlockType::Q5_1 => small::<24>(row, token, |block| {
            let bits = u32::from_le_bytes(*chunk(&block[4..]));
            let numbers = with_fifths(nibbles(chunk(&block[8..])), bits);
            (numbers, half(&block[..]), -half(&block[2..]))
        }),
        BlockType::Q8_0 => small::<34>(row, token, |block| {
            let numbers = _mm256_xor_si256(load(chunk(&block[2..])), _mm256_set1_epi8(i8::MIN));
            let scale = half(&block[..]);
            (numbers, scale, 128.0 * scale)
        }),
        _ => return None,
    })
}

/// Sums over blocks of 32 elements, of which `block` returns the numbers, the scale and the minimum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn small<const BYTES: usize>(
    row: &[u8],
    token: TokenRow<'_>,
    block: impl Fn(&[u8; BYTES]) -> (__m256i, f32, f32),
) -> f32 {
    let factors = token
        .scales
        .as_chunks::<2>()
        .0
        .iter()
        .zip(token.sums.as_chunks::<2>().0);
    let blocks = row
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(token.numbers.as_chunks::<32>().0);
    let mut blocks = blocks.zip(factors);
    let zero = _mm256_setzero_si256();
    // Two of each, in registers, so that none waits for the one before.
    let (mut even, mut odd) = (_mm256_setzero_ps(), _mm256_setzero_ps());
    let (mut even_minima, mut odd_minima) = (0.0f32, 0.0f32);
    macro_rules! add {
        ($next:expr, $sum:ident, $minima:ident) => {
            let ((bytes, others), ([scale, _], [first, second])) = $next;
            let (numbers, of_weights, minimum) = block(bytes);
            let others = load(bytemuck::cast_ref(others));
            let products = _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(zero, numbers, others));
            $sum = _mm256_fmadd_ps(products, _mm256_set1_ps(of_weights * scale), $sum);
            $minima = minimum.mul_add(first + second, $minima);
        };
    }
    while let Some(next) = blocks.next() {
        add!(next, even, even_minima);
        if let Some(next) = blocks.next() {
            add!(next, odd, odd_minima);
        }
    }
    let sum = _mm256_add_ps(even, odd);
    let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    let whole = _mm_add_ss(quarter, _mm_shuffle_ps::<1>(quarter, quarter));
    _mm_cvtss_f32(whole) - (even_minima + odd_minima)
}

/// Adds 16 wherever bit `i` is set.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx2")]
fn with_fifths(numbers: __m256i, bits: u32) -> __m256i {
    _mm256_mask_add_epi8(numbers, bits, numbers, _mm256_set1_epi8(16))
}
