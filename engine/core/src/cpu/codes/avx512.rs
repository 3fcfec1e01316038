//! AVX-512 kernels for codes, with VNNI (sums of four byte products), VBMI (bytes moved at will) and VPOPCNTDQ
//! (bit counts): Ice Lake, Zen 4 and later. Machines with AVX-512 but without these use the AVX2 ones.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::super::table::CodeKernels;
use super::super::{AHEAD, prefetch};
use super::{AND, DOT, HAMMING, ROWS, SQUARED_L2};

pub(in super::super) const KERNELS: CodeKernels = CodeKernels {
    dot_i8: row::<DOT>,
    squared_l2_i8: row::<SQUARED_L2>,
    hamming: row::<HAMMING>,
    and_count: row::<AND>,
    dot_i8_block: block::<DOT>,
    dot_i8_pair_block: pair_block,
    squared_l2_i8_block: block::<SQUARED_L2>,
    hamming_block: block::<HAMMING>,
    and_count_block: block::<AND>,
    lookup_block: super::lookup_avx512::by_permutation,
    dot_nibbles: super::nibbles::vnni,
};

/// Bytes of a register.
const REGISTER: usize = 64;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn row<const OP: u8>(query: &[u8], row: &[u8]) -> i32 {
    rows::<OP, 1>(query, row, &[])[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn block<const OP: u8>(query: &[u8], rows_bytes: &[u8], scores: &mut [i32]) {
    prefetch(&rows_bytes[..AHEAD.min(rows_bytes.len())]);
    let mut rest = rows_bytes;
    let (quads, left) = scores.as_chunks_mut::<ROWS>();
    for quad in quads {
        let (four, tail) = rest.split_at(ROWS * query.len());
        *quad = rows::<OP, ROWS>(query, four, rest.get(AHEAD..).unwrap_or_default());
        rest = tail;
    }
    for score in left {
        let (one, tail) = rest.split_at(query.len());
        *score = rows::<OP, 1>(query, one, &[])[0];
        rest = tail;
    }
}

/// The scores of `R` consecutive rows that fill `rows` exactly; as much of `ahead` is prefetched as is read of `rows`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn pair_block(queries: [&[u8]; 2], rows_bytes: &[u8], scores: &mut [[i32; 2]]) {
    let stride = queries[0].len();
    prefetch(&rows_bytes[..AHEAD.min(rows_bytes.len())]);
    let mut rest = rows_bytes;
    let (quads, left) = scores.as_chunks_mut::<ROWS>();
    for quad in quads {
        let (four, tail) = rest.split_at(ROWS * stride);
        *quad = pairs::<ROWS>(queries, four, rest.get(AHEAD..).unwrap_or_default());
        rest = tail;
    }
    for score in left {
        let (one, tail) = rest.split_at(stride);
        [*score] = pairs::<1>(queries, one, &[]);
        rest = tail;
    }
}

/// The products of `R` consecutive rows that fill `rows` exactly with two queries; as much of `ahead` is prefetched as
/// is read of `rows`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
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

/// Loads the bytes whose bits are set, zero elsewhere.
///
/// # Safety
/// The bytes whose bits are set are readable at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
unsafe fn load(at: *const u8, mask: u64) -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_maskz_loadu_epi8(mask, at.cast()) }
}

/// Adds the terms of 64 bytes to 16 sums of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn step<const OP: u8>(sum: __m512i, q: __m512i, x: __m512i) -> __m512i {
    match OP {
        DOT => _mm512_dpbusd_epi32(sum, _mm512_xor_si512(x, _mm512_set1_epi8(-128)), q),
        SQUARED_L2 => {
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
        HAMMING => _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(q, x))),
        _ => _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_and_si512(q, x))),
    }
}

/// The totals of up to four registers of 16 sums, folded together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn folded<const R: usize>(sums: [__m512i; R]) -> [i32; R] {
    let eight =
        sums.map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)));
    super::avx2::folded(eight)
}
