//! Twin of shaders/vector/add.wgsl.

/// Computes `a[i] + scale * b[i]` without rounding in between. `a` and `b` are `[n]`; returns `[n]`.
/// NaN and infinity follow IEEE 754.
pub fn add(a: &[f32], scale: f32, b: &[f32]) -> Vec<f64> {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(scale).mul_add(f64::from(b), f64::from(a)))
        .collect()
}
