//! Products of int8 queries with the nibbles of a 4-bit code: see `Kernels::dot_nibbles`.
//!
//! A nibble is 0 to 15 and a query's element at least -128, so two products fit 16 bits.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "loads from raw memory, with lengths that the table checks"
    )
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::super::table::NIBBLE_STEP;

/// Sums one at a time.
pub(in super::super) fn plain(queries: [&[u8]; 2], code: &[u8]) -> [i32; 2] {
    queries.map(|query| {
        let (low, high) = query.split_at(query.len() / 2);
        let terms = code.iter().zip(low.iter().zip(high)).map(|(byte, (low, high))| {
            i32::from(byte & 15) * i32::from(low.cast_signed())
                + i32::from(byte >> 4) * i32::from(high.cast_signed())
        });
        terms.sum()
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(in super::super) fn avx2(queries: [&[u8]; 2], code: &[u8]) -> [i32; 2] {
    const REGISTER: usize = 32;
    let (nibble, one) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let half = queries[0].len() / 2;
    let mut sums = [_mm256_setzero_si256(); 2];
    for (at, bytes) in (0..).step_by(REGISTER).zip(code.chunks(REGISTER)) {
        let mut whole = [0; REGISTER];
        let bytes = if let Some(bytes) = bytes.first_chunk() {
            bytes
        } else {
            whole[..bytes.len()].copy_from_slice(bytes);
            &whole
        };
        // SAFETY: the array holds 32 bytes.
        let codes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        let low = _mm256_and_si256(codes, nibble);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
        for (sum, query) in sums.iter_mut().zip(queries) {
            let (lows, highs) = (&query[at..at + REGISTER], &query[half + at..half + at + REGISTER]);
            // SAFETY: both slices hold 32 bytes.
            let (q_low, q_high) = unsafe {
                (
                    _mm256_loadu_si256(lows.as_ptr().cast()),
                    _mm256_loadu_si256(highs.as_ptr().cast()),
                )
            };
            // Four products: at most 4 * 15 * 128.
            let pairs = _mm256_add_epi16(
                _mm256_maddubs_epi16(low, q_low),
                _mm256_maddubs_epi16(high, q_high),
            );
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, one));
        }
    }
    super::avx2::folded(sums)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn vnni(queries: [&[u8]; 2], code: &[u8]) -> [i32; 2] {
    const REGISTER: usize = NIBBLE_STEP;
    let nibble = _mm512_set1_epi8(15);
    let half = queries[0].len() / 2;
    // Of low and high nibbles apart: they need not wait for each other.
    let mut sums = [[_mm512_setzero_si512(); 2]; 2];
    for (at, bytes) in (0..).step_by(REGISTER).zip(code.chunks(REGISTER)) {
        let mask = u64::MAX >> (REGISTER - bytes.len());
        // SAFETY: the mask reads as many bytes as the chunk holds.
        let codes = unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) };
        let nibbles = [
            _mm512_and_si512(codes, nibble),
            _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble),
        ];
        for (sums, query) in sums.iter_mut().zip(queries) {
            for (part, (sum, nibbles)) in sums.iter_mut().zip(nibbles).enumerate() {
                let steps = &query[part * half + at..part * half + at + REGISTER];
                // SAFETY: the slice holds 64 bytes.
                let steps = unsafe { _mm512_loadu_si512(steps.as_ptr().cast()) };
                *sum = _mm512_dpbusd_epi32(*sum, nibbles, steps);
            }
        }
    }
    super::avx2::folded(sums.map(|[low, high]| {
        let sum = _mm512_add_epi32(low, high);
        _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum))
    }))
}
