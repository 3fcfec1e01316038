//! The rotation with AVX-512: steps of a width below 16 shuffle a register, others take two.

use std::arch::x86_64::*;

use super::{WORD, flip, rounds};

/// Elements of a register.
const REGISTER: usize = 16;

/// See `Kernels::rotate`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in super::super) fn rotate(x: &mut [f32], signs: &[u32]) {
    if x.len() < REGISTER {
        super::rotate(x, signs);
        return;
    }
    rounds(x, signs, |x, round| flip_all(x, round), |x| hadamard(x));
}

/// Flips the signs whose bits are set in the words of a round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn flip_all(x: &mut [f32], round: &[u32]) {
    let sign = _mm512_set1_epi32(i32::MIN);
    let (whole, rest) = x.as_chunks_mut::<WORD>();
    for (x, word) in whole.iter_mut().zip(round) {
        let masks = [0, REGISTER].map(|shift| u16::try_from(word >> shift & 0xffff).expect("16 bits"));
        for (x, mask) in x.as_chunks_mut::<REGISTER>().0.iter_mut().zip(masks) {
            let bits = _mm512_castps_si512(load(x));
            store(
                x,
                _mm512_castsi512_ps(_mm512_mask_xor_epi32(bits, mask, bits, sign)),
            );
        }
    }
    if let Some(last) = round.get(whole.len()) {
        flip(rest, *last);
    }
}

/// The Walsh-Hadamard transform of `2^k` elements, at least a register, scaled to keep lengths.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn hadamard(x: &mut [f32]) {
    let scale = _mm512_set1_ps(1.0 / (x.len() as f32).sqrt());
    let registers = x.as_chunks_mut::<REGISTER>().0;
    for x in registers.iter_mut() {
        let mut all = _mm512_mul_ps(load(x), scale);
        all = step(all, _mm512_permute_ps::<0b10_11_00_01>(all), 0xaaaa);
        all = step(all, _mm512_permute_ps::<0b01_00_11_10>(all), 0xcccc);
        all = step(all, _mm512_shuffle_f32x4::<0b10_11_00_01>(all, all), 0xf0f0);
        all = step(all, _mm512_shuffle_f32x4::<0b01_00_11_10>(all, all), 0xff00);
        store(x, all);
    }
    let mut width = 1;
    while width < registers.len() {
        for pair in registers.chunks_exact_mut(2 * width) {
            let (low, high) = pair.split_at_mut(width);
            for (low, high) in low.iter_mut().zip(high) {
                let (a, b) = (load(low), load(high));
                store(low, _mm512_add_ps(a, b));
                store(high, _mm512_sub_ps(a, b));
            }
        }
        width *= 2;
    }
}

/// Sums of each element with its partner, or, where the bit is set, what it falls short of it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn step(x: __m512, partner: __m512, second: u16) -> __m512 {
    _mm512_mask_sub_ps(_mm512_add_ps(x, partner), second, partner, x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load(x: &[f32; REGISTER]) -> __m512 {
    // SAFETY: the array holds 64 bytes.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store(x: &mut [f32; REGISTER], all: __m512) {
    // SAFETY: the array holds 64 bytes.
    unsafe { _mm512_storeu_ps(x.as_mut_ptr(), all) }
}
