// The key of a row: a lower bound of the operator's value, from a sum over the row's f16 code.
//
// METRIC: 0 Euclidean distance, 1 negative inner product, 2 cosine distance; an override of the kernel. What a row and a
// query bring along is computed and rounded on the host, where the bounds are derived: engine/core/src/quantize/list_row.rs.
//   row    METRIC 0: (scale, residual, |x'|^2, |x'|); 1: (scale, a, b, |x'|); 2: (scale, a, b, 1 / |x|)
//   query  METRIC 0: (scale, slack, error, |q|^2);    1: (scale, |q|, error, 0); 2: (scale, |q|, error, 1 / |q|)
// A key is never NaN but for the cosine of a zero row (1 / |x| = 0), and -KEY_MAX where nothing can be said.

const KEY_MAX: f32 = 0x1.fffffep+127f;
// Relative error of the few operations below, with a margin.
const KEY_SLACK: f32 = 0x1p-20f;

// The key of a place without a row.
fn infinity() -> f32 {
    // Not a constant, which may not be infinite in WGSL.
    var bits = 0x7f800000u;
    return bitcast<f32>(bits);
}

fn finite_key(key: f32) -> f32 {
    // Not left to clamp, which may make a number of NaN.
    if (!(abs(key) <= KEY_MAX)) {
        return -KEY_MAX;
    }
    return key;
}

fn root_key(square: f32, row: vec4<f32>) -> f32 {
    // What overflowed is at least as far as the largest number.
    let root = sqrt(min(max(square, 0.0), KEY_MAX));
    return finite_key(max(root * (1.0 - KEY_SLACK) - row.y, 0.0));
}

// From sum((q_i - x'_i)^2), directly summed; `rounding` is its relative error.
fn key_of_square(square: f32, rounding: f32, row: vec4<f32>) -> f32 {
    if (!(square >= 0.0)) {
        return -KEY_MAX;
    }
    return root_key(min(square, KEY_MAX) * (1.0 - rounding), row);
}

// From sum(q'_i * x'_i), both with their scales.
fn key_of_dot(dot: f32, row: vec4<f32>, query: vec4<f32>) -> f32 {
    if (METRIC == 0u) {
        let squares = query.w + row.z;
        let error = 2.0 * row.w * query.z + query.y * (squares + 2.0 * abs(dot));
        let square = squares - 2.0 * dot - error;
        if (!(abs(square) <= KEY_MAX)) {
            return -KEY_MAX;
        }
        return root_key(square, row);
    }
    if (METRIC == 1u) {
        let error = query.y * row.y + row.z + row.w * query.z;
        return finite_key(-(dot + error) - KEY_SLACK * (abs(dot) + error));
    }
    if (row.w == 0.0) {
        // Not a constant, which may not be NaN in WGSL.
        var nan = 0x7fc00000u;
        return bitcast<f32>(nan);
    }
    let upper = dot * row.w + query.y * row.y + row.z + (1.0 + row.y) * query.z;
    let similarity = upper * query.w;
    if (!(abs(similarity) <= KEY_MAX)) {
        return -KEY_MAX;
    }
    return max(1.0 - min(similarity, 1.0) - KEY_SLACK * (1.0 + abs(similarity)), 0.0);
}
