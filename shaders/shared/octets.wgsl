// Eight weights of f32, f16 or bf16, and their products with as many elements of x.

// As they are stored: f32 take both quads, others one.
struct Octet {
    first: vec4<u32>,
    second: vec4<u32>,
}

// The octet at `at`, counted over all rows.
fn load_octet(at: u32) -> Octet {
    if (BITS == 32u) {
        return Octet(quads[2u * at], quads[2u * at + 1u]);
    }
    return Octet(quads[at], vec4<u32>(0u));
}

// The same as numbers.
struct Weights {
    first: vec4<f32>,
    second: vec4<f32>,
}

fn weights_in(octet: Octet) -> Weights {
    if (BITS == 32u) {
        return Weights(bitcast<vec4<f32>>(octet.first), bitcast<vec4<f32>>(octet.second));
    }
    return Weights(floats_of(octet.first.x, octet.first.y), floats_of(octet.first.z, octet.first.w));
}

fn add_quad(w: vec4<f32>, x: vec4<f32>, sum: f32) -> f32 {
    return fma(w.w, x.w, fma(w.z, x.z, fma(w.y, x.y, fma(w.x, x.x, sum))));
}

fn add_octet(w: Weights, x0: vec4<f32>, x1: vec4<f32>, sum: f32) -> f32 {
    return add_quad(w.second, x1, add_quad(w.first, x0, sum));
}
