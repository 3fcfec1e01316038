// Brings rows of x into the form that the kernels for many rows multiply: normed, or not; f16 with a power of two a row, or f32.
//
// Shapes: x and codes [params.rows, params.quads] in quads (of two words for HALVES 1, of four for 0), norm [params.quads],
//   factors [params.rows].
// Dispatch: any number of workgroups of WG; they stride over the rows.
// Numeric: f32. The mean square is summed as linear_few.wgsl does. For f16, the largest magnitude comes to lie in [2^14, 2^15),
//   so nothing overflows; rounding is the device's. x is code * factor; for f32 the factor is 1.
// Twin: engine/compute/src/reference/linear.rs (rms_norm).

override WG: u32 = 256u;
override FOLD: u32 = 32u;
override HALVES: u32 = 1u;

struct Params {
    rows: u32,
    quads: u32,
    norm: u32,
    epsilon: f32,
}
// @params

// @import fold

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
@group(0) @binding(3) var<storage, read_write> factors: array<f32>;

var<workgroup> squares: array<f32, WG>;
var<workgroup> largest: array<f32, WG>;

// A quad before the row's own factor.
fn weighted(row: u32, quad: u32) -> vec4<f32> {
    let some = x[row * params.quads + quad];
    if (params.norm == 0u) {
        return some;
    }
    return some * norm[quad];
}

fn write_row(invocation: u32, row: u32, scale: f32, most: f32) {
    // The exponent of a power of two that is 2^14 less than the largest magnitude.
    let exponent = max(i32(bitcast<u32>(most * scale) >> 23u & 255u) - 14, 1);
    let factor = bitcast<f32>(u32(exponent) << 23u);
    let inverse = bitcast<f32>(u32(254 - exponent) << 23u);
    for (var quad = invocation; quad < params.quads; quad += WG) {
        let some = weighted(row, quad) * scale;
        let at = row * params.quads + quad;
        if (HALVES == 1u) {
            codes[2u * at] = pack2x16float(some.xy * inverse);
            codes[2u * at + 1u] = pack2x16float(some.zw * inverse);
        } else {
            codes[4u * at] = bitcast<u32>(some.x);
            codes[4u * at + 1u] = bitcast<u32>(some.y);
            codes[4u * at + 2u] = bitcast<u32>(some.z);
            codes[4u * at + 3u] = bitcast<u32>(some.w);
        }
    }
    if (invocation == 0u) {
        factors[row] = select(1.0, factor, HALVES == 1u);
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var row = workgroup.x; row < params.rows; row += workgroups.x) {
        var square = vec4<f32>(0.0);
        var most = 0.0;
        for (var quad = invocation; quad < params.quads; quad += WG) {
            let some = x[row * params.quads + quad];
            square = fma(some, some, square);
            let each = abs(weighted(row, quad));
            most = max(most, max(max(each.x, each.y), max(each.z, each.w)));
        }
        let sum = fold_sum((square.x + square.y) + (square.z + square.w), FOLD, invocation);
        most = fold_max(most, FOLD, invocation);
        workgroupBarrier();
        if (invocation % FOLD == 0u) {
            squares[invocation / FOLD] = sum;
            largest[invocation / FOLD] = most;
        }
        workgroupBarrier();
        var whole = 0.0;
        most = 0.0;
        for (var part = 0u; part < WG / FOLD; part++) {
            whole += squares[part];
            most = max(most, largest[part]);
        }
        let scale = select(1.0, inverseSqrt(whole / f32(params.quads * 4u) + params.epsilon), params.norm == 1u);
        write_row(invocation, row, scale, most);
    }
}
