//! The rotation with AVX2: steps of a width below 8 shuffle a register, others take two.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{WORD, flip, halves, rounds};

/// Elements of a register.
const REGISTER: usize = 8;

/// See `Kernels::rotate`.
#[target_feature(enable = "avx2")]
pub(in super::super) fn rotate(x: &mut [f32], signs: &[u32]) {
    if x.len() < REGISTER {
        super::rotate(x, signs);
        return;
    }
    let turn = |x: &mut [f32], round: &[u32], block: Range<usize>| {
        flip_all(x, round);
        hadamard(&mut x[block]);
    };
    rounds(x, signs, turn, halves);
}

/// Flips the signs whose bits are set in the words of a round.
#[inline]
#[target_feature(enable = "avx2")]
fn flip_all(x: &mut [f32], round: &[u32]) {
    let sign = _mm256_set1_epi32(i32::MIN);
    // Moves the bit of each element to the top.
    let places = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    let (whole, rest) = x.as_chunks_mut::<WORD>();
    for (x, word) in whole.iter_mut().zip(round) {
        let mut word = *word;
        for x in x.as_chunks_mut::<REGISTER>().0 {
            let bits = _mm256_sllv_epi32(_mm256_set1_epi32(word.cast_signed()), places);
            let flipped = _mm256_castsi256_ps(_mm256_and_si256(bits, sign));
            store(x, _mm256_xor_ps(load(x), flipped));
            word >>= REGISTER;
        }
    }
    if let Some(last) = round.get(whole.len()) {
        flip(rest, *last);
    }
}

/// The Walsh-Hadamard transform of `2^k` elements, at least a register, scaled to keep lengths.
#[inline]
#[target_feature(enable = "avx2")]
fn hadamard(x: &mut [f32]) {
    let scale = _mm256_set1_ps(1.0 / (x.len() as f32).sqrt());
    let registers = x.as_chunks_mut::<REGISTER>().0;
    for x in registers.iter_mut() {
        let mut all = _mm256_mul_ps(load(x), scale);
        all = step::<0b1010_1010>(all, _mm256_permute_ps::<0b10_11_00_01>(all));
        all = step::<0b1100_1100>(all, _mm256_permute_ps::<0b01_00_11_10>(all));
        all = step::<0b1111_0000>(all, _mm256_permute2f128_ps::<0b0000_0001>(all, all));
        store(x, all);
    }
    let mut width = 1;
    while width < registers.len() {
        for pair in registers.chunks_exact_mut(2 * width) {
            let (low, high) = pair.split_at_mut(width);
            for (low, high) in low.iter_mut().zip(high) {
                let (a, b) = (load(low), load(high));
                store(low, _mm256_add_ps(a, b));
                store(high, _mm256_sub_ps(a, b));
            }
        }
        width *= 2;
    }
}

/// Sums of each element with its partner, or, where the bit is set, what it falls short of it.
#[inline]
#[target_feature(enable = "avx2")]
fn step<const SECOND: i32>(x: __m256, partner: __m256) -> __m256 {
    _mm256_blend_ps::<SECOND>(_mm256_add_ps(x, partner), _mm256_sub_ps(partner, x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(x: &[f32; REGISTER]) -> __m256 {
    // SAFETY: the array holds 32 bytes.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(x: &mut [f32; REGISTER], all: __m256) {
    // SAFETY: the array holds 32 bytes.
    unsafe { _mm256_storeu_ps(x.as_mut_ptr(), all) }
}
