// Multiplies one row of x with weights of f32, f16 or bf16: out[row] = sum(x[i] * w[row, i]), x normed before if asked.
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl); x [.., params.units * 8] quads, of which row
//   params.row_first is used; norm [params.units * 8] quads, bias [..], out [.., params.stride]. The first weights give column
//   params.first of out and of bias.
// Dispatch: any number of workgroups of 256; they stride over the rows of weights. LANES (a power of two, at most 256)
//   invocations share two rows and take octets in turn.
// Numeric: f32, a sum a lane and row, octets in ascending order, then a tree over the lanes. NaN and infinity follow
//   IEEE 754 as far as the device does.
// Twin: engine/compute/src/reference/linear.rs.

override LANES: u32 = 32u;
override FOLD: u32 = 32u;

const CHUNK: u32 = 64u;

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
// @import octets

// Quads of x by their place in the octet, so that neighbours meet in no bank.
var<workgroup> x_first: array<vec4<f32>, 4u * CHUNK>;
var<workgroup> x_second: array<vec4<f32>, 4u * CHUNK>;

fn hold_inputs(invocation: u32, given: array<vec4<f32>, HELD>, scale: f32) {
    var held = given;
    for (var turn = 0u; turn < HELD; turn++) {
        let octet = (turn * WG + invocation) / 2u;
        if (invocation % 2u == 0u) {
            x_first[octet] = held[turn] * scale;
        } else {
            x_second[octet] = held[turn] * scale;
        }
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let per_workgroup = WG / LANES * 2u;
    let octets = 4u * params.units;
    var held = 0xffffffffu;
    var scale = 1.0;
    for (var base = workgroup.x * per_workgroup; base < params.outputs; base += workgroups.x * per_workgroup) {
        let row = base + invocation / LANES * 2u;
        let a_start = min(row, params.outputs - 1u) * octets;
        let b_start = min(row + 1u, params.outputs - 1u) * octets;
        var sums = vec2<f32>(0.0);
        for (var chunk = 0u; chunk < params.units; chunk += CHUNK) {
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
            let count = 4u * min(CHUNK, params.units - chunk);
            for (var octet = lane; octet < count; octet += LANES) {
                let a = load_octet(a_start + 4u * chunk + octet);
                let b = load_octet(b_start + 4u * chunk + octet);
                sums.x = add_octet(weights_in(a), x_first[octet], x_second[octet], sums.x);
                sums.y = add_octet(weights_in(b), x_first[octet], x_second[octet], sums.y);
            }
        }
        let a_whole = fold_sum(sums.x, LANES, invocation);
        let b_whole = fold_sum(sums.y, LANES, invocation);
        if (lane == 0u) {
            finish(params.row_first, row, a_whole, b_whole);
            finish(params.row_first, row + 1u, b_whole, 0.0);
        }
    }
}
