//! AVX-512 kernels (F, BW and VL): one register per group of 16 elements, two or four rows at a time in the block
//! kernels.
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
use super::table::{CodeKernels, CosineParts, Kernels};
use super::{
    AHEAD, DOT, F16_MAX, GROUP, L1, LANES, SQUARED_L2, blocks, bounds, codes, encode, halves, prefetch,
    rotate, wide,
};

pub(super) static KERNELS: Kernels = AVX512;

/// The same with kernels for codes of machines that have VNNI too.
pub(super) static KERNELS_VNNI: Kernels = Kernels {
    name: "avx512-vnni",
    blocks: blocks::avx512::KERNELS,
    codes: codes::avx512::KERNELS_VNNI,
    ..AVX512
};

/// The same with kernels for codes of machines that have VNNI, VBMI and VPOPCNTDQ.
pub(super) static KERNELS_VBMI: Kernels = Kernels {
    name: "avx512-vbmi",
    blocks: blocks::avx512::KERNELS,
    codes: codes::avx512::KERNELS_VBMI,
    ..AVX512
};

const AVX512: Kernels = Kernels {
    name: "avx512",
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
    codes: CodeKernels {
        lookup_block: codes::lookup_avx512::by_shuffle,
        ..codes::avx2::KERNELS
    },
    halves: halves::avx512::KERNELS,
    rotate: rotate::avx512::rotate,
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
    tile_width: TILE_WIDTH,
    tile,
    fold,
};

/// Centroids of a tile: two registers.
const TILE_WIDTH: usize = 2 * GROUP;
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn row<const OP: u8, const F16: bool>(query: &[f32], row: &[u8]) -> f32 {
    rows::<OP, F16, 1>(query, row, &[])[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn block<const OP: u8, const F16: bool>(query: &[f32], rows_bytes: &[u8], scores: &mut [f32]) {
    prefetch(&rows_bytes[..AHEAD.min(rows_bytes.len())]);
    let (mut rest, mut left) = (rows_bytes, scores);
    // Four streams of loads suit a page that the caches hold, and long f32 rows; out of memory, two come nearer to a
    // plain read else (measured).
    let long = !F16 && 4 * size_of_val(query) > AHEAD;
    if long || rows_bytes.len() <= AHEAD {
        (rest, left) = groups_of::<OP, F16, 4>(query, rest, left);
    }
    (rest, left) = groups_of::<OP, F16, 2>(query, rest, left);
    if let [last] = left {
        *last = rows::<OP, F16, 1>(query, rest, &[])[0];
    }
}

/// Scores `R` rows at a time; returns what is left of the rows and the scores.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn groups_of<'a, 'b, const OP: u8, const F16: bool, const R: usize>(
    query: &[f32],
    mut rest: &'a [u8],
    scores: &'b mut [f32],
) -> (&'a [u8], &'b mut [f32]) {
    let bytes = R * query.len() * width::<F16>();
    let (groups, left) = scores.as_chunks_mut::<R>();
    for group in groups {
        let (some, tail) = rest.split_at(bytes);
        *group = rows::<OP, F16, R>(query, some, rest.get(AHEAD..).unwrap_or_default());
        rest = tail;
    }
    (rest, left)
}

/// The scores of `R` consecutive rows that fill `rows` exactly; as much of `ahead` is prefetched as is read of `rows`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn rows<const OP: u8, const F16: bool, const R: usize>(query: &[f32], rows: &[u8], ahead: &[u8]) -> [f32; R] {
    let step_bytes = R * LANES * width::<F16>();
    let mut ahead = ahead.chunks_exact(step_bytes);
    let stride = query.len() * width::<F16>();
    debug_assert_eq!(rows.len(), R * stride);
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let mut i = 0;
    while i + LANES <= query.len() {
        if let Some(bytes) = ahead.next() {
            prefetch(bytes);
        }
        let q0 = load_query(&query[i..]);
        let q1 = load_query(&query[i + GROUP..]);
        for (r, sums) in sums.iter_mut().enumerate() {
            let at = r * stride + i * width::<F16>();
            // SAFETY: i + 32 <= query.len(), so both groups end inside row r.
            let (x0, x1) = unsafe { load_pair::<F16>(rows.as_ptr().wrapping_add(at)) };
            sums[0] = step::<OP>(sums[0], q0, x0);
            sums[1] = step::<OP>(sums[1], q1, x1);
        }
        i += LANES;
    }
    // A loop of known length, so that the sums keep to their registers.
    for half in 0..2 {
        if i == query.len() {
            break;
        }
        let count = GROUP.min(query.len() - i);
        let mask = u16::MAX >> (GROUP - count);
        // SAFETY: the mask reads `count` elements, which the query still has at i.
        let q = unsafe { _mm512_maskz_loadu_ps(mask, query.as_ptr().wrapping_add(i)) };
        for (r, sums) in sums.iter_mut().enumerate() {
            let at = r * stride + i * width::<F16>();
            // SAFETY: the mask reads `count` elements, which row r still has at i.
            let x = unsafe { load_masked::<F16>(rows.as_ptr().wrapping_add(at), mask) };
            sums[half] = step::<OP>(sums[half], q, x);
        }
        i += count;
    }
    sums.map(|[even, odd]| folded(_mm512_add_ps(even, odd)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn cosine_parts(a: &[f32], b: &[u8]) -> CosineParts {
    debug_assert_eq!(b.len(), a.len() * width::<false>());
    let mut dot = [_mm512_setzero_ps(); 2];
    let mut norm_a = dot;
    let mut norm_b = dot;
    let mut i = 0;
    while i < a.len() {
        let count = GROUP.min(a.len() - i);
        let mask = u16::MAX >> (GROUP - count);
        // SAFETY: the mask reads `count` elements, which `a` still has at i.
        let x = unsafe { _mm512_maskz_loadu_ps(mask, a.as_ptr().wrapping_add(i)) };
        // SAFETY: the mask reads `count` elements, which `b` still has at i.
        let y = unsafe { load_masked::<false>(b.as_ptr().wrapping_add(i * width::<false>()), mask) };
        dot[0] = _mm512_fmadd_ps(x, y, dot[0]);
        norm_a[0] = _mm512_fmadd_ps(x, x, norm_a[0]);
        norm_b[0] = _mm512_fmadd_ps(y, y, norm_b[0]);
        // The other half's turn; which is which does not matter to the fold.
        dot.swap(0, 1);
        norm_a.swap(0, 1);
        norm_b.swap(0, 1);
        i += count;
    }
    CosineParts {
        dot: folded(_mm512_add_ps(dot[0], dot[1])),
        norm_sq_a: folded(_mm512_add_ps(norm_a[0], norm_a[1])),
        norm_sq_b: folded(_mm512_add_ps(norm_b[0], norm_b[1])),
    }
}

const fn width<const F16: bool>() -> usize {
    if F16 { 2 } else { 4 }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_query(query: &[f32]) -> __m512 {
    let group: &[f32; GROUP] = query[..GROUP].try_into().expect("a slice of GROUP elements");
    // SAFETY: the array holds 16 elements.
    unsafe { _mm512_loadu_ps(group.as_ptr()) }
}

/// Loads 32 elements.
///
/// # Safety
/// 32 encoded elements are readable at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn load_pair<const F16: bool>(at: *const u8) -> (__m512, __m512) {
    if F16 {
        // SAFETY: the caller's: the first 16 of 32 elements.
        let low = unsafe { _mm256_loadu_si256(at.cast()) };
        // SAFETY: the caller's: the last 16 of 32 elements.
        let high = unsafe { _mm256_loadu_si256(at.wrapping_add(32).cast()) };
        (_mm512_cvtph_ps(low), _mm512_cvtph_ps(high))
    } else {
        // SAFETY: the caller's: the first 16 of 32 elements.
        let low = unsafe { _mm512_loadu_ps(at.cast()) };
        // SAFETY: the caller's: the last 16 of 32 elements.
        let high = unsafe { _mm512_loadu_ps(at.wrapping_add(64).cast()) };
        (low, high)
    }
}

/// Loads the elements whose bits are set, zero elsewhere.
///
/// # Safety
/// The elements whose bits are set are readable at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn load_masked<const F16: bool>(at: *const u8, mask: u16) -> __m512 {
    if F16 {
        // SAFETY: the caller's.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) })
    } else {
        // SAFETY: the caller's.
        unsafe { _mm512_maskz_loadu_ps(mask, at.cast()) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn step<const OP: u8>(sum: __m512, q: __m512, x: __m512) -> __m512 {
    match OP {
        SQUARED_L2 => {
            let difference = _mm512_sub_ps(q, x);
            _mm512_fmadd_ps(difference, difference, sum)
        }
        DOT => _mm512_fmadd_ps(q, x, sum),
        _ => _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(q, x))),
    }
}

/// Folds 16 partial sums in halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn folded(sums: __m512) -> f32 {
    let high = _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0b1110>(sums, sums));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(sums), high);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn encode_i8(x: &[f32], codes: &mut [u8]) -> f32 {
    encode::int8(x, codes)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn decode_i8(codes: &[u8], scale: f32, x: &mut [f32]) {
    encode::from_int8(codes, scale, x);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn encode_bits(x: &[f32], codes: &mut [u8]) {
    encode::bits(x, codes);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn encode_residual(w: &[f32], c: &[f32], digits: &mut [u8]) -> ResidualProducts {
    encode::residual::<true>(w, c, digits)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn square(a: &[f32]) -> f64 {
    wide::square(a)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add(sums: &mut [f64], a: &[f32], weight: f64) {
    wide::add(sums, a, weight);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn scale(x: &mut [f32], factor: f64) {
    wide::scale(x, factor);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn subtract(x: &mut [f32], a: &[f32], weight: f32) {
    wide::subtract(x, a, weight);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn screen_block(terms: &ScreenTerms, rows: &ScreenRows<'_>) -> u16 {
    screen::screen_block(terms, rows)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn bound_block(terms: &BoundTerms, rows: &BoundRows<'_>, cut: f32, bounds: &mut BoundLanes) -> Near {
    let sound = bounds::raw_bounds(terms, rows, bounds);
    if terms.kind == BoundKind::Product {
        bounds::products(terms, rows.norm_sq, bounds);
    }
    // SAFETY: the array holds 16 floats.
    let mut all = unsafe { _mm512_loadu_ps(bounds.as_ptr()) };
    if terms.kind != BoundKind::Product {
        all = _mm512_max_ps(all, _mm512_setzero_ps());
    }
    if terms.kind == BoundKind::Root {
        all = _mm512_sqrt_ps(all);
    }
    // SAFETY: the array holds 16 floats.
    unsafe { _mm512_storeu_ps(bounds.as_mut_ptr(), all) };
    let rows = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(all, _mm512_set1_ps(cut));
    Near { rows, sound }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn encode_f16(x: &[f32], codes: &mut [u8]) {
    let (groups, tail) = x.as_chunks::<GROUP>();
    let (full, rest) = codes.split_at_mut(size_of_val(groups) / 2);
    for (x, codes) in groups.iter().zip(full.as_chunks_mut::<{ 2 * GROUP }>().0) {
        // SAFETY: the array holds 32 bytes.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), encoded(load_query(x))) };
    }
    if !tail.is_empty() {
        // Apart, because some machines take many cycles over a masked store.
        let mask = u16::MAX >> (GROUP - tail.len());
        // SAFETY: the mask reads tail.len() elements.
        let code = encoded(unsafe { _mm512_maskz_loadu_ps(mask, tail.as_ptr()) });
        // SAFETY: the mask writes as many codes as the tail has elements, and rest has 2 bytes for each (the table checks).
        unsafe { _mm256_mask_storeu_epi16(rest.as_mut_ptr().cast(), mask, code) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn encoded(x: __m512) -> __m256i {
    // The second operand is the result when either is NaN.
    let clamped = _mm512_min_ps(
        _mm512_set1_ps(F16_MAX),
        _mm512_max_ps(_mm512_set1_ps(-F16_MAX), x),
    );
    _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(clamped)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn decode_f16(codes: &[u8], x: &mut [f32]) {
    let (groups, tail) = x.as_chunks_mut::<GROUP>();
    let (full, rest) = codes.split_at(size_of_val(groups) / 2);
    for (codes, x) in full.as_chunks::<{ 2 * GROUP }>().0.iter().zip(groups) {
        // SAFETY: the array holds 16 codes.
        let wide = _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) });
        // SAFETY: the array holds 16 elements.
        unsafe { _mm512_storeu_ps(x.as_mut_ptr(), wide) };
    }
    if !tail.is_empty() {
        let mask = u16::MAX >> (GROUP - tail.len());
        // SAFETY: the mask reads as many codes as the tail has elements; rest has 2 bytes for each (the table checks).
        let wide = unsafe { load_masked::<true>(rest.as_ptr(), mask) };
        // SAFETY: the mask writes tail.len() elements.
        unsafe { _mm512_mask_storeu_ps(tail.as_mut_ptr(), mask, wide) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn tile(rows: &[f32], stride: usize, panel: &[f32], dots: &mut [f32], first: bool) {
    let mut rows = rows;
    let mut dots = dots;
    while !dots.is_empty() {
        let count = dots.len() / TILE_WIDTH;
        let taken = match count {
            12.. => tile_rows::<12>(rows, stride, panel, dots, first),
            8.. => tile_rows::<8>(rows, stride, panel, dots, first),
            4.. => tile_rows::<4>(rows, stride, panel, dots, first),
            2.. => tile_rows::<2>(rows, stride, panel, dots, first),
            _ => tile_rows::<1>(rows, stride, panel, dots, first),
        };
        dots = &mut dots[taken * TILE_WIDTH..];
        rows = rows.get(taken * stride..).unwrap_or_default();
    }
}

/// The products of the first `R` rows; returns `R`. 2R sums stay in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn tile_rows<const R: usize>(
    rows: &[f32],
    stride: usize,
    panel: &[f32],
    dots: &mut [f32],
    first: bool,
) -> usize {
    let depth = panel.len() / TILE_WIDTH;
    assert!(rows.len() >= (R - 1) * stride + depth && dots.len() >= R * TILE_WIDTH);
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    if !first {
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [
                load_query(&dots[r * TILE_WIDTH..]),
                load_query(&dots[r * TILE_WIDTH + GROUP..]),
            ];
        }
    }
    for (k, centroids) in panel.as_chunks::<TILE_WIDTH>().0.iter().enumerate() {
        let c0 = load_query(&centroids[..GROUP]);
        let c1 = load_query(&centroids[GROUP..]);
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < depth and r < R, so the element lies inside rows (asserted above).
            let x = _mm512_set1_ps(unsafe { *rows.get_unchecked(r * stride + k) });
            sums[0] = _mm512_fmadd_ps(x, c0, sums[0]);
            sums[1] = _mm512_fmadd_ps(x, c1, sums[1]);
        }
    }
    for (sums, dots) in sums.iter().zip(dots.chunks_exact_mut(TILE_WIDTH)) {
        // SAFETY: a tile row holds 32 elements; these are the first 16.
        unsafe { _mm512_storeu_ps(dots.as_mut_ptr(), sums[0]) };
        // SAFETY: a tile row holds 32 elements; these are the last 16.
        unsafe { _mm512_storeu_ps(dots[GROUP..].as_mut_ptr(), sums[1]) };
    }
    R
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn fold(dots: &[f32], bias: &[f32], scale: f32, first_label: u32, best: &mut [LaneBest]) {
    let (b0, b1) = (load_query(bias), load_query(&bias[GROUP..]));
    let scale = _mm512_set1_ps(scale);
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let l0 = _mm512_add_epi32(lanes, _mm512_set1_epi32(first_label.cast_signed()));
    let l1 = _mm512_add_epi32(l0, _mm512_set1_epi32(16));
    for (dots, best) in dots.chunks_exact(TILE_WIDTH).zip(best) {
        // The scale is a power of two, so that the fused operation rounds as the separate ones of `fold_lanes` do.
        let s0 = _mm512_fmadd_ps(scale, load_query(dots), b0);
        let s1 = _mm512_fmadd_ps(scale, load_query(&dots[GROUP..]), b1);
        let mut score = load_query(&best.score);
        // SAFETY: the array holds 16 labels.
        let mut label = unsafe { _mm512_loadu_si512(best.label.as_ptr().cast()) };
        for (s, l) in [(s0, l0), (s1, l1)] {
            let better = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(s, score);
            score = _mm512_mask_mov_ps(score, better, s);
            label = _mm512_mask_mov_epi32(label, better, l);
        }
        // SAFETY: the array holds 16 scores.
        unsafe { _mm512_storeu_ps(best.score.as_mut_ptr(), score) };
        // SAFETY: the array holds 16 labels.
        unsafe { _mm512_storeu_si512(best.label.as_mut_ptr().cast(), label) };
    }
}
