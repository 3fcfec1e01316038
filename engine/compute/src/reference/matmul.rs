//! Twin of shaders/linear/matmul.wgsl, and of matmul_cooperative.wgsl on inputs rounded to f16.

/// Computes `a * transpose(b)` with f64 sums.
///
/// `a` is `[m, k]`, `b` is `[n, k]`, both row-major; k >= 1. Returns `[m, n]` row-major, empty when either is. NaN and
/// infinity follow IEEE 754.
pub fn matmul(a: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    a.chunks_exact(k)
        .flat_map(|x| b.chunks_exact(k).map(move |y| dot(x, y)))
        .collect()
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

#[cfg(test)]
mod tests {
    use super::matmul;

    #[test]
    fn matmul_multiplies_rows_with_rows() {
        let product = matmul(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0, 1.0, 0.0], 2);
        assert_eq!(product, [17.0, 23.0, 1.0, 39.0, 53.0, 3.0]);
    }

    #[test]
    fn matmul_of_no_rows_is_empty() {
        assert!(matmul(&[], &[1.0], 1).is_empty());
        assert!(matmul(&[1.0], &[], 1).is_empty());
    }
}
