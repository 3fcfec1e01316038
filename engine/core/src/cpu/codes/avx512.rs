//! AVX-512 kernels for codes, with VNNI (sums of four byte products): Cascade Lake, Cooper Lake; and with VBMI (bytes
//! moved at will) and VPOPCNTDQ (bit counts) too: Ice Lake, Zen 4 and later. Machines with AVX-512 but without VNNI use
//! the AVX2 ones.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::super::table::CodeKernels;
use super::super::{AHEAD, prefetch};
use super::{AND, DOT, HAMMING, ROWS, SQUARED_L2, avx2};

/// Bits are counted as AVX2 does it.
pub(in super::super) const KERNELS_VNNI: CodeKernels = CodeKernels {
    dot_i8: row::<DOT>,
    squared_l2_i8: row::<SQUARED_L2>,
    dot_i8_block: block::<DOT>,
    dot_i8_pair_block: pair_block,
    squared_l2_i8_block: block::<SQUARED_L2>,
    lookup_block: super::lookup_avx512::by_shuffle,
    dot_nibbles: super::nibbles::vnni,
    ..avx2::KERNELS
};

pub(in super::super) const KERNELS_VBMI: CodeKernels = CodeKernels {
    hamming: count_row::<HAMMING>,
    and_count: count_row::<AND>,
    hamming_block: count_block::<HAMMING>,
    and_count_block: count_block::<AND>,
    lookup_block: super::lookup_avx512::by_permutation,
    ..KERNELS_VNNI
};

/// Bytes of a register.
const REGISTER: usize = 64;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn row<const OP: u8>(query: &[u8], row: &[u8]) -> i32 {
    rows::<OP, 1>(query, row, &[])[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn block<const OP: u8>(query: &[u8], rows_bytes: &[u8], scores: &mut [i32]) {
    in_fours(
        query.len(),
        rows_bytes,
        scores,
        |four, ahead| rows::<OP, ROWS>(query, four, ahead),
        |one| rows::<OP, 1>(query, one, &[]),
    );
}

/// Scores rows four at a time, given them and what lies [`AHEAD`] of their start, and those that are left one at a time.
/// It asks for no instruction set, so that kernels compiled for different ones can inline it.
#[inline]
fn in_fours<T>(
    stride: usize,
    rows_bytes: &[u8],
    scores: &mut [T],
    four: impl Fn(&[u8], &[u8]) -> [T; ROWS],
    one: impl Fn(&[u8]) -> [T; 1],
) {
    prefetch(&rows_bytes[..AHEAD.min(rows_bytes.len())]);
    let mut rest = rows_bytes;
    let (quads, left) = scores.as_chunks_mut::<ROWS>();
    for quad in quads {
        let (rows, tail) = rest.split_at(ROWS * stride);
        *quad = four(rows, rest.get(AHEAD..).unwrap_or_default());
        rest = tail;
    }
    for score in left {
        let (row, tail) = rest.split_at(stride);
        [*score] = one(row);
        rest = tail;
    }
}

/// The scores of `R` consecutive rows that fill `rows` exactly; as much of `ahead` is prefetched as is read of `rows`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rows<const OP: u8, const R: usize>(query: &[u8], rows: &[u8], ahead: &[u8]) -> [i32; R] {
    let stride = query.len();
    debug_assert_eq!(rows.len(), R * stride);
    let mut ahead = ahead.chunks(R * REGISTER);
    let mut sums = [_mm512_setzero_si512(); R];
    let mut query_sum = _mm512_setzero_si512();
    let mut i = 0;
    while i < stride {
        if let Some(bytes) = ahead.next() {
            prefetch(bytes);
        }
        let count = REGISTER.min(stride - i);
        let mask = u64::MAX >> (REGISTER - count);
        // SAFETY: the mask reads `count` bytes, which the query still has at i.
        let q = unsafe { load(query.as_ptr().wrapping_add(i), mask) };
        if OP == DOT {
            query_sum = _mm512_dpbusd_epi32(query_sum, _mm512_set1_epi8(1), q);
        }
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the mask reads `count` bytes, which row r still has at i.
            let x = unsafe { load(rows.as_ptr().wrapping_add(r * stride + i), mask) };
            *sum = step::<OP>(*sum, q, x);
        }
        i += count;
    }
    if OP == DOT {
        // The rows were offset to make them unsigned: sum((x + 128) q) = sum(x q) + 128 sum(q).
        let offset = _mm512_slli_epi32::<7>(query_sum);
        sums = sums.map(|sum| _mm512_sub_epi32(sum, offset));
    }
    folded(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pair_block(queries: [&[u8]; 2], rows_bytes: &[u8], scores: &mut [[i32; 2]]) {
    in_fours(
        queries[0].len(),
        rows_bytes,
        scores,
        |four, ahead| pairs::<ROWS>(queries, four, ahead),
        |one| pairs::<1>(queries, one, &[]),
    );
}

/// The products of `R` consecutive rows that fill `rows` exactly with two queries; as much of `ahead` is prefetched as
/// is read of `rows`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pairs<const R: usize>(queries: [&[u8]; 2], rows: &[u8], ahead: &[u8]) -> [[i32; 2]; R] {
    let stride = queries[0].len();
    debug_assert!(rows.len() == R * stride && queries[1].len() == stride);
    let mut ahead = ahead.chunks(R * REGISTER);
    let mut sums = [[_mm512_setzero_si512(); R]; 2];
    let mut query_sums = [_mm512_setzero_si512(); 2];
    let mut i = 0;
    while i < stride {
        if let Some(bytes) = ahead.next() {
            prefetch(bytes);
        }
        let count = REGISTER.min(stride - i);
        let mask = u64::MAX >> (REGISTER - count);
        // SAFETY: the mask reads `count` bytes, which both queries still have at i.
        let q = queries.map(|query| unsafe { load(query.as_ptr().wrapping_add(i), mask) });
        for (sum, q) in query_sums.iter_mut().zip(q) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi8(1), q);
        }
        for r in 0..R {
            // SAFETY: the mask reads `count` bytes, which row r still has at i.
            let x = unsafe { load(rows.as_ptr().wrapping_add(r * stride + i), mask) };
            for (sums, q) in sums.iter_mut().zip(q) {
                sums[r] = step::<DOT>(sums[r], q, x);
            }
        }
        i += count;
    }
    let mut totals = [[0; R]; 2];
    for ((totals, sums), query_sum) in totals.iter_mut().zip(sums).zip(query_sums) {
        // As in `rows`: the rows were offset to make them unsigned.
        let offset = _mm512_slli_epi32::<7>(query_sum);
        *totals = folded(sums.map(|sum| _mm512_sub_epi32(sum, offset)));
    }
    std::array::from_fn(|r| [totals[0][r], totals[1][r]])
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
fn count_row<const OP: u8>(query: &[u8], row: &[u8]) -> i32 {
    counts::<OP, 1>(query, row, &[])[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
fn count_block<const OP: u8>(query: &[u8], rows_bytes: &[u8], scores: &mut [i32]) {
    in_fours(
        query.len(),
        rows_bytes,
        scores,
        |four, ahead| counts::<OP, ROWS>(query, four, ahead),
        |one| counts::<OP, 1>(query, one, &[]),
    );
}

/// The scores of `R` rows as [`rows`] computes them, of the bits that differ or that both codes have. Apart from it
/// because a function is compiled for one set of instructions, and int8 codes must do without VPOPCNTDQ.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
fn counts<const OP: u8, const R: usize>(query: &[u8], rows: &[u8], ahead: &[u8]) -> [i32; R] {
    let stride = query.len();
    debug_assert_eq!(rows.len(), R * stride);
    let mut ahead = ahead.chunks(R * REGISTER);
    let mut sums = [_mm512_setzero_si512(); R];
    let mut i = 0;
    while i < stride {
        if let Some(bytes) = ahead.next() {
            prefetch(bytes);
        }
        let count = REGISTER.min(stride - i);
        let mask = u64::MAX >> (REGISTER - count);
        // SAFETY: the mask reads `count` bytes, which the query still has at i.
        let q = unsafe { load(query.as_ptr().wrapping_add(i), mask) };
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the mask reads `count` bytes, which row r still has at i.
            let x = unsafe { load(rows.as_ptr().wrapping_add(r * stride + i), mask) };
            let bits = match OP {
                HAMMING => _mm512_xor_si512(q, x),
                _ => _mm512_and_si512(q, x),
            };
            *sum = _mm512_add_epi32(*sum, _mm512_popcnt_epi32(bits));
        }
        i += count;
    }
    folded(sums)
}

/// Loads the bytes whose bits are set, zero elsewhere.
///
/// # Safety
/// The bytes whose bits are set are readable at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load(at: *const u8, mask: u64) -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_maskz_loadu_epi8(mask, at.cast()) }
}

/// Adds the terms of 64 bytes to 16 sums of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn step<const OP: u8>(sum: __m512i, q: __m512i, x: __m512i) -> __m512i {
    match OP {
        DOT => _mm512_dpbusd_epi32(sum, _mm512_xor_si512(x, _mm512_set1_epi8(-128)), q),
        _ => {
            // Bytes offset by 128 are unsigned, and have the same differences.
            let offset = _mm512_set1_epi8(-128);
            let (q, x) = (_mm512_xor_si512(q, offset), _mm512_xor_si512(x, offset));
            let difference = _mm512_or_si512(_mm512_subs_epu8(q, x), _mm512_subs_epu8(x, q));
            let zero = _mm512_setzero_si512();
            let (low, high) = (
                _mm512_unpacklo_epi8(difference, zero),
                _mm512_unpackhi_epi8(difference, zero),
            );
            _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sum, low, low), high, high)
        }
    }
}

/// The totals of up to four registers of 16 sums, folded together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn folded<const R: usize>(sums: [__m512i; R]) -> [i32; R] {
    let eight =
        sums.map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)));
    avx2::folded(eight)
}
