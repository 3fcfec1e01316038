//! The rotation with AVX-512: steps of a width below 16 shuffle a register, others take two.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{flip, rounds};
use crate::limits::MAX_DIMS;

/// Elements of a register.
const REGISTER: usize = 16;
/// No signs to flip, for the registers of the longest block.
const NONE: [u16; MAX_DIMS.next_power_of_two() / REGISTER] = [0; MAX_DIMS.next_power_of_two() / REGISTER];

/// See `Kernels::rotate`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in super::super) fn rotate(x: &mut [f32], signs: &[u32]) {
    if x.len() < REGISTER {
        super::rotate(x, signs);
        return;
    }
    let turn = |x: &mut [f32], round: &[u32], block: Range<usize>| {
        // In the order of elements, as x86-64 is little-endian.
        let signs: &[u16] = bytemuck::cast_slice(round);
        if block.start.is_multiple_of(REGISTER) {
            let (front, rest) = x.split_at_mut(block.start);
            let (x, back) = rest.split_at_mut(block.len());
            let registers = block.start / REGISTER..block.end / REGISTER;
            flip_all(front, signs);
            flip_all(back, &signs[registers.end..]);
            hadamard(x, &signs[registers]);
        } else {
            flip_all(x, signs);
            hadamard(&mut x[block.clone()], &NONE[..block.len() / REGISTER]);
        }
    };
    rounds(x, signs, turn, |x| halves(x));
}

/// Flips the signs of `x` whose bits are set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn flip_all(x: &mut [f32], signs: &[u16]) {
    let (whole, rest) = x.as_chunks_mut::<REGISTER>();
    for (x, signs) in whole.iter_mut().zip(signs) {
        store(x, flipped(load(x), *signs));
    }
    if !rest.is_empty() {
        flip(rest, signs[whole.len()].into());
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn flipped(x: __m512, mask: u16) -> __m512 {
    let signs = _mm512_maskz_set1_epi32(mask, i32::MIN);
    _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), signs))
}

/// The Walsh-Hadamard transform of `2^k` elements, at least a register, scaled to keep lengths, after those whose bits are set in
/// `signs`, a number for each register, have changed their signs. Up to three steps are taken while registers hold what they change.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn hadamard(x: &mut [f32], signs: &[u16]) {
    let scale = _mm512_set1_ps(1.0 / (x.len() as f32).sqrt());
    let registers = x.as_chunks_mut::<REGISTER>().0;
    let (eights, rest) = registers.as_chunks_mut::<8>();
    for ([a, b, c, d, e, f, g, h], signs) in eights.iter_mut().zip(signs.as_chunks::<8>().0) {
        let first = [
            within(a, signs[0], scale),
            within(b, signs[1], scale),
            within(c, signs[2], scale),
            within(d, signs[3], scale),
            within(e, signs[4], scale),
            within(f, signs[5], scale),
            within(g, signs[6], scale),
            within(h, signs[7], scale),
        ];
        store_eight([a, b, c, d, e, f, g, h], across(first));
    }
    for (x, signs) in rest.iter_mut().zip(signs) {
        store(x, within(x, *signs, scale));
    }
    // Of `2^k` registers either all are eights, or none is.
    let mut width = if rest.is_empty() { 8 } else { 1 };
    while width < registers.len() {
        if registers.len() / width >= 8 {
            for block in registers.chunks_exact_mut(8 * width) {
                three_steps(block, width);
            }
            width *= 8;
        } else {
            for block in registers.chunks_exact_mut(2 * width) {
                one_step(block, width);
            }
            width *= 2;
        }
    }
}

/// The steps of widths below that of a register, after flips and scaling.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn within(x: &[f32; REGISTER], signs: u16, scale: __m512) -> __m512 {
    let x = _mm512_mul_ps(flipped(load(x), signs), scale);
    let x = step(x, _mm512_permute_ps::<0b10_11_00_01>(x), 0xaaaa);
    let x = step(x, _mm512_permute_ps::<0b01_00_11_10>(x), 0xcccc);
    let x = step(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x), 0xf0f0);
    step(x, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x), 0xff00)
}

/// The steps of `width`, twice and four times as many registers in a block of eight times as many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn three_steps(block: &mut [[f32; REGISTER]], width: usize) {
    let (low, high) = block.split_at_mut(4 * width);
    let ((ab, cd), (ef, gh)) = (low.split_at_mut(2 * width), high.split_at_mut(2 * width));
    let ((a, b), (c, d)) = (ab.split_at_mut(width), cd.split_at_mut(width));
    let ((e, f), (g, h)) = (ef.split_at_mut(width), gh.split_at_mut(width));
    let (first, second) = (
        a.iter_mut().zip(b).zip(c.iter_mut().zip(d)),
        e.iter_mut().zip(f).zip(g.iter_mut().zip(h)),
    );
    for (((a, b), (c, d)), ((e, f), (g, h))) in first.zip(second) {
        let all = [
            load(a),
            load(b),
            load(c),
            load(d),
            load(e),
            load(f),
            load(g),
            load(h),
        ];
        store_eight([a, b, c, d, e, f, g, h], across(all));
    }
}

/// The step of `width` registers in a block of twice as many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn one_step(block: &mut [[f32; REGISTER]], width: usize) {
    let (low, high) = block.split_at_mut(width);
    for (low, high) in low.iter_mut().zip(high) {
        let (a, b) = pair(load(low), load(high));
        store(low, a);
        store(high, b);
    }
}

/// The steps of eight registers with each other. Written out: of loops the compiler keeps arrays in memory.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn across([a, b, c, d, e, f, g, h]: [__m512; 8]) -> [__m512; 8] {
    let ((a, b), (c, d), (e, f), (g, h)) = (pair(a, b), pair(c, d), pair(e, f), pair(g, h));
    let ((a, c), (b, d), (e, g), (f, h)) = (pair(a, c), pair(b, d), pair(e, g), pair(f, h));
    let ((a, e), (b, f), (c, g), (d, h)) = (pair(a, e), pair(b, f), pair(c, g), pair(d, h));
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pair(a: __m512, b: __m512) -> (__m512, __m512) {
    (_mm512_add_ps(a, b), _mm512_sub_ps(a, b))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store_eight(to: [&mut [f32; REGISTER]; 8], all: [__m512; 8]) {
    let [a, b, c, d, e, f, g, h] = to;
    store(a, all[0]);
    store(b, all[1]);
    store(c, all[2]);
    store(d, all[3]);
    store(e, all[4]);
    store(f, all[5]);
    store(g, all[6]);
    store(h, all[7]);
}

/// See [`super::halves`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn halves(x: &mut [f32]) {
    if !x.len().is_multiple_of(2 * REGISTER) {
        super::halves(x);
        return;
    }
    let cos = _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2);
    let mirror = _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let (low, high) = x.split_at_mut(x.len() / 2);
    let high = high.as_chunks_mut::<REGISTER>().0.iter_mut().rev();
    for (low, high) in low.as_chunks_mut::<REGISTER>().0.iter_mut().zip(high) {
        let (a, b) = (load(low), _mm512_permutexvar_ps(mirror, load(high)));
        store(low, _mm512_mul_ps(_mm512_add_ps(a, b), cos));
        let turned = _mm512_mul_ps(_mm512_sub_ps(a, b), cos);
        store(high, _mm512_permutexvar_ps(mirror, turned));
    }
}

/// Sums of each element with its partner, or, where the bit is set, what it falls short of it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn step(x: __m512, partner: __m512, second: u16) -> __m512 {
    // A product with 1 or -1 is exact, so this rounds once, as an addition does.
    let one = _mm512_set1_ps(1.0);
    let sign = _mm512_mask_sub_ps(one, second, _mm512_setzero_ps(), one);
    _mm512_fmadd_ps(x, sign, partner)
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
