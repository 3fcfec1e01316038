//! Twin of shaders/llm/linear_few.wgsl and linear_few_blocks.wgsl, and of their sisters for many rows.

/// Computes `x * transpose(weights)`, with f64 sums.
///
/// `x` is `[rows, inputs]`, `weights` is `[outputs, inputs]` as numbers (see [`super::weights`]), both row-major; inputs >= 1.
/// Returns `[rows, outputs]`. NaN and infinity follow IEEE 754.
pub fn linear(x: &[f64], weights: &[f32], inputs: usize) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f32]| x.iter().zip(y).map(|(x, &y)| x * f64::from(y)).sum();
    x.chunks_exact(inputs)
        .flat_map(|x| weights.chunks_exact(inputs).map(move |y| dot(x, y)))
        .collect()
}

/// Divides each row by the root of its mean square, plus `epsilon`, and multiplies it with `weights`.
///
/// `x` is `[rows, inputs]`, `weights` has `inputs` numbers, at least one. Returns `[rows, inputs]`.
pub fn rms_norm(x: &[f32], weights: &[f32], epsilon: f32) -> Vec<f64> {
    let normed = |row: &[f32]| {
        let square: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        #[expect(clippy::cast_precision_loss, reason = "rows are short")]
        let mean = square / row.len() as f64;
        let scale = (mean + f64::from(epsilon)).sqrt().recip();
        let pairs = row.iter().zip(weights);
        pairs
            .map(|(&x, &weight)| f64::from(x) * scale * f64::from(weight))
            .collect::<Vec<_>>()
    };
    x.chunks_exact(weights.len()).flat_map(normed).collect()
}

/// `SiLU(gate) * up`, element by element, where `SiLU(g) = g / (1 + exp(-g))`.
pub fn gated(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter()
        .zip(up)
        .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_multiplies_rows_with_rows() {
        assert_eq!(
            linear(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 1.0, 0.0], 2),
            [17.0, 1.0, 39.0, 3.0]
        );
    }

    #[test]
    fn a_normed_row_has_a_mean_square_of_one() {
        assert_eq!(rms_norm(&[3.0, -3.0], &[1.0, 2.0], 0.0), [1.0, -2.0]);
    }

    #[test]
    fn a_gate_far_below_zero_is_shut() {
        assert_eq!(gated(&[0.0, -1000.0], &[5.0, 5.0])[0], 0.0);
        assert!(gated(&[-1000.0], &[5.0])[0].abs() < 1e-300);
    }
}
