//! Twin of shaders/search/score_int8.wgsl.

use crate::kernels::codes::Int8Score;

/// Computes the score of an int8 query against each int8 row, of the vectors that the codes stand for.
///
/// `query` is `[dims]`, dims >= 1, `rows` is `[n, dims]` row-major, `scales` is `[n]`. Returns `[n]`. The sum of a dot
/// product is exact; so is a squared distance but for the rounding of f64. A scale of NaN gives NaN.
pub fn score_int8(score: Int8Score, query: &[i8], query_scale: f32, rows: &[i8], scales: &[f32]) -> Vec<f64> {
    let query_scale = f64::from(query_scale);
    rows.chunks_exact(query.len())
        .zip(scales)
        .map(|(row, &scale)| {
            let scale = f64::from(scale);
            let pairs = query.iter().zip(row);
            match score {
                Int8Score::Dot => {
                    let sum: i64 = pairs.map(|(&q, &x)| i64::from(q) * i64::from(x)).sum();
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                    let sum = sum as f64;
                    sum * query_scale * scale
                }
                Int8Score::SquaredL2 => pairs
                    .map(|(&q, &x)| (query_scale * f64::from(q) - scale * f64::from(x)).powi(2))
                    .sum(),
            }
        })
        .collect()
}
