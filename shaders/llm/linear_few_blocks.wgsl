// Multiplies one row of x with quantised weights: out[row] = sum(x[i] * w[row, i]), x normed before if asked.
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl); x [.., params.units * 8] quads, of which row
//   params.row_first is used; norm [params.units * 8] quads, bias [..], out [.., params.stride]. The first weights give column
//   params.first of out and of bias.
// Dispatch: any number of workgroups of 256; they stride over the rows of weights. LANES (a power of two, at most 128)
//   invocations share two rows and take units in turn, each asking for the next before it multiplies.
// Numeric: x is rounded (shared/rounding.wgsl); products are scaled and added in f32, units in ascending order, then in a tree
//   over the lanes. Infinity in x gives NaN; what NaN in x gives is not specified.
// Twin: engine/compute/src/reference/linear.rs.

override LANES: u32 = 32u;
override FOLD: u32 = 32u;

const CHUNK: u32 = 128u;

struct Params {
    rows: u32,
    row_first: u32,
    outputs: u32,
    units: u32,
    first: u32,
    stride: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
    mode: u32,
    epsilon: f32,
}
// @params

// @import linear_few
// @import linear_finish
// @import weights
// @import fold
// @import rounding
// @import products

// By word, 8 of upper bytes and 8 of lower ones, and by unit, so that neighbours meet in no bank.
var<workgroup> x_words: array<u32, 16u * CHUNK>;
var<workgroup> x_scales: array<f32, CHUNK>;
var<workgroup> x_sums: array<f32, 2u * CHUNK>;

fn hold_inputs(invocation: u32, given: array<vec4<f32>, HELD>, scale: f32) {
    var held = given;
    let lane = invocation % 8u;
    for (var turn = 0u; turn < HELD; turn++) {
        let some = rounded(held[turn] * scale, invocation);
        let unit = (turn * WG + invocation) / 8u;
        x_words[lane * CHUNK + unit] = some.upper;
        x_words[(8u + lane) * CHUNK + unit] = some.lower;
        if (lane == 0u) {
            x_scales[unit] = some.scale;
        }
        if (lane % 4u == 0u) {
            x_sums[lane / 4u * CHUNK + unit] = some.sum;
        }
    }
}

fn four_words(first: u32, unit: u32) -> vec4<u32> {
    let at = first * CHUNK + unit;
    return vec4<u32>(x_words[at], x_words[at + CHUNK], x_words[at + 2u * CHUNK], x_words[at + 3u * CHUNK]);
}

fn rounded_unit(unit: u32) -> RoundedUnit {
    return RoundedUnit(
        array<vec4<u32>, 2>(four_words(0u, unit), four_words(4u, unit)),
        array<vec4<u32>, 2>(four_words(8u, unit), four_words(12u, unit)),
        x_scales[unit],
        vec2<f32>(x_sums[unit], x_sums[CHUNK + unit]),
    );
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let per_workgroup = WG / LANES * 2u;
    var held = 0xffffffffu;
    var scale = 1.0;
    for (var base = workgroup.x * per_workgroup; base < params.outputs; base += workgroups.x * per_workgroup) {
        let row = base + invocation / LANES * 2u;
        let a_start = min(row, params.outputs - 1u) * params.units;
        let b_start = min(row + 1u, params.outputs - 1u) * params.units;
        var sums = vec2<f32>(0.0);
        var next_a = load_unit(a_start + min(lane, params.units - 1u));
        var next_b = load_unit(b_start + min(lane, params.units - 1u));
        for (var first = 0u; first < params.units; first += LANES) {
            let a = next_a;
            let b = next_b;
            let unit = first + lane;
            next_a = load_unit(a_start + min(unit + LANES, params.units - 1u));
            next_b = load_unit(b_start + min(unit + LANES, params.units - 1u));
            let chunk = first / CHUNK * CHUNK;
            if (held != chunk) {
                let inputs = load_inputs(invocation, chunk);
                let multiplied = weighted(invocation, chunk, inputs);
                if (held == 0xffffffffu && (params.mode & NORM) != 0u) {
                    scale = norm_scale(invocation, inputs);
                }
                workgroupBarrier();
                hold_inputs(invocation, multiplied, scale);
                workgroupBarrier();
                held = chunk;
            }
            if (unit < params.units) {
                let some = rounded_unit(unit - chunk);
                sums.x = fma(some.scale, term(numbers_of(a), factors_of(a, a_start + unit), some), sums.x);
                sums.y = fma(some.scale, term(numbers_of(b), factors_of(b, b_start + unit), some), sums.y);
            }
        }
        let whole = vec2<f32>(fold_sum(sums.x, LANES, invocation), fold_sum(sums.y, LANES, invocation));
        if (lane == 0u) {
            finish(params.row_first, row, whole.x, whole.y);
            finish(params.row_first, row + 1u, whole.y, 0.0);
        }
    }
}
