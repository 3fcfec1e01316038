// Reads memory and does next to nothing with it, to find the rate that no kernel can pass.
//
// Shapes: values [4 * params.quads] u32, results [workgroups * WG].
// Dispatch: at most arrayLength(results) / WG workgroups of WG invocations; they stride over the quads, four loads of
//   each invocation under way at a time.
// Numeric: exclusive or of all words that an invocation reads.
// Twin: engine/compute/src/reference/read.rs.

override WG: u32 = 256u;

struct Params {
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> results: array<u32>;

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let stride = workgroups.x * WG;
    var mixed = vec4<u32>(0u);
    for (var quad = invocation.x; quad < params.quads; quad += 4u * stride) {
        let a = values[quad];
        let b = values[min(quad + stride, params.quads - 1u)];
        let c = values[min(quad + 2u * stride, params.quads - 1u)];
        let d = values[min(quad + 3u * stride, params.quads - 1u)];
        mixed ^= a;
        mixed ^= select(vec4<u32>(0u), b, quad + stride < params.quads);
        mixed ^= select(vec4<u32>(0u), c, quad + 2u * stride < params.quads);
        mixed ^= select(vec4<u32>(0u), d, quad + 3u * stride < params.quads);
    }
    if (invocation.x < arrayLength(&results)) {
        results[invocation.x] = (mixed.x ^ mixed.y) ^ (mixed.z ^ mixed.w);
    }
}
