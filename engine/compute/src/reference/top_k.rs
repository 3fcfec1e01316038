//! Twin of shaders/select/top_k.wgsl, over all its passes.

use std::cmp::Ordering;

/// Finds the `k` smallest values and their positions, in ascending order.
///
/// `values` is `[n]`, n below `u32::MAX`. -0 equals 0, NaN comes last, ties go to the lower position; subnormals count as
/// they are. Returns `min(k, n)` pairs; the shader fills the places up to k with NaN and position `u32::MAX`.
pub fn top_k(values: &[f32], k: usize) -> Vec<(f32, u32)> {
    let mut pairs: Vec<(f32, u32)> = values.iter().copied().zip(0..).collect();
    pairs.sort_unstable_by(|a, b| ascending(a.0, b.0).then(a.1.cmp(&b.1)));
    pairs.truncate(k);
    pairs
}

fn ascending(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::top_k;

    #[test]
    fn top_k_orders_by_value_then_position_with_nan_last() {
        let values = [f32::NAN, 2.0, -0.0, 0.0, f32::NEG_INFINITY, -1e-40, f32::INFINITY];
        let order: Vec<u32> = top_k(&values, 10).iter().map(|pair| pair.1).collect();
        assert_eq!(order, [4, 5, 2, 3, 1, 6, 0]);
    }

    #[test]
    fn top_k_returns_at_most_k() {
        assert_eq!(top_k(&[3.0, 1.0, 2.0], 2), [(1.0, 1), (2.0, 2)]);
        assert!(top_k(&[], 3).is_empty());
    }
}
