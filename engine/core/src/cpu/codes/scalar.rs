//! Plain Rust kernels for codes: the definition that the others are compared with.

use super::super::ahead::Ahead;
use super::super::table::{CodeKernels, LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_QUAD, LOOKUP_ROWS};
use super::{AND, DOT, HAMMING, SQUARED_L2};

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

fn row<const OP: u8>(query: &[u8], row: &[u8]) -> i32 {
    if OP == HAMMING || OP == AND {
        return bits::<OP>(query, row).cast_signed();
    }
    let terms = query.iter().zip(row).map(|(q, x)| {
        let (q, x) = (i32::from(q.cast_signed()), i32::from(x.cast_signed()));
        if OP == DOT { q * x } else { (q - x) * (q - x) }
    });
    terms.fold(0, i32::wrapping_add)
}

fn bits<const OP: u8>(query: &[u8], row: &[u8]) -> u32 {
    let count = |q: u64, x: u64| (if OP == AND { q & x } else { q ^ x }).count_ones();
    let (words, tail) = query.as_chunks::<8>();
    let (row_words, row_tail) = row.as_chunks::<8>();
    let words = words
        .iter()
        .zip(row_words)
        .map(|(q, x)| count(u64::from_le_bytes(*q), u64::from_le_bytes(*x)));
    let tail = tail
        .iter()
        .zip(row_tail)
        .map(|(q, x)| count(u64::from(*q), u64::from(*x)));
    words.chain(tail).fold(0, u32::wrapping_add)
}

fn block<const OP: u8>(query: &[u8], rows: &[u8], scores: &mut [i32]) {
    if query.is_empty() {
        scores.fill(0);
        return;
    }
    for (code, score) in rows.chunks_exact(query.len()).zip(scores) {
        *score = row::<OP>(query, code);
    }
}

fn pair_block(queries: [&[u8]; 2], rows: &[u8], scores: &mut [[i32; 2]]) {
    if queries[0].is_empty() {
        scores.fill([0; 2]);
        return;
    }
    for (code, score) in rows.chunks_exact(queries[0].len()).zip(scores) {
        *score = queries.map(|query| row::<DOT>(query, code));
    }
}

fn lookup_block(tables: &[u8], block: &[u8], sums: &mut [u32; LOOKUP_ROWS], ahead: Ahead) {
    // Nothing to hide it behind.
    ahead.ask_all();
    sums.fill(0);
    let quads = tables.chunks_exact(LOOKUP_QUAD * LOOKUP_BYTES);
    for (tables, quad) in quads.zip(block.chunks_exact(LOOKUP_QUAD * LOOKUP_ROWS)) {
        let (part, _) = tables.as_chunks::<{ LOOKUP_QUAD * 16 }>();
        for (byte, rows) in quad.chunks_exact(LOOKUP_ROWS).enumerate() {
            for (sum, code) in sums.iter_mut().zip(rows) {
                let (low, high) = (
                    16 * byte + usize::from(code & 15),
                    16 * byte + usize::from(code >> 4),
                );
                *sum += u32::from(part[0][low]) + (u32::from(part[1][low]) << LOOKUP_BITS);
                *sum += u32::from(part[2][high]) + (u32::from(part[3][high]) << LOOKUP_BITS);
            }
        }
    }
}
