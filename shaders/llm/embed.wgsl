// Looks rows of weights up: out[t] = w[tokens[t]], for the tokens whose rows are here.
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl), which are rows params.first and following of
//   the whole matrix; tokens [params.rows], out [params.rows, params.units * 8] quads. Other tokens' rows of out stay as
//   they are, except that tokens of params.all and above get zeros.
// Dispatch: any number of workgroups of 64; they stride over the quads of out.
// Numeric: a scale times a number, and a shift, in f32.
// Twin: engine/compute/src/reference/embed.rs.

struct Params {
    rows: u32,
    outputs: u32,
    units: u32,
    first: u32,
    all: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
}
// @params

// @import weights

@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let quads_a_row = params.units * 8u;
    for (var quad = invocation.x; quad < params.rows * quads_a_row; quad += workgroups.x * 64u) {
        let token = tokens[quad / quads_a_row];
        if (token >= params.all) {
            out[quad] = vec4<f32>(0.0);
        } else if (token >= params.first && token - params.first < params.outputs) {
            let place = quad % quads_a_row;
            out[quad] = weights_of((token - params.first) * params.units + place / 8u, place % 8u);
        }
    }
}
