// Replaces each number by its GELU: x * P(a standard normal number is less than x).
//
// Shapes: x [params.n].
// Dispatch: any number of workgroups of 256; they stride over the numbers.
// Numeric: FORM 0 is x / 2 * (1 + erf(x / sqrt(2))), with erf to within 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical
//   Functions, 7.1.26); FORM 1 is x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). NaN stays NaN.
// Twin: engine/compute/src/reference/gelu.rs.

override FORM: u32 = 0u;

struct Params {
    n: u32,
}
// @params

@group(0) @binding(0) var<storage, read_write> x: array<f32>;

fn erf(z: f32) -> f32 {
    let t = 1.0 / fma(0.3275911, abs(z), 1.0);
    let steps = fma(fma(fma(fma(1.061405429, t, -1.453152027), t, 1.421413741), t, -0.284496736), t, 0.254829592);
    return sign(z) * (1.0 - steps * t * exp(-z * z));
}

fn gelu(some: f32) -> f32 {
    if (FORM == 0u) {
        return 0.5 * some * (1.0 + erf(some * 0.70710678));
    }
    // Beyond 15 the tangent is 1, and its exponentials would overflow.
    let inner = clamp(0.79788456 * fma(0.044715 * some * some, some, some), -15.0, 15.0);
    return 0.5 * some * (1.0 + tanh(inner));
}

@compute @workgroup_size(256)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < params.n; i += workgroups.x * 256u) {
        x[i] = gelu(x[i]);
    }
}
