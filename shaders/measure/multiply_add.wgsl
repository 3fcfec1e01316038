// Multiplies and adds in registers, to find the rate that no kernel can pass.
//
// Shapes: results [workgroups * WG]; each invocation runs 16 chains of params.rounds fused multiply-adds.
// Dispatch: one workgroup of WG invocations for each WG results.
// Numeric: each chain converges to params.limit, so that nothing overflows and nothing can be left out.
// Twin: engine/compute/src/reference/multiply_add.rs.

override WG: u32 = 256u;

struct Params {
    rounds: u32,
    limit: f32,
}
// @params

@group(0) @binding(0) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let start = f32(invocation.x % 64u);
    var a = vec4<f32>(start);
    var b = vec4<f32>(start + 1.0);
    var c = vec4<f32>(start + 2.0);
    var d = vec4<f32>(start + 3.0);
    let half = vec4<f32>(0.5);
    let rest = vec4<f32>(0.5 * params.limit);
    for (var round = 0u; round < params.rounds; round++) {
        a = fma(a, half, rest);
        b = fma(b, half, rest);
        c = fma(c, half, rest);
        d = fma(d, half, rest);
    }
    let sum = (a + b) + (c + d);
    if (invocation.x < arrayLength(&results)) {
        results[invocation.x] = (sum.x + sum.y) + (sum.z + sum.w);
    }
}
