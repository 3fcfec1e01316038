//! Twin of shaders/vector/normalize.wgsl.

use vectorgpu_core::metric::Element;

use super::rows::decoded;

/// Scales each row to Euclidean length 1; a zero row stays zero.
///
/// `rows` is `[n, dims]` row-major in `element`, little-endian, dims >= 1. Returns `[n, dims]`. An infinite element
/// becomes NaN and the finite ones of its row zero; NaN makes the whole row NaN.
pub fn normalize(element: Element, dims: usize, rows: &[u8]) -> Vec<f64> {
    rows.chunks_exact(element.code_bytes(dims))
        .flat_map(|row| {
            let row = decoded(element, row);
            // In f64 no f32's square overflows or vanishes.
            let norm = row
                .iter()
                .map(|&x| f64::from(x) * f64::from(x))
                .sum::<f64>()
                .sqrt();
            row.into_iter()
                .map(move |x| if norm == 0.0 { 0.0 } else { f64::from(x) / norm })
        })
        .collect()
}
