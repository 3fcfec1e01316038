//! AVX2, FMA and F16C kernels: two registers per group of 16 elements, two rows at a time in the block kernels.
//!
//! Invariant: the module's order of summation (see `cpu`); several rows at a time only interleave independent sums.
#![expect(
    unsafe_code,
    reason = "loads from and stores to raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::nearest::{LaneBest, fold_lanes};
use super::table::{CosineParts, Kernels};
use super::{DOT, F16_MAX, GROUP, L1, LANES, SQUARED_L2};

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
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
    encode_f16,
    decode_f16,
    tile_width: GROUP,
    tile,
    fold,
};

/// Elements of a register.
const REGISTER: usize = 8;
/// How far ahead of the loads of each row the block kernel prefetches.
const PREFETCH_BYTES: usize = 2048;

#[target_feature(enable = "avx2,fma,f16c")]
fn row<const OP: u8, const F16: bool>(query: &[f32], row: &[u8]) -> f32 {
    rows::<OP, F16, 1>(query, row)[0]
}

#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
fn rows<const OP: u8, const F16: bool, const R: usize>(query: &[f32], rows: &[u8]) -> [f32; R] {
    let stride = query.len() * width::<F16>();
    debug_assert_eq!(rows.len(), R * stride);
    let mut sums = [[_mm256_setzero_ps(); LANES / REGISTER]; R];
    let mut i = 0;
    while i + LANES <= query.len() {
        for r in 0..R {
            let ahead = rows
                .as_ptr()
                .wrapping_add(r * stride + i * width::<F16>() + PREFETCH_BYTES);
            prefetch::<F16>(ahead);
        }
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
    let mut part = 0;
    while i < query.len() {
        let count = GROUP.min(query.len() - i);
        let q = load_padded::<false>(bytemuck::cast_slice(&query[i..i + count]));
        for (r, sums) in sums.iter_mut().enumerate() {
            let at = r * stride + i * width::<F16>();
            let x = load_padded::<F16>(&rows[at..at + count * width::<F16>()]);
            sums[part] = step::<OP>(sums[part], q.0, x.0);
            sums[part + 1] = step::<OP>(sums[part + 1], q.1, x.1);
        }
        part += 2;
        i += count;
    }
    sums.map(|sums| folded(sums))
}

/// Three passes over vectors that the first one brings into the cache: twelve sums would not stay in 16 registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn cosine_parts(a: &[f32], b: &[u8]) -> CosineParts {
    let mut norm_b = [_mm256_setzero_ps(); LANES / REGISTER];
    for (i, group) in b.chunks(GROUP * width::<false>()).enumerate() {
        let x = load_padded::<false>(group);
        let part = (i % 2) * 2;
        norm_b[part] = step::<DOT>(norm_b[part], x.0, x.0);
        norm_b[part + 1] = step::<DOT>(norm_b[part + 1], x.1, x.1);
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
#[target_feature(enable = "avx2,fma,f16c")]
fn prefetch<const F16: bool>(at: *const u8) {
    _mm_prefetch::<_MM_HINT_T0>(at.cast());
    if !F16 {
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64).cast());
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_query(query: &[f32]) -> __m256 {
    let register: &[f32; REGISTER] = query[..REGISTER]
        .try_into()
        .expect("a slice of REGISTER elements");
    // SAFETY: the array holds 8 elements.
    unsafe { _mm256_loadu_ps(register.as_ptr()) }
}

/// Loads 8 elements.
///
/// # Safety
/// 8 encoded elements are readable at `at`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const F16: bool>(at: *const u8) -> __m256 {
    if F16 {
        // SAFETY: the caller's.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
    } else {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_ps(at.cast()) }
    }
}

/// Loads up to 16 elements, zero beyond them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_padded<const F16: bool>(bytes: &[u8]) -> (__m256, __m256) {
    let mut group = [0u8; GROUP * 4];
    let bytes = if bytes.len() == GROUP * width::<F16>() {
        bytes
    } else {
        group[..bytes.len()].copy_from_slice(bytes);
        &group
    };
    // SAFETY: `bytes` holds 16 elements, or is the 64-byte array.
    let low = unsafe { load::<F16>(bytes.as_ptr()) };
    // SAFETY: as above; the second 8 of 16 elements.
    let high = unsafe { load::<F16>(bytes.as_ptr().wrapping_add(REGISTER * width::<F16>())) };
    (low, high)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn step<const OP: u8>(sum: __m256, q: __m256, x: __m256) -> __m256 {
    match OP {
        SQUARED_L2 => {
            let difference = _mm256_sub_ps(q, x);
            _mm256_fmadd_ps(difference, difference, sum)
        }
        DOT => _mm256_fmadd_ps(q, x, sum),
        _ => _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_sub_ps(q, x))),
    }
}

/// Folds 32 partial sums in halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn folded(sums: [__m256; 4]) -> f32 {
    let eight = _mm256_add_ps(_mm256_add_ps(sums[0], sums[2]), _mm256_add_ps(sums[1], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
fn encoded(x: &[f32; REGISTER]) -> [u8; REGISTER * 2] {
    let x = load_query(x);
    // The second operand is the result when either is NaN.
    let clamped = _mm256_min_ps(
        _mm256_set1_ps(F16_MAX),
        _mm256_max_ps(_mm256_set1_ps(-F16_MAX), x),
    );
    let mut code = [0u8; REGISTER * 2];
    let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(clamped);
    // SAFETY: the array holds 16 bytes.
    unsafe { _mm_storeu_si128(code.as_mut_ptr().cast(), bits) };
    code
}

#[target_feature(enable = "avx2,fma,f16c")]
fn decode_f16(codes: &[u8], x: &mut [f32]) {
    for (codes, x) in codes.chunks(2 * GROUP).zip(x.chunks_mut(GROUP)) {
        let (low, high) = load_padded::<true>(codes);
        let mut wide = [0.0; GROUP];
        // SAFETY: the array holds 16 elements; these are the first 8.
        unsafe { _mm256_storeu_ps(wide.as_mut_ptr(), low) };
        // SAFETY: the array holds 16 elements; these are the last 8.
        unsafe { _mm256_storeu_ps(wide[REGISTER..].as_mut_ptr(), high) };
        x.copy_from_slice(&wide[..x.len()]);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
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

/// The products of the first `R` rows; returns `R`. 2R sums stay in registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_rows<const R: usize>(
    rows: &[f32],
    stride: usize,
    panel: &[f32],
    dots: &mut [f32],
    first: bool,
) -> usize {
    let depth = panel.len() / GROUP;
    assert!(rows.len() >= (R - 1) * stride + depth && dots.len() >= R * GROUP);
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    if !first {
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [
                load_query(&dots[r * GROUP..]),
                load_query(&dots[r * GROUP + REGISTER..]),
            ];
        }
    }
    for (k, centroids) in panel.as_chunks::<GROUP>().0.iter().enumerate() {
        let c0 = load_query(&centroids[..REGISTER]);
        let c1 = load_query(&centroids[REGISTER..]);
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < depth and r < R, so the element lies inside rows (asserted above).
            let x = _mm256_set1_ps(unsafe { *rows.get_unchecked(r * stride + k) });
            sums[0] = _mm256_fmadd_ps(x, c0, sums[0]);
            sums[1] = _mm256_fmadd_ps(x, c1, sums[1]);
        }
    }
    for (sums, dots) in sums.iter().zip(dots.chunks_exact_mut(GROUP)) {
        // SAFETY: a tile row holds 16 elements; these are the first 8.
        unsafe { _mm256_storeu_ps(dots.as_mut_ptr(), sums[0]) };
        // SAFETY: a tile row holds 16 elements; these are the last 8.
        unsafe { _mm256_storeu_ps(dots[REGISTER..].as_mut_ptr(), sums[1]) };
    }
    R
}

#[target_feature(enable = "avx2,fma,f16c")]
fn fold(dots: &[f32], bias: &[f32], scale: f32, first_label: u32, best: &mut [LaneBest]) {
    fold_lanes(dots, bias, scale, first_label, best);
}
