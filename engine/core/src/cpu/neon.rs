//! NEON kernels: four registers per group of 16 elements, two rows at a time in the block kernels.
//!
//! Invariant: the module's order of summation (see `cpu`); several rows at a time only interleave independent sums.
#![expect(
    unsafe_code,
    reason = "loads from and stores to raw memory, with lengths that the table checks"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::bounds::{BoundLanes, BoundRows, BoundTerms, Near};
use super::encode::ResidualProducts;
use super::nearest::LaneBest;
use super::screen::{self, ScreenRows, ScreenTerms};
use super::table::{CosineParts, Kernels};
use super::{
    DOT, F16_MAX, GROUP, L1, LANES, SQUARED_L2, blocks, bounds, codes, encode, halves, rotate, wide,
};

pub(super) static KERNELS: Kernels = Kernels {
    name: "neon",
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
    codes: codes::neon::KERNELS,
    halves: halves::neon::KERNELS,
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

/// Elements of a register.
pub(super) const REGISTER: usize = 4;
/// Registers of a group.
pub(super) const PARTS: usize = GROUP / REGISTER;

#[target_feature(enable = "neon")]
fn row<const OP: u8, const F16: bool>(query: &[f32], row: &[u8]) -> f32 {
    rows::<OP, F16, 1>(query, row)[0]
}

#[target_feature(enable = "neon")]
fn block<const OP: u8, const F16: bool>(query: &[f32], rows_bytes: &[u8], scores: &mut [f32]) {
    let bytes = query.len() * width::<F16>();
    let mut rest = rows_bytes;
    let mut pairs = scores.chunks_exact_mut(2);
    for pair in &mut pairs {
        let (two, tail) = rest.split_at(2 * bytes);
        pair.copy_from_slice(&rows::<OP, F16, 2>(query, two));
        rest = tail;
    }
    if let [last] = pairs.into_remainder() {
        *last = rows::<OP, F16, 1>(query, rest)[0];
    }
}

/// The scores of `R` consecutive rows that fill `rows` exactly.
#[inline]
#[target_feature(enable = "neon")]
fn rows<const OP: u8, const F16: bool, const R: usize>(query: &[f32], rows: &[u8]) -> [f32; R] {
    let stride = query.len() * width::<F16>();
    debug_assert_eq!(rows.len(), R * stride);
    let mut sums = [[vdupq_n_f32(0.0); LANES / REGISTER]; R];
    let mut i = 0;
    while i + LANES <= query.len() {
        for part in 0..LANES / REGISTER {
            let q = load_query(&query[i + part * REGISTER..]);
            for (r, sums) in sums.iter_mut().enumerate() {
                let at = r * stride + (i + part * REGISTER) * width::<F16>();
                // SAFETY: i + 32 <= query.len(), so the register's elements end inside row r.
                let x = unsafe { load::<F16>(rows.as_ptr().wrapping_add(at)) };
                sums[part] = step::<OP>(sums[part], q, x);
            }
        }
        i += LANES;
    }
    // A loop of known length, so that the sums keep to their registers.
    for part in [0, PARTS] {
        if i == query.len() {
            break;
        }
        let count = GROUP.min(query.len() - i);
        let q = load_padded::<false>(bytemuck::cast_slice(&query[i..i + count]));
        for (r, sums) in sums.iter_mut().enumerate() {
            let at = r * stride + i * width::<F16>();
            let x = load_padded::<F16>(&rows[at..at + count * width::<F16>()]);
            for p in 0..PARTS {
                sums[part + p] = step::<OP>(sums[part + p], q[p], x[p]);
            }
        }
        i += count;
    }
    sums.map(|sums| folded(sums))
}

#[target_feature(enable = "neon")]
fn cosine_parts(a: &[f32], b: &[u8]) -> CosineParts {
    let mut norm_b = [vdupq_n_f32(0.0); LANES / REGISTER];
    for (i, group) in b.chunks(GROUP * width::<false>()).enumerate() {
        let x = load_padded::<false>(group);
        for (p, x) in x.into_iter().enumerate() {
            let sum = &mut norm_b[(i % 2) * PARTS + p];
            *sum = step::<DOT>(*sum, x, x);
        }
    }
    CosineParts {
        dot: rows::<DOT, false, 1>(a, b)[0],
        norm_sq_a: rows::<DOT, false, 1>(a, bytemuck::cast_slice(a))[0],
        norm_sq_b: folded(norm_b),
    }
}

const fn width<const F16: bool>() -> usize {
    if F16 { 2 } else { 4 }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_query(query: &[f32]) -> float32x4_t {
    let register: &[f32; REGISTER] = query[..REGISTER]
        .try_into()
        .expect("a slice of REGISTER elements");
    // SAFETY: the array holds 4 elements.
    unsafe { vld1q_f32(register.as_ptr()) }
}

/// Loads 4 elements, of any alignment.
///
/// # Safety
/// 4 encoded elements are readable at `at`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn load<const F16: bool>(at: *const u8) -> float32x4_t {
    if F16 {
        // SAFETY: the caller's.
        widened(unsafe { vld1_u8(at) })
    } else {
        // SAFETY: the caller's.
        vreinterpretq_f32_u8(unsafe { vld1q_u8(at) })
    }
}

/// Widens 4 f16 codes. The instruction belongs to every ARMv8, unlike the f16 types of `std::arch`.
#[inline]
#[target_feature(enable = "neon")]
fn widened(codes: uint8x8_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: reads and writes only the named registers.
    unsafe {
        asm!("fcvtl {wide:v}.4s, {codes:v}.4h", wide = lateout(vreg) wide, codes = in(vreg) codes,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// Rounds 4 elements to f16 codes, in the rounding mode that Rust programs run in: ties to even.
#[inline]
#[target_feature(enable = "neon")]
fn narrowed(x: float32x4_t) -> uint8x8_t {
    let codes: uint8x8_t;
    // SAFETY: reads and writes only the named registers.
    unsafe {
        asm!("fcvtn {codes:v}.4h, {x:v}.4s", codes = lateout(vreg) codes, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    codes
}

/// Loads up to 16 elements, zero beyond them.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_padded<const F16: bool>(bytes: &[u8]) -> [float32x4_t; PARTS] {
    let mut group = [0u8; GROUP * 4];
    let bytes = if bytes.len() == GROUP * width::<F16>() {
        bytes
    } else {
        group[..bytes.len()].copy_from_slice(bytes);
        &group
    };
    let mut parts = [vdupq_n_f32(0.0); PARTS];
    for (p, part) in parts.iter_mut().enumerate() {
        let at = bytes.as_ptr().wrapping_add(p * REGISTER * width::<F16>());
        // SAFETY: `bytes` holds 16 elements, or is the 64-byte array; this is the p-th quarter of 16 elements.
        *part = unsafe { load::<F16>(at) };
    }
    parts
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn step<const OP: u8>(sum: float32x4_t, q: float32x4_t, x: float32x4_t) -> float32x4_t {
    match OP {
        SQUARED_L2 => {
            let difference = vsubq_f32(q, x);
            vfmaq_f32(sum, difference, difference)
        }
        DOT => vfmaq_f32(sum, q, x),
        _ => vaddq_f32(sum, vabsq_f32(vsubq_f32(q, x))),
    }
}

/// Folds 32 partial sums in halves.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn folded(s: [float32x4_t; 8]) -> f32 {
    let sixteen = [
        vaddq_f32(s[0], s[4]),
        vaddq_f32(s[1], s[5]),
        vaddq_f32(s[2], s[6]),
        vaddq_f32(s[3], s[7]),
    ];
    let eight = [
        vaddq_f32(sixteen[0], sixteen[2]),
        vaddq_f32(sixteen[1], sixteen[3]),
    ];
    let four = vaddq_f32(eight[0], eight[1]);
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

#[target_feature(enable = "neon")]
fn encode_i8(x: &[f32], codes: &mut [u8]) -> f32 {
    encode::int8(x, codes)
}

#[target_feature(enable = "neon")]
fn decode_i8(codes: &[u8], scale: f32, x: &mut [f32]) {
    encode::from_int8(codes, scale, x);
}

#[target_feature(enable = "neon")]
fn encode_bits(x: &[f32], codes: &mut [u8]) {
    encode::bits(x, codes);
}

#[target_feature(enable = "neon")]
fn encode_residual(w: &[f32], c: &[f32], digits: &mut [u8]) -> ResidualProducts {
    encode::residual::<true>(w, c, digits)
}

#[target_feature(enable = "neon")]
fn square(a: &[f32]) -> f64 {
    wide::square(a)
}

#[target_feature(enable = "neon")]
fn add(sums: &mut [f64], a: &[f32], weight: f64) {
    wide::add(sums, a, weight);
}

#[target_feature(enable = "neon")]
fn scale(x: &mut [f32], factor: f64) {
    wide::scale(x, factor);
}

#[target_feature(enable = "neon")]
fn subtract(x: &mut [f32], a: &[f32], weight: f32) {
    wide::subtract(x, a, weight);
}

#[target_feature(enable = "neon")]
fn rotate(x: &mut [f32], signs: &[u32]) {
    rotate::rotate(x, signs);
}

#[target_feature(enable = "neon")]
fn screen_block(terms: &ScreenTerms, rows: &ScreenRows<'_>) -> u16 {
    screen::screen_block(terms, rows)
}

#[target_feature(enable = "neon")]
fn bound_block(terms: &BoundTerms, rows: &BoundRows<'_>, cut: f32, bounds: &mut BoundLanes) -> Near {
    bounds::bound_block(terms, rows, cut, bounds)
}

#[target_feature(enable = "neon")]
fn encode_f16(x: &[f32], codes: &mut [u8]) {
    let (registers, tail) = x.as_chunks::<REGISTER>();
    let (full, rest) = codes.split_at_mut(registers.len() * REGISTER * 2);
    for (x, code) in registers.iter().zip(full.as_chunks_mut::<{ REGISTER * 2 }>().0) {
        *code = encoded(x);
    }
    let mut padded = [0.0; REGISTER];
    padded[..tail.len()].copy_from_slice(tail);
    rest.copy_from_slice(&encoded(&padded)[..rest.len()]);
}

#[inline]
#[target_feature(enable = "neon")]
fn encoded(x: &[f32; REGISTER]) -> [u8; REGISTER * 2] {
    // A NaN passes through both.
    let clamped = vminq_f32(
        vmaxq_f32(load_query(x), vdupq_n_f32(-F16_MAX)),
        vdupq_n_f32(F16_MAX),
    );
    let mut code = [0u8; REGISTER * 2];
    // SAFETY: the array holds 8 bytes.
    unsafe { vst1_u8(code.as_mut_ptr(), narrowed(clamped)) };
    code
}

#[target_feature(enable = "neon")]
fn decode_f16(codes: &[u8], x: &mut [f32]) {
    for (codes, x) in codes.chunks(2 * GROUP).zip(x.chunks_mut(GROUP)) {
        let mut wide = [0.0; GROUP];
        for (part, wide) in load_padded::<true>(codes)
            .into_iter()
            .zip(wide.as_chunks_mut::<REGISTER>().0)
        {
            // SAFETY: the array holds 4 elements.
            unsafe { vst1q_f32(wide.as_mut_ptr(), part) };
        }
        x.copy_from_slice(&wide[..x.len()]);
    }
}

#[target_feature(enable = "neon")]
fn tile(rows: &[f32], stride: usize, panel: &[f32], dots: &mut [f32], first: bool) {
    let mut rows = rows;
    let mut dots = dots;
    while !dots.is_empty() {
        let count = dots.len() / GROUP;
        let taken = match count {
            6.. => tile_rows::<6>(rows, stride, panel, dots, first),
            4.. => tile_rows::<4>(rows, stride, panel, dots, first),
            2.. => tile_rows::<2>(rows, stride, panel, dots, first),
            _ => tile_rows::<1>(rows, stride, panel, dots, first),
        };
        dots = &mut dots[taken * GROUP..];
        rows = rows.get(taken * stride..).unwrap_or_default();
    }
}

/// The products of the first `R` rows; returns `R`. 4R sums stay in registers.
#[inline]
#[target_feature(enable = "neon")]
fn tile_rows<const R: usize>(
    rows: &[f32],
    stride: usize,
    panel: &[f32],
    dots: &mut [f32],
    first: bool,
) -> usize {
    let depth = panel.len() / GROUP;
    assert!(rows.len() >= (R - 1) * stride + depth && dots.len() >= R * GROUP);
    let mut sums = [[vdupq_n_f32(0.0); PARTS]; R];
    if !first {
        for (sums, dots) in sums.iter_mut().zip(dots.chunks_exact(GROUP)) {
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = load_query(&dots[p * REGISTER..]);
            }
        }
    }
    for (k, centroids) in panel.as_chunks::<GROUP>().0.iter().enumerate() {
        let mut c = [vdupq_n_f32(0.0); PARTS];
        for (p, c) in c.iter_mut().enumerate() {
            *c = load_query(&centroids[p * REGISTER..]);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < depth and r < R, so the element lies inside rows (asserted above).
            let x = vdupq_n_f32(unsafe { *rows.get_unchecked(r * stride + k) });
            for p in 0..PARTS {
                sums[p] = vfmaq_f32(sums[p], x, c[p]);
            }
        }
    }
    for (sums, dots) in sums.iter().zip(dots.chunks_exact_mut(GROUP)) {
        for (sum, dots) in sums.iter().zip(dots.as_chunks_mut::<REGISTER>().0) {
            // SAFETY: the array holds 4 elements.
            unsafe { vst1q_f32(dots.as_mut_ptr(), *sum) };
        }
    }
    R
}

#[target_feature(enable = "neon")]
fn fold(dots: &[f32], bias: &[f32], scale: f32, first_label: u32, best: &mut [LaneBest]) {
    const LANES: [u32; GROUP] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let scale = vdupq_n_f32(scale);
    for at in (0..GROUP).step_by(REGISTER) {
        // SAFETY: the array holds 16 numbers; these are 4 from a multiple of 4 on.
        let lanes = unsafe { vld1q_u32(LANES[at..].as_ptr()) };
        let new = vaddq_u32(lanes, vdupq_n_u32(first_label));
        let bias = load_query(&bias[at..]);
        for (dots, best) in dots.chunks_exact(GROUP).zip(&mut *best) {
            // The scale is a power of two, so that the fused operation rounds as the separate ones of `fold_lanes` do.
            let s = vfmaq_f32(bias, scale, load_query(&dots[at..]));
            let score = load_query(&best.score[at..]);
            // SAFETY: the array holds 16 labels; these are 4 from a multiple of 4 on.
            let label = unsafe { vld1q_u32(best.label[at..].as_ptr()) };
            let better = vcltq_f32(s, score);
            let score = vbslq_f32(better, s, score);
            let label = vbslq_u32(better, new, label);
            // SAFETY: the array holds 16 scores; these are 4 from a multiple of 4 on.
            unsafe { vst1q_f32(best.score[at..].as_mut_ptr(), score) };
            // SAFETY: the array holds 16 labels; these are 4 from a multiple of 4 on.
            unsafe { vst1q_u32(best.label[at..].as_mut_ptr(), label) };
        }
    }
}
