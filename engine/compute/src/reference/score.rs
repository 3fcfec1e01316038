//! Twin of shaders/search/score.wgsl.

use vectorgpu_core::metric::Element;

use super::rows::decoded;
use crate::kernels::search::RowScore;

/// Computes the score of `query` against each row, without rounding between the products.
///
/// `rows` is `[n, dims]` row-major in `element`, little-endian; `query` is `[dims]`, dims >= 1. Returns `[n]`.
/// NaN and infinity follow IEEE 754; a cosine distance is NaN where the product of the norms is not a positive number.
pub fn score(score: impl Into<RowScore>, element: Element, query: &[f32], rows: &[u8]) -> Vec<f64> {
    let score = score.into();
    rows.chunks_exact(element.code_bytes(query.len()))
        .map(|row| {
            let row = decoded(element, row);
            let pairs = || {
                query
                    .iter()
                    .zip(&row)
                    .map(|(&q, &x)| (f64::from(q), f64::from(x)))
            };
            match score {
                RowScore::SquaredL2 => pairs().map(|(q, x)| (q - x) * (q - x)).sum(),
                RowScore::Dot => pairs().map(|(q, x)| q * x).sum(),
                RowScore::L1 => pairs().map(|(q, x)| (q - x).abs()).sum(),
                RowScore::Cosine { query_norm } => {
                    let dot: f64 = pairs().map(|(q, x)| q * x).sum();
                    let square: f64 = pairs().map(|(_, x)| x * x).sum();
                    cosine_distance(dot, f64::from(query_norm) * square.sqrt())
                }
            }
        })
        .collect()
}

fn cosine_distance(dot: f64, norms: f64) -> f64 {
    if norms > 0.0 && norms.is_finite() {
        1.0 - (dot / norms).clamp(-1.0, 1.0)
    } else {
        f64::NAN
    }
}
