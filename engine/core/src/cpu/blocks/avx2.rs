//! AVX2: bytes are widened to 16 bits, whose products of two are summed.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::unpack_avx2::unpack;
use super::{BlockKernels, TokenRow, WeightRow};
use crate::blocks::GROUP;

pub(in super::super) const KERNELS: BlockKernels = BlockKernels {
    unpack,
    product,
    fused: super::no_fused,
};

#[target_feature(enable = "avx2,fma")]
pub(super) fn product(weights: WeightRow<'_>, token: TokenRow<'_>) -> f32 {
    let groups = weights
        .numbers
        .chunks_exact(GROUP)
        .zip(token.numbers.chunks_exact(GROUP));
    let scales = weights.scales.iter().zip(token.scales);
    let mut groups = groups.zip(scales);
    // Two sums, in registers, so that none waits for the one before.
    let (mut even, mut odd) = (_mm256_setzero_ps(), _mm256_setzero_ps());
    macro_rules! add {
        ($next:expr, $sum:ident) => {
            let ((numbers, others), (scale, other)) = $next;
            // SAFETY: 16 bytes each.
            let (a, b) = unsafe {
                (
                    _mm_loadu_si128(numbers.as_ptr().cast()),
                    _mm_loadu_si128(others.as_ptr().cast()),
                )
            };
            let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(a), _mm256_cvtepi8_epi16(b));
            $sum = _mm256_fmadd_ps(
                _mm256_cvtepi32_ps(products),
                _mm256_set1_ps(scale * other),
                $sum,
            );
        };
    }
    while let Some(next) = groups.next() {
        add!(next, even);
        if let Some(next) = groups.next() {
            add!(next, odd);
        }
    }
    let mut lanes = [0.0f32; 8];
    // SAFETY: eight f32.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(even, odd)) };
    let minima = weights.minima.iter().zip(token.sums);
    lanes.iter().sum::<f32>() - minima.map(|(minimum, sum)| minimum * sum).sum::<f32>()
}
