//! Twin of shaders/search/score.wgsl.

use half::f16;
use vectorgpu_core::metric::{Score, Storage};

/// Computes the score of `query` against each row, without rounding between the products.
///
/// `rows` is `[n, dims]` row-major in `storage`, little-endian; `query` is `[dims]`, dims >= 1. Returns `[n]`.
/// NaN and infinity follow IEEE 754.
pub fn score(score: Score, storage: Storage, query: &[f32], rows: &[u8]) -> Vec<f64> {
    rows.chunks_exact(storage.code_bytes(query.len()))
        .map(|row| {
            let elements: Vec<f32> = match storage {
                Storage::F32 => row
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect(),
                Storage::F16 => row
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                    .collect(),
            };
            query
                .iter()
                .zip(elements)
                .map(|(&q, x)| term(score, f64::from(q), f64::from(x)))
                .sum()
        })
        .collect()
}

fn term(score: Score, q: f64, x: f64) -> f64 {
    match score {
        Score::SquaredL2 => (q - x) * (q - x),
        Score::Dot => q * x,
    }
}
