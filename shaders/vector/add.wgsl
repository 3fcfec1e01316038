// Adds two vectors element by element: sum[i] = a[i] + scale * b[i].
//
// Shapes: a, b, sum [params.n]; sum is neither a nor b.
// Dispatch: any number of workgroups of WG invocations; they stride over the elements.
// Numeric: one fused multiply-add in f32 where the device has it, else two roundings. NaN and infinity follow IEEE
//   754 as far as the device does; subnormals may be flushed to zero.
// Twin: engine/compute/src/reference/add.rs.

override WG: u32 = 64u;

struct Params {
    n: u32,
    scale: f32,
}
// @params

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < params.n; i += workgroups.x * WG) {
        sum[i] = fma(params.scale, b[i], a[i]);
    }
}
