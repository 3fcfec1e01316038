//! Twin of shaders/llm/gelu.wgsl.

use crate::kernels::encoder::Gelu;

/// Computes the GELU of each number, in f64.
pub fn gelu(form: Gelu, x: &[f32]) -> Vec<f64> {
    x.iter()
        .map(|&x| {
            let x = f64::from(x);
            match form {
                Gelu::Exact => x * normal_below(x),
                Gelu::Tanh => {
                    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    0.5 * x * (1.0 + inner.tanh())
                }
            }
        })
        .collect()
}

/// How likely a standard normal number is less than `x`: the integral of its density, by Simpson's rule, from 0 on.
fn normal_below(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let end = x.clamp(-12.0, 12.0);
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let steps = 2000;
    let width = end / f64::from(steps);
    let sum: f64 = (0..=steps)
        .map(|step| {
            let weight = match step {
                0 => 1.0,
                _ if step == steps => 1.0,
                _ if step % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * density(f64::from(step) * width)
        })
        .sum();
    0.5 + sum * width / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_known_at_some_points_and_near_each_other() {
        // erf(1 / sqrt(2)) is 0.682689492137086.
        let exact = gelu(Gelu::Exact, &[1.0, 0.0, -20.0])
            .into_iter()
            .zip([0.841_344_746_068_543, 0.0, 0.0]);
        for (got, want) in exact {
            assert!((got - want).abs() < 1e-10, "{got} for {want}");
        }
        let x = [-3.0, -1.0, -0.1, 0.5, 2.5];
        for (exact, tanh) in gelu(Gelu::Exact, &x).iter().zip(gelu(Gelu::Tanh, &x)) {
            assert!((exact - tanh).abs() < 5e-4, "{exact} and {tanh}");
        }
    }
}
