//! Plain Rust kernels, for machines without a known instruction set and as the reference for the others.
//!
//! Invariant: the module's order of summation (see `cpu`), written out. The fused multiply-add is exact on machines
//! that lack one too: the product of two f32 is exact in f64, and the sum, rounded to odd there, rounds to the same
//! f32 as the exact sum (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).

use half::f16;

use super::bounds::{BoundLanes, BoundRows, BoundTerms, Near};
use super::encode::ResidualProducts;
use super::nearest::{LaneBest, fold_lanes};
use super::screen::{self, ScreenRows, ScreenTerms};
use super::table::{CosineParts, Kernels};
use super::{
    DOT, F16_MAX, GROUP, L1, LANES, SQUARED_L2, blocks, bounds, codes, encode, halves, rotate, wide,
};

pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
    squared_l2_f32: row::<SQUARED_L2, false>,
    dot_f32: row::<DOT, false>,
    l1_f32: row::<L1, false>,
    squared_l2_f16: row::<SQUARED_L2, true>,
    dot_f16: row::<DOT, true>,
    cosine_parts_f32: cosine_parts,
    squared_l2_f32_block: block::<SQUARED_L2, false>,
    dot_f32_block: block::<DOT, false>,
    squared_l2_f16_block: block::<SQUARED_L2, true>,
    dot_f16_block: block::<DOT, true>,
    l1_f32_block: block::<L1, false>,
    l1_f16_block: block::<L1, true>,
    blocks: blocks::plain::KERNELS,
    codes: codes::scalar::KERNELS,
    halves: halves::scalar::KERNELS,
    rotate,
    bound_block,
    screen_block,
    encode_i8,
    decode_i8,
    encode_bits,
    encode_residual,
    square,
    add,
    scale,
    subtract,
    encode_f16,
    decode_f16,
    tile_width: GROUP,
    tile,
    fold,
};

fn row<const OP: u8, const F16: bool>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let group_bytes = GROUP * width::<F16>();
    for (i, (query, row)) in query.chunks(GROUP).zip(row.chunks(group_bytes)).enumerate() {
        let query = padded(query);
        let row = padded_row::<F16>(row);
        let half = (i % 2) * GROUP;
        for lane in 0..GROUP {
            let sum = &mut sums[half + lane];
            *sum = step::<OP>(*sum, query[lane], row[lane]);
        }
    }
    folded(sums)
}

fn block<const OP: u8, const F16: bool>(query: &[f32], rows: &[u8], scores: &mut [f32]) {
    if query.is_empty() {
        scores.fill(0.0);
        return;
    }
    for (code, score) in rows.chunks_exact(query.len() * width::<F16>()).zip(scores) {
        *score = row::<OP, F16>(query, code);
    }
}

fn cosine_parts(a: &[f32], b: &[u8]) -> CosineParts {
    let a_bytes: &[u8] = bytemuck::cast_slice(a);
    let mut norms = [0.0f32; LANES];
    for (i, b) in b.chunks(GROUP * width::<false>()).enumerate() {
        let half = (i % 2) * GROUP;
        for (lane, b) in padded_row::<false>(b).into_iter().enumerate() {
            norms[half + lane] = step::<DOT>(norms[half + lane], b, b);
        }
    }
    CosineParts {
        dot: row::<DOT, false>(a, b),
        norm_sq_a: row::<DOT, false>(a, a_bytes),
        norm_sq_b: folded(norms),
    }
}

const fn width<const F16: bool>() -> usize {
    if F16 { 2 } else { 4 }
}

fn padded(values: &[f32]) -> [f32; GROUP] {
    let mut group = [0.0; GROUP];
    group[..values.len()].copy_from_slice(values);
    group
}

pub(super) fn padded_row<const F16: bool>(bytes: &[u8]) -> [f32; GROUP] {
    let mut group = [0.0; GROUP];
    if F16 {
        for (x, code) in group.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *x = widened(u16::from_le_bytes(*code));
        }
    } else {
        for (x, code) in group.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *x = f32::from_le_bytes(*code);
        }
    }
    group
}

#[inline]
pub(super) fn step<const OP: u8>(sum: f32, q: f32, x: f32) -> f32 {
    match OP {
        SQUARED_L2 => fused(q - x, q - x, sum),
        DOT => fused(q, x, sum),
        _ => sum + (q - x).abs(),
    }
}

pub(super) fn folded(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// `a * b + c` with one rounding.
#[inline]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        fused_in_f64(a, b, c)
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the one rounding of the fused operation"
)]
fn fused_in_f64(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    // What the addition lost, exactly (Knuth's two-sum); NaN when the sum is not finite, which no comparison takes.
    let back = sum - product;
    let lost = (product - (sum - back)) + (addend - back);
    // Round to odd: an inexact sum with an even last bit moves one place towards the exact value.
    let bits = sum.to_bits();
    let inexact = lost != 0.0 && !lost.is_nan();
    let outwards = (lost > 0.0) == (sum > 0.0);
    let odd = if outwards { bits | 1 } else { bits.wrapping_sub(1) };
    let bits = if inexact && bits & 1 == 0 { odd } else { bits };
    f64::from_bits(bits) as f32
}

fn encode_i8(x: &[f32], codes: &mut [u8]) -> f32 {
    encode::int8(x, codes)
}

fn decode_i8(codes: &[u8], scale: f32, x: &mut [f32]) {
    encode::from_int8(codes, scale, x);
}

fn encode_bits(x: &[f32], codes: &mut [u8]) {
    encode::bits(x, codes);
}

fn encode_residual(w: &[f32], c: &[f32], digits: &mut [u8]) -> ResidualProducts {
    encode::residual::<false>(w, c, digits)
}

fn square(a: &[f32]) -> f64 {
    wide::square(a)
}

fn add(sums: &mut [f64], a: &[f32], weight: f64) {
    wide::add(sums, a, weight);
}

fn scale(x: &mut [f32], factor: f64) {
    wide::scale(x, factor);
}

fn subtract(x: &mut [f32], a: &[f32], weight: f32) {
    wide::subtract(x, a, weight);
}

fn rotate(x: &mut [f32], signs: &[u32]) {
    rotate::rotate(x, signs);
}

fn screen_block(terms: &ScreenTerms, rows: &ScreenRows<'_>) -> u16 {
    screen::screen_block(terms, rows)
}

fn bound_block(terms: &BoundTerms, rows: &BoundRows<'_>, cut: f32, bounds: &mut BoundLanes) -> Near {
    bounds::bound_block(terms, rows, cut, bounds)
}

fn encode_f16(x: &[f32], codes: &mut [u8]) {
    for (x, code) in x.iter().zip(codes.as_chunks_mut::<2>().0) {
        *code = f16::from_f32_const(x.clamp(-F16_MAX, F16_MAX)).to_le_bytes();
    }
}

/// The value of an f16 code, without a branch, so that the compiler can use wide registers.
#[inline]
fn widened(code: u16) -> f32 {
    // 2^112, the difference of the biases; `powi` promises no exact result.
    const BIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let code = u32::from(code);
    // Moves the exponent to its place, and corrects its bias by an exact product: subnormals come out right too.
    let magnitude = f32::from_bits((code & 0x7fff) << 13) * BIAS;
    let special = if code & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (code & 0x8000) << 16)
}

fn decode_f16(codes: &[u8], x: &mut [f32]) {
    for (x, code) in x.iter_mut().zip(codes.as_chunks::<2>().0) {
        *x = widened(u16::from_le_bytes(*code));
    }
}

/// Not fused: exact emulation would cost a build ten times its time, and labels, once in an index, are never compared
/// with those of another machine.
fn tile(rows: &[f32], stride: usize, panel: &[f32], dots: &mut [f32], first: bool) {
    let depth = panel.len() / GROUP;
    for (row, dots) in rows.chunks(stride).zip(dots.as_chunks_mut::<GROUP>().0) {
        let mut sums = if first { [0.0; GROUP] } else { *dots };
        for (x, centroids) in row[..depth].iter().zip(panel.as_chunks::<GROUP>().0) {
            for (sum, c) in sums.iter_mut().zip(centroids) {
                *sum += *x * *c;
            }
        }
        *dots = sums;
    }
}

fn fold(dots: &[f32], bias: &[f32], scale: f32, first_label: u32, best: &mut [LaneBest]) {
    fold_lanes(dots, bias, scale, first_label, best);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::property::cases;

    proptest! {
        #![proptest_config(cases(20_000))]
        #[test]
        fn fused_in_f64_equals_the_hardware_operation(a in any::<u32>(), b in any::<u32>(), c in any::<u32>()) {
            let (a, b, c) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
            prop_assert!(same(fused_in_f64(a, b, c), a.mul_add(b, c)));
        }

        #[test]
        fn fused_in_f64_rounds_near_ties_once(a in any::<u32>(), b in 1u32..1 << 23, shift in -60i32..60, flip in any::<bool>()) {
            // Products beside an addend whose last place they can tip.
            let (a, b) = (f32::from_bits(a & 0x3fff_ffff), f32::from_bits(0x3f80_0000 | b));
            let c = if flip { -a * b } else { a * b } * 2f32.powi(shift);
            prop_assert!(same(fused_in_f64(a, b, c), a.mul_add(b, c)));
        }
    }

    fn same(x: f32, y: f32) -> bool {
        x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
    }
}
