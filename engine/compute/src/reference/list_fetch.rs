//! Twin of shaders/search/list_fetch.wgsl.

use vectorgpu_core::cpu::kernels;
use vectorgpu_core::metric::{Element, Metric};
use vectorgpu_core::quantize::list_row::ListRows;

/// Fetches what belongs to the `chosen` rows: TID, score of the vector, and `|x|^2`, the scores as the CPU's kernels
/// compute them.
///
/// # Panics
/// When there is no such row, or rows have no vectors.
pub fn list_fetch(metric: Metric, query: &[f32], rows: &ListRows, chosen: &[usize]) -> Vec<(u64, f32, f32)> {
    let dims = rows.dims();
    chosen
        .iter()
        .map(|&row| {
            let vector = bytemuck::cast_slice(&rows.vectors[row * dims..][..dims]);
            let score = kernels().row(metric.score(), Element::F32, query, vector);
            (rows.tids[row], score, rows.norms[row])
        })
        .collect()
}
