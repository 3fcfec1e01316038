//! Twin of shaders/search/list_scan.wgsl.

use vectorgpu_core::metric::{Element, Metric};
use vectorgpu_core::quantize::list_row::key::{key_of_dot, key_of_square};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows};

use super::rows::decoded;

/// Computes the key of each row, from a sum in f64.
///
/// Returns `[rows]`; NaN only for the cosine of a row of zeros.
pub fn list_scan(metric: Metric, query: &ListQuery<'_>, rows: &ListRows) -> Vec<f32> {
    let row_bytes = Element::F16.code_bytes(rows.dims());
    let codes = rows.codes.chunks_exact(row_bytes);
    codes
        .zip(&rows.heads)
        .map(|(code, head)| {
            let scale = f64::from(head[0]);
            let row = decoded(Element::F16, code);
            let pairs = query.values.iter().zip(&row);
            let pairs = pairs.map(|(&q, &x)| (f64::from(q), scale * f64::from(x)));
            #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
            if metric == Metric::L2 {
                let square: f64 = pairs.map(|(q, x)| (q - x) * (q - x)).sum();
                key_of_square(square as f32, query.bounds.rounding, *head)
            } else {
                key_of_dot(
                    metric,
                    pairs.map(|(q, x)| q * x).sum::<f64>() as f32,
                    *head,
                    query.bounds.head,
                )
            }
        })
        .collect()
}
