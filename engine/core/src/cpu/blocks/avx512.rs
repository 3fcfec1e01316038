//! AVX-512 with VNNI: four groups at once.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::unpack_avx2::unpack;
use super::{BlockKernels, TokenRow, WeightRow, avx2};
use crate::blocks::GROUP;

pub(in super::super) const KERNELS: BlockKernels = BlockKernels {
    unpack,
    product,
    fused: super::fused_avx512::product,
};

/// Elements of a register.
const REGISTER: usize = 64;
/// Their groups.
const GROUPS: usize = REGISTER / GROUP;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
fn product(weights: WeightRow<'_>, token: TokenRow<'_>) -> f32 {
    let whole = weights.numbers.len() / REGISTER;
    let spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    let (mut even, mut odd) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let mut minima = _mm_setzero_ps();
    // Two sums, in registers, so that none waits for the one before.
    macro_rules! add {
        ($register:expr, $sum:ident) => {
            let (at, group) = ($register * REGISTER, $register * GROUPS);
            let numbers = &weights.numbers[at..at + REGISTER];
            let others = &token.numbers[at..at + REGISTER];
            // SAFETY: 64 bytes each.
            let (a, b) = unsafe {
                (
                    _mm512_loadu_si512(numbers.as_ptr().cast()),
                    _mm512_loadu_si512(others.as_ptr().cast()),
                )
            };
            let products = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), a, b));
            let four = |numbers: &[f32]| {
                let numbers = &numbers[group..group + GROUPS];
                // SAFETY: four f32.
                unsafe { _mm_loadu_ps(numbers.as_ptr()) }
            };
            let scales = _mm_mul_ps(four(weights.scales), four(token.scales));
            let scales = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(scales));
            $sum = _mm512_fmadd_ps(products, scales, $sum);
            minima = _mm_fmadd_ps(four(weights.minima), four(token.sums), minima);
        };
    }
    for pair in 0..whole / 2 {
        add!(2 * pair, even);
        add!(2 * pair + 1, odd);
    }
    if whole % 2 == 1 {
        add!(whole - 1, even);
    }
    let mut lanes = [0.0f32; GROUPS];
    // SAFETY: four f32.
    unsafe { _mm_storeu_ps(lanes.as_mut_ptr(), minima) };
    let sum = _mm512_reduce_add_ps(_mm512_add_ps(even, odd)) - lanes.iter().sum::<f32>();
    if whole * REGISTER == weights.numbers.len() {
        return sum;
    }
    let (from, group) = (whole * REGISTER, whole * GROUPS);
    let rest = WeightRow {
        numbers: &weights.numbers[from..],
        scales: &weights.scales[group..],
        minima: &weights.minima[group..],
    };
    let token = TokenRow {
        numbers: &token.numbers[from..],
        scales: &token.scales[group..],
        sums: &token.sums[group..],
    };
    sum + avx2::product(rest, token)
}
