// Rounds rows of x for linear_batch_blocks.wgsl (shared/rounding.wgsl), normed before if asked.
//
// Shapes: x [params.rows, params.quads] quads, norm [params.quads] quads; words [params.rows, 16, units], where units is
//   params.quads / 8: of each unit, words 4 k to 4 k + 3 are a quad at [row, k, unit], the upper bytes before the lower ones;
//   factors [params.rows, units], of each unit its scale and the sums of its halves.
// Dispatch: any number of workgroups of WG; they stride over the rows.
// Numeric: the same bits as linear_few_blocks.wgsl makes of a row.
// Twin: engine/compute/src/reference/linear.rs (rms_norm), rounded.

override WG: u32 = 256u;
override FOLD: u32 = 32u;

struct Params {
    rows: u32,
    quads: u32,
    norm: u32,
    epsilon: f32,
}
// @params

// @import fold
// @import rounding

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> words: array<u32>;
@group(0) @binding(3) var<storage, read_write> factors: array<f32>;

var<workgroup> squares: array<f32, WG>;

fn norm_scale(row: u32, invocation: u32) -> f32 {
    var square = vec4<f32>(0.0);
    for (var quad = invocation; quad < params.quads; quad += WG) {
        let some = x[row * params.quads + quad];
        square = fma(some, some, square);
    }
    let sum = fold_sum((square.x + square.y) + (square.z + square.w), FOLD, invocation);
    workgroupBarrier();
    if (invocation % FOLD == 0u) {
        squares[invocation / FOLD] = sum;
    }
    workgroupBarrier();
    var whole = 0.0;
    for (var part = 0u; part < WG / FOLD; part++) {
        whole += squares[part];
    }
    return inverseSqrt(whole / f32(params.quads * 4u) + params.epsilon);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let units = params.quads / 8u;
    let lane = invocation % 8u;
    for (var row = workgroup.x; row < params.rows; row += workgroups.x) {
        var scale = 1.0;
        if (params.norm == 1u) {
            scale = norm_scale(row, invocation);
        }
        for (var base = 0u; base < params.quads; base += WG) {
            let quad = base + invocation;
            var some = vec4<f32>(0.0);
            if (quad < params.quads) {
                some = x[row * params.quads + quad];
                if (params.norm == 1u) {
                    some *= norm[quad];
                }
            }
            let result = rounded(some * scale, invocation);
            if (quad < params.quads) {
                let unit = quad / 8u;
                let at = ((row * 4u + lane / 4u) * units + unit) * 4u + lane % 4u;
                words[at] = result.upper;
                words[at + 8u * units] = result.lower;
                if (lane == 0u) {
                    factors[4u * (row * units + unit)] = result.scale;
                }
                if (lane % 4u == 0u) {
                    factors[4u * (row * units + unit) + 1u + lane / 4u] = result.sum;
                }
            }
        }
    }
}
