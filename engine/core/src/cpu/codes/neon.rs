//! NEON kernels for codes: byte products in 16 bits, added in pairs to 32; bits counted byte by byte.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::aarch64::*;

use super::super::ahead::Ahead;
use super::super::table::{CodeKernels, LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_QUAD, LOOKUP_ROWS};
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
    dot_nibbles: super::nibbles::plain,
};

/// Bytes of a register.
const REGISTER: usize = 16;
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

#[target_feature(enable = "neon")]
fn row<const OP: u8>(query: &[u8], row: &[u8]) -> i32 {
    rows::<OP, 1>(query, load_tail(query), row)[0]
}

#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
fn rows<const OP: u8, const R: usize>(query: &[u8], query_tail: uint8x16_t, rows: &[u8]) -> [i32; R] {
    let stride = query.len();
    assert!(rows.len() >= R * stride);
    let mut sums = [vdupq_n_s32(0); R];
    let mut i = 0;
    while i + REGISTER <= stride {
        // SAFETY: i + 16 <= query.len().
        let q = unsafe { vld1q_u8(query.as_ptr().wrapping_add(i)) };
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 16 <= stride, so the register ends inside row r, which is there (asserted above).
            let x = unsafe { vld1q_u8(rows.as_ptr().wrapping_add(r * stride + i)) };
            *sum = step::<OP>(*sum, q, x);
        }
        i += REGISTER;
    }
    if i == stride {
        return sums.map(|sum| vaddvq_s32(sum));
    }
    if rows.len() >= (R - 1) * stride + i + REGISTER {
        // What lies behind a row, the next one nearly always, is read with it and masked away.
        let mask = leading(stride - i);
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: 16 bytes from i on are there for the last of the R rows (compared above), so for all of them.
            let x = unsafe { vld1q_u8(rows.as_ptr().wrapping_add(r * stride + i)) };
            *sum = step::<OP>(*sum, query_tail, vandq_u8(x, mask));
        }
    } else {
        for (r, sum) in sums.iter_mut().enumerate() {
            let x = load_tail(&rows[r * stride..][..stride]);
            *sum = step::<OP>(*sum, query_tail, x);
        }
    }
    sums.map(|sum| vaddvq_s32(sum))
}

#[target_feature(enable = "neon")]
fn pair_block(queries: [&[u8]; 2], rows_bytes: &[u8], scores: &mut [[i32; 2]]) {
    let tails = queries.map(|query| load_tail(query));
    let mut rest = rows_bytes;
    for score in scores {
        *score = [0, 1].map(|which| rows::<DOT, 1>(queries[which], tails[which], rest)[0]);
        rest = &rest[queries[0].len()..];
    }
}

/// The last, incomplete register of a code, zero beyond its end.
#[inline]
#[target_feature(enable = "neon")]
fn load_tail(code: &[u8]) -> uint8x16_t {
    let tail = code.as_chunks::<REGISTER>().1;
    let mut padded = [0u8; REGISTER];
    padded[..tail.len()].copy_from_slice(tail);
    // SAFETY: the array holds 16 bytes.
    unsafe { vld1q_u8(padded.as_ptr()) }
}

/// The mask of the first `count` (at most 16) bytes.
#[inline]
#[target_feature(enable = "neon")]
fn leading(count: usize) -> uint8x16_t {
    let mask: &[u8; REGISTER] = MASKS[REGISTER - count..][..REGISTER]
        .try_into()
        .expect("a window of REGISTER masks");
    // SAFETY: the array holds 16 bytes.
    unsafe { vld1q_u8(mask.as_ptr()) }
}

/// Adds the terms of 16 bytes to 4 sums of 32 bits.
#[inline]
#[target_feature(enable = "neon")]
fn step<const OP: u8>(sum: int32x4_t, q: uint8x16_t, x: uint8x16_t) -> int32x4_t {
    let (qi, xi) = (vreinterpretq_s8_u8(q), vreinterpretq_s8_u8(x));
    match OP {
        DOT => {
            let low = vmull_s8(vget_low_s8(qi), vget_low_s8(xi));
            let high = vmull_s8(vget_high_s8(qi), vget_high_s8(xi));
            vpadalq_s16(vpadalq_s16(sum, low), high)
        }
        SQUARED_L2 => {
            // At most 255, whose square fits 16 bits without a sign.
            let difference = vreinterpretq_u8_s8(vabdq_s8(qi, xi));
            let low = vmull_u8(vget_low_u8(difference), vget_low_u8(difference));
            let high = vmull_u8(vget_high_u8(difference), vget_high_u8(difference));
            let sum = vreinterpretq_u32_s32(sum);
            vreinterpretq_s32_u32(vpadalq_u16(vpadalq_u16(sum, low), high))
        }
        HAMMING => counted(sum, veorq_u8(q, x)),
        _ => counted(sum, vandq_u8(q, x)),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn counted(sum: int32x4_t, bits: uint8x16_t) -> int32x4_t {
    let pairs = vpaddlq_u8(vcntq_u8(bits));
    vreinterpretq_s32_u32(vpadalq_u16(vreinterpretq_u32_s32(sum), pairs))
}

#[target_feature(enable = "neon")]
fn lookup_block(tables: &[u8], block: &[u8], sums: &mut [u32; LOOKUP_ROWS], ahead: Ahead) {
    // Nothing to hide it behind.
    ahead.ask_all();
    let mut totals = [[vdupq_n_u32(0); 4]; 2];
    let quads = tables.chunks_exact(LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, quad) in quads.zip(block.chunks_exact(LOOKUP_QUAD * LOOKUP_ROWS)) {
        // A quad adds eight bytes to a sum: in 16 bits, two of them first in 8.
        let mut low = [vdupq_n_u16(0); 2];
        let mut high = [vdupq_n_u16(0); 2];
        for (byte, codes) in quad.chunks_exact(LOOKUP_ROWS).enumerate() {
            // SAFETY: the chunk holds 16 bytes.
            let codes = unsafe { vld1q_u8(codes.as_ptr()) };
            let nibbles = [vandq_u8(codes, vdupq_n_u8(15)), vshrq_n_u8::<4>(codes)];
            for kind in 0..2 {
                let found = [kind, kind + 2].map(|part| {
                    let table = &tables[part * LOOKUP_QUAD * 16 + byte * 16..][..16];
                    // SAFETY: the slice holds 16 bytes.
                    vqtbl1q_u8(unsafe { vld1q_u8(table.as_ptr()) }, nibbles[part / 2])
                });
                let found = vaddq_u8(found[0], found[1]);
                low[kind] = vaddw_u8(low[kind], vget_low_u8(found));
                high[kind] = vaddw_u8(high[kind], vget_high_u8(found));
            }
        }
        for (total, (low, high)) in totals.iter_mut().zip(low.into_iter().zip(high)) {
            total[0] = vaddw_u16(total[0], vget_low_u16(low));
            total[1] = vaddw_u16(total[1], vget_high_u16(low));
            total[2] = vaddw_u16(total[2], vget_low_u16(high));
            total[3] = vaddw_u16(total[3], vget_high_u16(high));
        }
    }
    for (i, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let total = vaddq_u32(
            totals[0][i],
            vshlq_n_u32::<{ LOOKUP_BITS.cast_signed() }>(totals[1][i]),
        );
        // SAFETY: the array holds 16 bytes.
        unsafe { vst1q_u32(sums.as_mut_ptr(), total) };
    }
}
