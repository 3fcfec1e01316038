//! Twin of shaders/measure/multiply_add.wgsl.

/// The result of invocation number `invocation`: 16 chains of `rounds` steps `x -> x / 2 + limit / 2`, added up.
pub fn multiply_add(invocation: u32, rounds: u32, limit: f32) -> f64 {
    let rest = f64::from(limit) * 0.5;
    let start = f64::from(invocation % 64);
    (0..4)
        .map(|chain| (0..rounds).fold(start + f64::from(chain), |x, _| x * 0.5 + rest) * 4.0)
        .sum()
}
