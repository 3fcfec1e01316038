// Multiplies up to ROWS rows of x with weights of f32, f16 or bf16: out[m, row] = sum(x[m, i] * w[row, i]).
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl); x [.., params.units * 8] quads, of which
//   params.rows rows from params.row_first on are used; bias [..], out [.., params.stride]. The first weights give column
//   params.first of out and of bias.
// Dispatch: any number of workgroups of 64; they stride over the rows of weights. LANES (a power of two, at most 64) invocations
//   share four rows and take octets in turn. ROWS is 2, 4 or 8.
// Numeric: each row has the bits that linear_few.wgsl gives it.
// Twin: engine/compute/src/reference/linear.rs.

override LANES: u32 = 32u;
override ROWS: u32 = 8u;

const WG: u32 = 64u;
// Rows of weights that invocations share.
const TOGETHER: u32 = 4u;

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

// @import linear_finish
// @import weights
// @import fold
// @import octets

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let per_workgroup = WG / LANES * TOGETHER;
    let octets = 4u * params.units;
    for (var base = workgroup.x * per_workgroup; base < params.outputs; base += workgroups.x * per_workgroup) {
        let row = base + invocation / LANES * TOGETHER;
        var sums = array<vec4<f32>, 8>();
        for (var octet = lane; octet < octets; octet += LANES) {
            var weights: array<Weights, TOGETHER>;
            for (var r = 0u; r < TOGETHER; r++) {
                weights[r] = weights_in(load_octet(min(row + r, params.outputs - 1u) * octets + octet));
            }
            for (var m = 0u; m < ROWS; m++) {
                // Rows beyond the last are that one again.
                let at = 2u * ((params.row_first + min(m, params.rows - 1u)) * octets + octet);
                let x0 = x[at];
                let x1 = x[at + 1u];
                sums[m] = vec4<f32>(
                    add_octet(weights[0], x0, x1, sums[m].x),
                    add_octet(weights[1], x0, x1, sums[m].y),
                    add_octet(weights[2], x0, x1, sums[m].z),
                    add_octet(weights[3], x0, x1, sums[m].w),
                );
            }
        }
        for (var m = 0u; m < ROWS; m++) {
            let whole = vec4<f32>(
                fold_sum(sums[m].x, LANES, invocation),
                fold_sum(sums[m].y, LANES, invocation),
                fold_sum(sums[m].z, LANES, invocation),
                fold_sum(sums[m].w, LANES, invocation),
            );
            if (lane == 0u && m < params.rows) {
                finish_four(params.row_first + m, row, whole);
            }
        }
    }
}
