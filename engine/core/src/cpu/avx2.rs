//! AVX2, FMA and F16C kernels: two registers per group of 16 elements, two rows at a time in the block kernels.
//!
//! Invariant: the module's order of summation (see `cpu`); several rows at a time only interleave independent sums.
#![expect(
    unsafe_code,
    reason = "loads from and stores to raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::bounds::{BoundKind, BoundLanes, BoundRows, BoundTerms, Near};
use super::encode::ResidualProducts;
use super::nearest::LaneBest;
use super::screen::{self, ScreenRows, ScreenTerms};
use super::table::{CosineParts, Kernels};
use super::{
    AHEAD, DOT, F16_MAX, GROUP, L1, LANES, SQUARED_L2, blocks, bounds, codes, encode, halves, prefetch,
    rotate, wide,
};

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
    l1_f32_block: block::<L1, false>,
    l1_f16_block: block::<L1, true>,
    blocks: blocks::avx2::KERNELS,
    codes: codes::avx2::KERNELS,
    halves: halves::avx2::KERNELS,
    rotate: rotate::avx2::rotate,
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
pub(super) const REGISTER: usize = 8;
/// Sliding over it gives the mask of any number of leading elements.
static MASKS: [i32; 2 * GROUP] = {
    let mut masks = [0; 2 * GROUP];
    let mut i = 0;
    while i < GROUP {
        masks[i] = -1;
        i += 1;
    }
    masks
};

#[target_feature(enable = "avx2,fma,f16c")]
fn row<const OP: u8, const F16: bool>(query: &[f32], row: &[u8]) -> f32 {
    rows::<OP, F16, 1>(query, row, &[])[0]
}

#[target_feature(enable = "avx2,fma,f16c")]
fn block<const OP: u8, const F16: bool>(query: &[f32], rows_bytes: &[u8], scores: &mut [f32]) {
    let bytes = query.len() * width::<F16>();
    prefetch(&rows_bytes[..AHEAD.min(rows_bytes.len())]);
    let mut rest = rows_bytes;
    let mut pairs = scores.chunks_exact_mut(2);
    for pair in &mut pairs {
        let ahead = rest.get(AHEAD..).unwrap_or_default();
        pair.copy_from_slice(&rows::<OP, F16, 2>(query, rest, ahead));
        rest = &rest[2 * bytes..];
    }
    if let [last] = pairs.into_remainder() {
        *last = rows::<OP, F16, 1>(query, rest, &[])[0];
    }
}

/// The scores of the first `R` of `rows`; as much of `ahead` is prefetched as is read of `rows`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rows<const OP: u8, const F16: bool, const R: usize>(query: &[f32], rows: &[u8], ahead: &[u8]) -> [f32; R] {
    let mut ahead = ahead.chunks_exact(R * LANES * width::<F16>());
    let stride = query.len() * width::<F16>();
    assert!(rows.len() >= R * stride);
    let mut sums = [[_mm256_setzero_ps(); LANES / REGISTER]; R];
    let mut i = 0;
    while i + LANES <= query.len() {
        if let Some(bytes) = ahead.next() {
            prefetch(bytes);
        }
        for part in 0..LANES / REGISTER {
            // SAFETY: i + 32 <= query.len(), and a part of it starts at a multiple of 8 below 32.
            let q = unsafe { _mm256_loadu_ps(query.as_ptr().wrapping_add(i + part * REGISTER)) };
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
    for part in [0, 2] {
        if i == query.len() {
            break;
        }
        let count = GROUP.min(query.len() - i);
        let q = load_padded::<false>(bytemuck::cast_slice(&query[i..i + count]), count);
        // What lies behind a row, the next one nearly always, is read with it and masked away.
        let readable = rows.len() >= (R - 1) * stride + (i + GROUP) * width::<F16>();
        for (r, sums) in sums.iter_mut().enumerate() {
            let at = r * stride + i * width::<F16>();
            let x = if F16 && readable {
                // SAFETY: 16 elements from i on are there for the last of the R rows, so for all of them.
                unsafe { load_masked(rows.as_ptr().wrapping_add(at), count) }
            } else {
                load_padded::<F16>(&rows[at..], count)
            };
            sums[part] = step::<OP>(sums[part], q.0, x.0);
            sums[part + 1] = step::<OP>(sums[part + 1], q.1, x.1);
        }
        i += count;
    }
    sums.map(|sums| folded(sums))
}

/// Three passes over vectors that the first one brings into the cache: twelve sums would not stay in 16 registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn cosine_parts(a: &[f32], b: &[u8]) -> CosineParts {
    CosineParts {
        dot: rows::<DOT, false, 1>(a, b, &[])[0],
        norm_sq_a: rows::<DOT, false, 1>(a, bytemuck::cast_slice(a), &[])[0],
        norm_sq_b: norm_squared(b),
    }
}

/// The product of a row, of any alignment, with itself.
#[target_feature(enable = "avx2,fma,f16c")]
fn norm_squared(row: &[u8]) -> f32 {
    let dims = row.len() / width::<false>();
    let mut sums = [_mm256_setzero_ps(); LANES / REGISTER];
    let mut i = 0;
    while i + LANES <= dims {
        for (part, sum) in sums.iter_mut().enumerate() {
            let at = (i + part * REGISTER) * width::<false>();
            // SAFETY: i + 32 <= dims, and a part of it starts at a multiple of 8 below 32.
            let x = unsafe { load::<false>(row.as_ptr().wrapping_add(at)) };
            *sum = step::<DOT>(*sum, x, x);
        }
        i += LANES;
    }
    for part in [0, 2] {
        if i == dims {
            break;
        }
        let count = GROUP.min(dims - i);
        let x = load_padded::<false>(&row[i * width::<false>()..], count);
        sums[part] = step::<DOT>(sums[part], x.0, x.0);
        sums[part + 1] = step::<DOT>(sums[part + 1], x.1, x.1);
        i += count;
    }
    folded(sums)
}

const fn width<const F16: bool>() -> usize {
    if F16 { 2 } else { 4 }
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
pub(super) unsafe fn load<const F16: bool>(at: *const u8) -> __m256 {
    if F16 {
        // SAFETY: the caller's.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
    } else {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_ps(at.cast()) }
    }
}

/// Loads the first `count` (1 to 16) elements of `bytes`, zero beyond them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load_padded<const F16: bool>(bytes: &[u8], count: usize) -> (__m256, __m256) {
    assert!(bytes.len() >= count * width::<F16>());
    if F16 {
        let mut padded = [0u8; GROUP * 2];
        padded[..count * 2].copy_from_slice(&bytes[..count * 2]);
        // SAFETY: the array holds 16 elements.
        return unsafe { load_masked(padded.as_ptr(), count) };
    }
    let (low_mask, high_mask) = leading(count);
    let at = bytes.as_ptr().cast::<f32>();
    // SAFETY: the masks read only the first `count` elements, which are there (asserted above).
    let low = unsafe { _mm256_maskload_ps(at, low_mask) };
    // SAFETY: as above.
    let high = unsafe { _mm256_maskload_ps(at.wrapping_add(REGISTER), high_mask) };
    (low, high)
}

/// Loads 16 f16 elements, and keeps the first `count` (1 to 16) of them.
///
/// # Safety
/// 16 encoded elements are readable at `at`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_masked(at: *const u8, count: usize) -> (__m256, __m256) {
    let (low_mask, high_mask) = leading(count);
    // SAFETY: the caller's: the first 8 of 16 elements.
    let low = unsafe { load::<true>(at) };
    // SAFETY: the caller's: the last 8 of 16 elements.
    let high = unsafe { load::<true>(at.wrapping_add(GROUP)) };
    (
        _mm256_and_ps(low, _mm256_castsi256_ps(low_mask)),
        _mm256_and_ps(high, _mm256_castsi256_ps(high_mask)),
    )
}

/// The masks of the first `count` (at most 16) elements of two registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn leading(count: usize) -> (__m256i, __m256i) {
    let masks: &[i32; GROUP] = MASKS[GROUP - count..][..GROUP]
        .try_into()
        .expect("a window of GROUP masks");
    // SAFETY: the array holds 16 masks; these are the first 8.
    let low = unsafe { _mm256_loadu_si256(masks.as_ptr().cast()) };
    // SAFETY: the array holds 16 masks; these are the last 8.
    let high = unsafe { _mm256_loadu_si256(masks[REGISTER..].as_ptr().cast()) };
    (low, high)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn step<const OP: u8>(sum: __m256, q: __m256, x: __m256) -> __m256 {
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
pub(super) fn folded(sums: [__m256; 4]) -> f32 {
    let eight = _mm256_add_ps(_mm256_add_ps(sums[0], sums[2]), _mm256_add_ps(sums[1], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn encode_i8(x: &[f32], codes: &mut [u8]) -> f32 {
    encode::int8(x, codes)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn decode_i8(codes: &[u8], scale: f32, x: &mut [f32]) {
    encode::from_int8(codes, scale, x);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn encode_bits(x: &[f32], codes: &mut [u8]) {
    encode::bits(x, codes);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn encode_residual(w: &[f32], c: &[f32], digits: &mut [u8]) -> ResidualProducts {
    encode::residual::<true>(w, c, digits)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn square(a: &[f32]) -> f64 {
    wide::square(a)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add(sums: &mut [f64], a: &[f32], weight: f64) {
    wide::add(sums, a, weight);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn scale(x: &mut [f32], factor: f64) {
    wide::scale(x, factor);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn subtract(x: &mut [f32], a: &[f32], weight: f32) {
    wide::subtract(x, a, weight);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn screen_block(terms: &ScreenTerms, rows: &ScreenRows<'_>) -> u16 {
    screen::screen_block(terms, rows)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn bound_block(terms: &BoundTerms, rows: &BoundRows<'_>, cut: f32, bounds: &mut BoundLanes) -> Near {
    let sound = bounds::raw_bounds(terms, rows, bounds);
    if terms.kind == BoundKind::Product {
        bounds::products(terms, rows.norm_sq, bounds);
    }
    let mut near = 0;
    for (half, bounds) in bounds.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // SAFETY: the array holds 8 floats.
        let mut eight = unsafe { _mm256_loadu_ps(bounds.as_ptr()) };
        if terms.kind != BoundKind::Product {
            eight = _mm256_max_ps(eight, _mm256_setzero_ps());
        }
        if terms.kind == BoundKind::Root {
            eight = _mm256_sqrt_ps(eight);
        }
        // SAFETY: the array holds 8 floats.
        unsafe { _mm256_storeu_ps(bounds.as_mut_ptr(), eight) };
        let below = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(eight, _mm256_set1_ps(cut)));
        near |= below.cast_unsigned() << (8 * half);
    }
    let rows = u16::try_from(near).expect("two masks of 8 bits");
    Near { rows, sound }
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
        let (low, high) = load_padded::<true>(codes, x.len());
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
    let scale = _mm256_set1_ps(scale);
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let low = _mm256_add_epi32(lanes, _mm256_set1_epi32(first_label.cast_signed()));
    let labels = [low, _mm256_add_epi32(low, _mm256_set1_epi32(8))];
    for (part, new) in labels.into_iter().enumerate() {
        let at = part * REGISTER;
        let bias = load_query(&bias[at..]);
        for (dots, best) in dots.chunks_exact(GROUP).zip(&mut *best) {
            // The scale is a power of two, so that the fused operation rounds as the separate ones of `fold_lanes` do.
            let s = _mm256_fmadd_ps(scale, load_query(&dots[at..]), bias);
            let score = load_query(&best.score[at..]);
            // SAFETY: the array holds 16 labels; these are 8 from 0 or 8 on.
            let label = unsafe { _mm256_loadu_si256(best.label[at..].as_ptr().cast()) };
            let better = _mm256_cmp_ps::<_CMP_LT_OQ>(s, score);
            let score = _mm256_blendv_ps(score, s, better);
            let label = _mm256_blendv_epi8(label, new, _mm256_castps_si256(better));
            // SAFETY: the array holds 16 scores; these are 8 from 0 or 8 on.
            unsafe { _mm256_storeu_ps(best.score[at..].as_mut_ptr(), score) };
            // SAFETY: the array holds 16 labels; these are 8 from 0 or 8 on.
            unsafe { _mm256_storeu_si256(best.label[at..].as_mut_ptr().cast(), label) };
        }
    }
}
