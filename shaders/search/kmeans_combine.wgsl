// Adds up the chunks of each list: the last step of the k-means update.
//
// Shapes: partials, starts and first_chunks as in kmeans_update; sums [params.lists, params.quads] vec4: the sums, or
//   with params.mean their means, for quads quad_first .. quad_first + quad_count; counts [params.lists]: rows of each
//   list, written with the first quad. With params.carry, sums and counts are added to what is there. With params.mean,
//   a list without rows keeps what is there.
// Dispatch: any number of workgroups of WG invocations; they stride over lists and quads.
// Numeric: f32, chunks in their order.
// Twin: engine/compute/src/reference/kmeans_update.rs.

override WG: u32 = 64u;

struct Params {
    lists: u32,
    quads: u32,
    quad_first: u32,
    quad_count: u32,
    carry: u32,
    mean: u32,
}
// @params

@group(0) @binding(0) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> first_chunks: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < params.lists * params.quad_count; i += workgroups.x * WG) {
        let list = i / params.quad_count;
        let quad = i % params.quad_count;
        let at = list * params.quads + params.quad_first + quad;
        let count = starts[list + 1u] - starts[list];
        let chunk_end = min(first_chunks[list + 1u], arrayLength(&partials) / params.quad_count);
        var sum = vec4<f32>(0.0);
        if (params.carry != 0u) {
            sum = sums[at];
        }
        for (var chunk = first_chunks[list]; chunk < chunk_end; chunk++) {
            sum += partials[chunk * params.quad_count + quad];
        }
        if (params.mean == 0u) {
            sums[at] = sum;
        } else if (count > 0u) {
            sums[at] = sum / f32(count);
        }
        if (params.quad_first + quad == 0u) {
            counts[list] = count + select(0u, counts[list], params.carry != 0u);
        }
    }
}
