//! Twin of shaders/search/score_bits.wgsl.

use crate::kernels::codes::BitScore;

/// Counts how the bits of `query` compare with those of each row. `query` is `[words]`, words >= 1, `rows` is
/// `[n, words]` row-major. Returns `[n]`, exact.
pub fn score_bits(score: BitScore, query: &[u32], rows: &[u32]) -> Vec<u32> {
    rows.chunks_exact(query.len())
        .map(|row| {
            let pairs = query.iter().zip(row);
            match score {
                BitScore::Hamming => pairs.map(|(q, x)| (q ^ x).count_ones()).sum(),
                BitScore::AndCount => pairs.map(|(q, x)| (q & x).count_ones()).sum(),
            }
        })
        .collect()
}
