//! Twin of shaders/search/list_keys.wgsl, and of list_keys_cooperative.wgsl on the codes of queries.

use vectorgpu_core::metric::{Element, Metric};
use vectorgpu_core::quantize::list_row::key::key_of_dot;
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows, QueryCodes};

use super::rows::decoded;

/// A query's elements and its record of list_key.wgsl.
struct Asked {
    values: Vec<f32>,
    head: [f32; 4],
}

/// Computes the key of each query and row from their product, summed in f64.
///
/// Returns `[queries, rows]` row-major; NaN only for the cosine of a row of zeros.
pub fn list_keys(metric: Metric, queries: &[ListQuery<'_>], rows: &ListRows) -> Vec<f32> {
    let asked = queries.iter().map(|query| Asked {
        values: query.values.to_vec(),
        head: query.bounds.product_head,
    });
    keys(metric, &asked.collect::<Vec<_>>(), rows)
}

/// The same from the queries as rounded to f16.
pub fn list_keys_of_codes(metric: Metric, queries: &[ListQuery<'_>], rows: &ListRows) -> Vec<f32> {
    let asked = queries.iter().map(|query| {
        let mut codes = QueryCodes::default();
        codes.push(query);
        Asked {
            values: decoded(Element::F16, &codes.codes),
            head: codes.heads[0],
        }
    });
    keys(metric, &asked.collect::<Vec<_>>(), rows)
}

fn keys(metric: Metric, asked: &[Asked], rows: &ListRows) -> Vec<f32> {
    let row_bytes = Element::F16.code_bytes(rows.dims());
    let decoded: Vec<Vec<f32>> = rows
        .codes
        .chunks_exact(row_bytes)
        .map(|code| decoded(Element::F16, code))
        .collect();
    let key = |query: &Asked, row: usize| {
        let pairs = query.values.iter().zip(&decoded[row]);
        let product: f64 = pairs.map(|(&q, &x)| f64::from(q) * f64::from(x)).sum();
        let head = rows.heads[row];
        let scales = f64::from(head[0]) * f64::from(query.head[0]);
        #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
        key_of_dot(metric, (product * scales) as f32, head, query.head)
    };
    asked
        .iter()
        .flat_map(|query| (0..rows.len()).map(move |row| (query, row)))
        .map(|(query, row)| key(query, row))
        .collect()
}
