//! AVX2 kernels for codes: bytes multiplied in pairs, bits counted by a table of nibbles
//! (W. Muła, N. Kurz and D. Lemire, "Faster population counts using AVX2 instructions", 2018).
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::super::ahead::Ahead;
use super::super::table::{CodeKernels, LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_LINES, LOOKUP_QUAD, LOOKUP_ROWS};
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
    lookup_block,
    dot_nibbles: super::nibbles::avx2,
};

/// Bytes of a register.
const REGISTER: usize = 32;
/// Sliding over it gives the mask of any number of leading bytes.
static MASKS: [u8; 2 * REGISTER] = {
    let mut masks = [0; 2 * REGISTER];
    let mut i = 0;
    while i < REGISTER {
        masks[i] = 0xff;
        i += 1;
    }
    masks
};

#[target_feature(enable = "avx2")]
fn row<const OP: u8>(query: &[u8], row: &[u8]) -> i32 {
    rows::<OP, 1>(query, load_tail(query), row)[0]
}

#[target_feature(enable = "avx2")]
fn block<const OP: u8>(query: &[u8], rows_bytes: &[u8], scores: &mut [i32]) {
    let tail = load_tail(query);
    let mut rest = rows_bytes;
    let (quads, left) = scores.as_chunks_mut::<ROWS>();
    for quad in quads {
        *quad = rows::<OP, ROWS>(query, tail, rest);
        rest = &rest[ROWS * query.len()..];
    }
    for score in left {
        *score = rows::<OP, 1>(query, tail, rest)[0];
        rest = &rest[query.len()..];
    }
}

/// The scores of the first `R` of `rows`. `query_tail` is [`load_tail`] of the query.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const OP: u8, const R: usize>(query: &[u8], query_tail: __m256i, rows: &[u8]) -> [i32; R] {
    let stride = query.len();
    assert!(rows.len() >= R * stride);
    let mut sums = [_mm256_setzero_si256(); R];
    let mut i = 0;
    while i + REGISTER <= stride {
        // SAFETY: i + 32 <= query.len().
        let q = unsafe { _mm256_loadu_si256(query.as_ptr().wrapping_add(i).cast()) };
        let q = widened::<OP>(q);
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 32 <= stride, so the register ends inside row r, which is there (asserted above).
            let x = unsafe { _mm256_loadu_si256(rows.as_ptr().wrapping_add(r * stride + i).cast()) };
            *sum = step::<OP>(*sum, q, widened::<OP>(x));
        }
        i += REGISTER;
    }
    if i == stride {
        return folded(sums);
    }
    let q = widened::<OP>(query_tail);
    for (r, sum) in sums.iter_mut().enumerate() {
        let x = load_tail(&rows[r * stride..][..stride]);
        *sum = step::<OP>(*sum, q, widened::<OP>(x));
    }
    folded(sums)
}

#[target_feature(enable = "avx2")]
fn pair_block(queries: [&[u8]; 2], rows_bytes: &[u8], scores: &mut [[i32; 2]]) {
    prefetch(&rows_bytes[..AHEAD.min(rows_bytes.len())]);
    let stride = queries[0].len();
    let tails = queries.map(|query| load_tail(query));
    let mut rest = rows_bytes;
    let (twos, left) = scores.as_chunks_mut::<2>();
    for two in twos {
        *two = pairs::<2>(queries, tails, rest, rest.get(AHEAD..).unwrap_or_default());
        rest = &rest[2 * stride..];
    }
    for score in left {
        [*score] = pairs::<1>(queries, tails, rest, &[]);
        rest = &rest[stride..];
    }
}

/// The products of the first `R` of `rows` with two queries, as [`rows`] computes them.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs<const R: usize>(
    queries: [&[u8]; 2],
    tails: [__m256i; 2],
    rows: &[u8],
    ahead: &[u8],
) -> [[i32; 2]; R] {
    let stride = queries[0].len();
    assert!(rows.len() >= R * stride && queries[1].len() == stride);
    let mut ahead = ahead.chunks(R * REGISTER);
    let mut sums = [[_mm256_setzero_si256(); R]; 2];
    let mut i = 0;
    while i + REGISTER <= stride {
        if let Some(bytes) = ahead.next() {
            prefetch(bytes);
        }
        // SAFETY: i + 32 is within both queries.
        let q = queries.map(|query| unsafe { _mm256_loadu_si256(query.as_ptr().wrapping_add(i).cast()) });
        let q = q.map(|q| widened::<DOT>(q));
        for r in 0..R {
            // SAFETY: i + 32 <= stride, so the register ends inside row r, which is there (asserted above).
            let x = unsafe { _mm256_loadu_si256(rows.as_ptr().wrapping_add(r * stride + i).cast()) };
            let x = widened::<DOT>(x);
            for (sums, q) in sums.iter_mut().zip(q) {
                sums[r] = step::<DOT>(sums[r], q, x);
            }
        }
        i += REGISTER;
    }
    if i < stride {
        let q = tails.map(|tail| widened::<DOT>(tail));
        for r in 0..R {
            let x = widened::<DOT>(load_tail(&rows[r * stride..][..stride]));
            for (sums, q) in sums.iter_mut().zip(q) {
                sums[r] = step::<DOT>(sums[r], q, x);
            }
        }
    }
    let totals = sums.map(|sums| folded(sums));
    std::array::from_fn(|r| [totals[0][r], totals[1][r]])
}

/// The bytes of a code behind its last whole register, and zeroes: at the end of a register, or, where the code is shorter than
/// one, at the front.
#[inline]
#[target_feature(enable = "avx2")]
fn load_tail(code: &[u8]) -> __m256i {
    if let Some(last) = code.last_chunk::<REGISTER>() {
        // SAFETY: the array holds 32 bytes.
        let last = unsafe { _mm256_loadu_si256(last.as_ptr().cast()) };
        return _mm256_andnot_si256(leading(REGISTER - code.len() % REGISTER), last);
    }
    let mut padded = [0u8; REGISTER];
    padded[..code.len()].copy_from_slice(code);
    // SAFETY: the array holds 32 bytes.
    unsafe { _mm256_loadu_si256(padded.as_ptr().cast()) }
}

/// The mask of the first `count` (at most 32) bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn leading(count: usize) -> __m256i {
    let mask: &[u8; REGISTER] = MASKS[REGISTER - count..][..REGISTER]
        .try_into()
        .expect("a window of REGISTER masks");
    // SAFETY: the array holds 32 bytes.
    unsafe { _mm256_loadu_si256(mask.as_ptr().cast()) }
}

/// The low and the high half of 32 int8 elements in 16 bits; what is computed from bytes as it is, twice.
#[inline]
#[target_feature(enable = "avx2")]
fn widened<const OP: u8>(bytes: __m256i) -> (__m256i, __m256i) {
    if OP != SQUARED_L2 {
        return (bytes, bytes);
    }
    (
        _mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)),
        _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(bytes)),
    )
}

/// Adds the terms of 32 bytes to 8 sums of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn step<const OP: u8>(sum: __m256i, q: (__m256i, __m256i), x: (__m256i, __m256i)) -> __m256i {
    let terms = match OP {
        DOT => {
            // |x| q with the sign of x: a pair adds up to 2 * 128 * 127 at most, which fits 16 bits.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x.0), _mm256_sign_epi8(q.0, x.0));
            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
        }
        SQUARED_L2 => {
            let (low, high) = (_mm256_sub_epi16(q.0, x.0), _mm256_sub_epi16(q.1, x.1));
            _mm256_add_epi32(_mm256_madd_epi16(low, low), _mm256_madd_epi16(high, high))
        }
        HAMMING => counted(_mm256_xor_si256(q.0, x.0)),
        _ => counted(_mm256_and_si256(q.0, x.0)),
    };
    _mm256_add_epi32(sum, terms)
}

/// The number of bits that are set in each quarter, in the low 32 of its 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn counted(bits: __m256i) -> __m256i {
    let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, nibble));
    let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(bits), nibble));
    _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
}

/// The totals of up to four registers of 8 sums, folded together.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn folded<const R: usize>(sums: [__m256i; R]) -> [i32; R] {
    const { assert!(R <= ROWS) };
    let mut four = [_mm256_setzero_si256(); ROWS];
    four[..R].copy_from_slice(&sums);
    let pairs = (
        _mm256_hadd_epi32(four[0], four[1]),
        _mm256_hadd_epi32(four[2], four[3]),
    );
    let halves = _mm256_hadd_epi32(pairs.0, pairs.1);
    let total = _mm_add_epi32(
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    );
    let mut totals = [0i32; ROWS];
    // SAFETY: the array holds 16 bytes.
    unsafe { _mm_storeu_si128(totals.as_mut_ptr().cast(), total) };
    std::array::from_fn(|r| totals[r])
}

/// Quads of code bytes whose looked up bytes fit 16-bit sums: each adds eight bytes to a row's sum.
const QUADS_IN_16_BITS: usize = 32;

#[target_feature(enable = "avx2")]
fn lookup_block(tables: &[u8], block: &[u8], sums: &mut [u32; LOOKUP_ROWS], mut ahead: Ahead) {
    let mut totals = [[0u32; LOOKUP_ROWS]; 2];
    let tables = tables.chunks(QUADS_IN_16_BITS * LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, block) in tables.zip(block.chunks(QUADS_IN_16_BITS * LOOKUP_QUAD * LOOKUP_ROWS)) {
        for (total, part) in totals.iter_mut().zip(lookup_part(tables, block, &mut ahead)) {
            for (total, part) in total.iter_mut().zip(part) {
                *total += u32::from(part);
            }
        }
    }
    let [low, high] = totals;
    *sums = std::array::from_fn(|row| low[row] + (high[row] << LOOKUP_BITS));
}

/// The sums of the low and of the high bytes for each row, of at most `QUADS_IN_16_BITS` quads.
#[inline]
#[target_feature(enable = "avx2")]
fn lookup_part(tables: &[u8], block: &[u8], ahead: &mut Ahead) -> [[u16; LOOKUP_ROWS]; 2] {
    const PART: usize = LOOKUP_QUAD * 16;
    let nibble = _mm256_set1_epi8(15);
    // Of the low and of the high bytes: the sums of the even rows in 16 bits, which the odd rows' bytes overlap, and
    // those of the odd rows alone.
    let mut both = [_mm256_setzero_si256(); 2];
    let mut odd = [_mm256_setzero_si256(); 2];
    let quads = tables.chunks_exact(LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, quad) in quads.zip(block.chunks_exact(LOOKUP_QUAD * LOOKUP_ROWS)) {
        ahead.ask(LOOKUP_LINES);
        // Four looked up bytes fit one.
        let mut found = [_mm256_setzero_si256(); 2];
        for (at, codes) in [0, REGISTER].into_iter().zip(quad.chunks_exact(REGISTER)) {
            // SAFETY: the chunk holds 32 bytes.
            let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
            let nibbles = [
                _mm256_and_si256(codes, nibble),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble),
            ];
            for (part, table) in tables.chunks_exact(PART).enumerate() {
                let table = &table[at..at + REGISTER];
                // SAFETY: the slice holds 32 bytes.
                let table = unsafe { _mm256_loadu_si256(table.as_ptr().cast()) };
                let one = _mm256_shuffle_epi8(table, nibbles[part / 2]);
                found[part % 2] = _mm256_add_epi8(found[part % 2], one);
            }
        }
        for (kind, found) in found.into_iter().enumerate() {
            both[kind] = _mm256_add_epi16(both[kind], found);
            odd[kind] = _mm256_add_epi16(odd[kind], _mm256_srli_epi16::<8>(found));
        }
    }
    let mut totals = [[0; LOOKUP_ROWS]; 2];
    for (total, (both, odd)) in totals.iter_mut().zip(both.into_iter().zip(odd)) {
        let even = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(odd));
        let halves = |sums| _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let (even, odd) = (halves(even), halves(odd));
        let (first, second) = (_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd));
        // SAFETY: the array holds 32 bytes.
        unsafe {
            _mm_storeu_si128(total.as_mut_ptr().cast(), first);
            _mm_storeu_si128(total.as_mut_ptr().add(8).cast(), second);
        }
    }
    totals
}
