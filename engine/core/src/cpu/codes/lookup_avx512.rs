//! AVX-512 kernels for blocks of 1-bit codes: see `Kernels::lookup_block`.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::super::ahead::Ahead;
use super::super::table::{LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_LINES, LOOKUP_QUAD, LOOKUP_ROWS};

/// Bytes of a register.
const REGISTER: usize = 64;

/// Quads of code bytes whose looked up bytes fit 16-bit sums: each adds two bytes to a sum. An even number.
const QUADS_IN_16_BITS: usize = 128;

/// With F and BW: a quarter of a register looks into one table, for one byte of 16 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in super::super) fn by_shuffle(
    tables: &[u8],
    block: &[u8],
    sums: &mut [u32; LOOKUP_ROWS],
    mut ahead: Ahead,
) {
    sums.fill(0);
    let tables = tables.chunks(QUADS_IN_16_BITS * LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, block) in tables.zip(block.chunks(QUADS_IN_16_BITS * LOOKUP_QUAD * LOOKUP_ROWS)) {
        let [low, high] = shuffled(tables, block, &mut ahead);
        for ((sum, low), high) in sums.iter_mut().zip(low).zip(high) {
            *sum += low + (high << LOOKUP_BITS);
        }
    }
}

/// The sums of the low and of the high bytes for each row, of at most `QUADS_IN_16_BITS` quads.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn shuffled(tables: &[u8], block: &[u8], ahead: &mut Ahead) -> [[u32; LOOKUP_ROWS]; 2] {
    let nibble = _mm512_set1_epi8(15);
    // Of the low and of the high bytes: the sums of the even rows in 16 bits, which the odd rows' bytes overlap, and
    // those of the odd rows alone.
    let mut both = [_mm512_setzero_si512(); 2];
    let mut odd = [_mm512_setzero_si512(); 2];
    let pairs = tables.chunks(2 * LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, pair) in pairs.zip(block.chunks(2 * LOOKUP_QUAD * LOOKUP_ROWS)) {
        // Four looked up bytes fit one.
        let mut found = [_mm512_setzero_si512(); 2];
        let quads = tables.chunks_exact(LOOKUP_QUAD * LOOKUP_BYTES);
        for (tables, quad) in quads.zip(pair.chunks_exact(LOOKUP_QUAD * LOOKUP_ROWS)) {
            debug_assert!(quad.len() == REGISTER && tables.len() == 4 * REGISTER);
            ahead.ask(LOOKUP_LINES);
            // SAFETY: the chunk holds 64 bytes.
            let codes = unsafe { _mm512_loadu_si512(quad.as_ptr().cast()) };
            let nibbles = [
                _mm512_and_si512(codes, nibble),
                _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble),
            ];
            for part in 0..4 {
                // SAFETY: the chunk holds 256 bytes, four registers.
                let table = unsafe { _mm512_loadu_si512(tables.as_ptr().add(part * REGISTER).cast()) };
                let one = _mm512_shuffle_epi8(table, nibbles[part / 2]);
                found[part % 2] = _mm512_add_epi8(found[part % 2], one);
            }
        }
        for (kind, found) in found.into_iter().enumerate() {
            both[kind] = _mm512_add_epi16(both[kind], found);
            odd[kind] = _mm512_add_epi16(odd[kind], _mm512_srli_epi16::<8>(found));
        }
    }
    let mut totals = [[0; LOOKUP_ROWS]; 2];
    for (total, (both, odd)) in totals.iter_mut().zip(both.into_iter().zip(odd)) {
        let even = _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd));
        // Pairs of rows in words of 32 bits; a quarter is one byte of the quad.
        let low = _mm512_set1_epi32(0xffff);
        let (first, second) = (_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd));
        for (rows, sums) in [first, second].into_iter().zip(total.as_chunks_mut::<8>().0) {
            let (even, odd) = (_mm512_and_si512(rows, low), _mm512_srli_epi32::<16>(rows));
            let (even, odd) = (quarters(even), quarters(odd));
            let (first, second) = (_mm_unpacklo_epi32(even, odd), _mm_unpackhi_epi32(even, odd));
            // SAFETY: the array holds 32 bytes.
            unsafe {
                _mm_storeu_si128(sums.as_mut_ptr().cast(), first);
                _mm_storeu_si128(sums.as_mut_ptr().add(4).cast(), second);
            }
        }
    }
    totals
}

/// The sums of the four quarters, in 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn quarters(x: __m512i) -> __m128i {
    let halves = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    _mm_add_epi32(
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    )
}

/// Where byte `4 r + k` of a register comes from: byte `k` of row `r` of a quad.
static ROWS_FIRST: [u8; REGISTER] = {
    let mut places = [0; REGISTER];
    let mut row = 0;
    while row < 16 {
        let mut byte = 0;
        while byte < 4 {
            places[(4 * row + byte) as usize] = 16 * byte + row;
            byte += 1;
        }
        row += 1;
    }
    places
};

/// With VBMI and VNNI: sums of four looked up bytes at a time, each from one of four tables.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx512vpopcntdq")]
pub(super) fn by_permutation(tables: &[u8], block: &[u8], sums: &mut [u32; LOOKUP_ROWS], mut ahead: Ahead) {
    // Byte 4 r + k of a register is to be byte k of row r, so that a sum of four bytes is one row's.
    // SAFETY: the array holds 64 bytes.
    let rows_first = unsafe { _mm512_loadu_si512(ROWS_FIRST.as_ptr().cast()) };
    // Which of the four tables of a part a byte looks into.
    let table_of = _mm512_set1_epi32(0x30_20_10_00);
    let (nibble, one) = (_mm512_set1_epi8(15), _mm512_set1_epi8(1));
    // One for each part: two for each kind of byte would wait for each other.
    let mut totals = [_mm512_setzero_si512(); 4];
    let quads = tables.chunks_exact(LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, quad) in quads.zip(block.chunks_exact(LOOKUP_QUAD * LOOKUP_ROWS)) {
        debug_assert!(quad.len() == REGISTER && tables.len() == 4 * REGISTER);
        ahead.ask(LOOKUP_LINES);
        // SAFETY: the chunk holds 64 bytes.
        let codes = unsafe { _mm512_loadu_si512(quad.as_ptr().cast()) };
        let codes = _mm512_permutexvar_epi8(rows_first, codes);
        let places = [
            or_and(codes, nibble, table_of),
            or_and(_mm512_srli_epi16::<4>(codes), nibble, table_of),
        ];
        for (part, total) in totals.iter_mut().enumerate() {
            // SAFETY: the chunk holds 256 bytes, four registers.
            let table = unsafe { _mm512_loadu_si512(tables.as_ptr().add(part * REGISTER).cast()) };
            let found = _mm512_permutexvar_epi8(places[part / 2], table);
            *total = _mm512_dpbusd_epi32(*total, found, one);
        }
    }
    let [low, high] = [0, 1].map(|kind| _mm512_add_epi32(totals[kind], totals[kind + 2]));
    let total = _mm512_add_epi32(low, _mm512_slli_epi32::<LOOKUP_BITS>(high));
    // SAFETY: the array holds 64 bytes.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), total) };
}

/// `(x & mask) | set`.
#[inline]
#[target_feature(enable = "avx512f")]
fn or_and(x: __m512i, mask: __m512i, set: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xea>(x, mask, set)
}
