// Unpacks weights of any type to f16, for linear_many_cooperative.wgsl.
//
// Shapes: weights [.., params.units] of units (shared/weights.wgsl), of which params.outputs rows from params.first on are
//   unpacked; halves [params.outputs, params.units * 8] in quads of two words.
// Dispatch: any number of workgroups of 256; they stride over the quads.
// Numeric: a scale times a number, and a shift, in f32, then rounded to f16 as the device does it.
// Twin: engine/compute/src/reference/embed.rs (weights).

struct Params {
    outputs: u32,
    units: u32,
    first: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
}
// @params

// @import weights

@group(0) @binding(2) var<storage, read_write> halves: array<vec2<u32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var quad = invocation.x; quad < params.outputs * params.units * 8u; quad += workgroups.x * 256u) {
        let some = weights_of(params.first * params.units + quad / 8u, quad % 8u);
        halves[quad] = vec2<u32>(pack2x16float(some.xy), pack2x16float(some.zw));
    }
}
