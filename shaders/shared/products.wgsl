// Products of a unit of weights with a unit of rounded x.

struct RoundedUnit {
    upper: array<vec4<u32>, 2>,
    lower: array<vec4<u32>, 2>,
    scale: f32,
    // Of either half, as whole numbers.
    sums: vec2<f32>,
}

fn dot_words(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// What a unit adds to a sum, in steps of x's scale.
fn term(numbers: Numbers, factors: Factors, x: RoundedUnit) -> f32 {
    let first = 256 * dot_words(numbers.first, x.upper[0]) + dot_words(numbers.first, x.lower[0]);
    let second = 256 * dot_words(numbers.second, x.upper[1]) + dot_words(numbers.second, x.lower[1]);
    let products = fma(x.sums, vec2<f32>(f32(-OFFSET)), vec2<f32>(f32(first), f32(second)));
    if (FACTORS < 3u) {
        return fma(factors.scales.x, products.x + products.y, factors.shifts.x * (x.sums.x + x.sums.y));
    }
    // Only fused, so that no compiler has a choice, and kernels differ in no bit.
    let shifted = fma(factors.shifts.y, x.sums.y, factors.shifts.x * x.sums.x);
    return fma(factors.scales.y, products.y, fma(factors.scales.x, products.x, shifted));
}
