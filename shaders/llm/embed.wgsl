// Looks rows of weights up: out[t] = w[tokens[t]], for the tokens whose rows are here.
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl), which are rows params.first and following of
//   the whole matrix; tokens [params.rows], out [params.rows, params.units * 8] quads. Other tokens' rows of out stay as
//   they are, except that tokens of params.all and above get zeros.
// Dispatch: any number of workgroups of 64; they stride over the octets of out.
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
    let octets = params.units * 4u;
    for (var octet = invocation.x; octet < params.rows * octets; octet += workgroups.x * 64u) {
        let token = tokens[octet / octets];
        if (token >= params.all) {
            out[2u * octet] = vec4<f32>(0.0);
            out[2u * octet + 1u] = vec4<f32>(0.0);
        } else if (token >= params.first && token - params.first < params.outputs) {
            let place = octet % octets;
            let some = octet_of((token - params.first) * params.units + place / 4u, place % 4u);
            out[2u * octet] = some.first;
            out[2u * octet + 1u] = some.second;
        }
    }
}
