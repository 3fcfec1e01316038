//! Twin of shaders/search/list_keys.wgsl.

use vectorgpu_core::metric::{Element, Metric};
use vectorgpu_core::quantize::list_row::key::key_of_dot;
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows};

use super::rows::decoded;

/// Computes the key of each query and row from their product, summed in f64.
///
/// Returns `[queries, rows]` row-major; NaN only for the cosine of a row of zeros.
pub fn list_keys(metric: Metric, queries: &[ListQuery<'_>], rows: &ListRows) -> Vec<f32> {
    let row_bytes = Element::F16.code_bytes(rows.dims());
    let decoded: Vec<Vec<f32>> = rows
        .codes
        .chunks_exact(row_bytes)
        .map(|code| decoded(Element::F16, code))
        .collect();
    let key = |query: &ListQuery<'_>, row: usize| {
        let pairs = query.values.iter().zip(&decoded[row]);
        let product: f64 = pairs.map(|(&q, &x)| f64::from(q) * f64::from(x)).sum();
        let head = rows.heads[row];
        #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
        key_of_dot(
            metric,
            (product * f64::from(head[0])) as f32,
            head,
            query.bounds.product_head,
        )
    };
    queries
        .iter()
        .flat_map(|query| (0..rows.len()).map(move |row| (query, row)))
        .map(|(query, row)| key(query, row))
        .collect()
}
