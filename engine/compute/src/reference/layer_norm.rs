//! Twin of shaders/llm/layer_norm.wgsl.

/// Brings each row of `x`, `[rows, dims]` with at least one dimension, to mean 0 and variance 1, then multiplies it with
/// `scale` and adds `shift`, in f64.
pub fn layer_norm(x: &[f64], scale: &[f32], shift: &[f32], epsilon: f32) -> Vec<f64> {
    let normed = |row: &[f64]| {
        #[expect(clippy::cast_precision_loss, reason = "rows are short")]
        let dims = row.len() as f64;
        let mean = row.iter().sum::<f64>() / dims;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / dims;
        let factor = (variance + f64::from(epsilon)).sqrt().recip();
        let numbers = row.iter().zip(scale.iter().zip(shift));
        numbers
            .map(|(x, (&scale, &shift))| (x - mean) * factor * f64::from(scale) + f64::from(shift))
            .collect::<Vec<_>>()
    };
    x.chunks_exact(scale.len()).flat_map(normed).collect()
}

#[cfg(test)]
mod tests {
    use super::layer_norm;

    #[test]
    fn a_row_comes_to_mean_zero_and_variance_one() {
        assert_eq!(
            layer_norm(&[3.0, 7.0], &[1.0, 2.0], &[0.0, 0.5], 0.0),
            [-1.0, 2.5]
        );
    }
}
