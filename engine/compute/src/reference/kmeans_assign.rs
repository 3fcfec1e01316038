//! Twin of shaders/search/kmeans_assign.wgsl.

/// Computes `norms[list] - scale * dot(row, centroid)` for one row against every list and picks the smallest.
///
/// `row` is `[dims]`, `centroids` is `[lists, dims]` row-major, `norms` is `[lists]`; dims and lists >= 1. Returns the
/// list (ties to the lower one; 0 when no score is below `f32::MAX`) and all scores.
pub fn kmeans_assign(row: &[f32], centroids: &[f32], norms: &[f32], scale: f32) -> (u32, Vec<f64>) {
    let scores: Vec<f64> = centroids
        .chunks_exact(row.len())
        .zip(norms)
        .map(|(centroid, &norm)| {
            let dot: f64 = row
                .iter()
                .zip(centroid)
                .map(|(&x, &c)| f64::from(x) * f64::from(c))
                .sum();
            f64::from(norm) - f64::from(scale) * dot
        })
        .collect();
    let mut best = (0, f64::from(f32::MAX));
    for (list, &score) in (0..).zip(&scores) {
        if score < best.1 {
            best = (list, score);
        }
    }
    (best.0, scores)
}
