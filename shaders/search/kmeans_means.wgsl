// Divides sums of rows by the number of rows: what follows the k-means update when its rows came in several parts.
//
// Shapes: sums [params.lists, params.quads] vec4, counts [params.lists], centroids [params.lists, params.quads] vec4. A
//   list without rows keeps its centroid.
// Dispatch: any number of workgroups of WG invocations; they stride over lists and quads.
// Numeric: f32, one division.
// Twin: engine/compute/src/reference/kmeans_update.rs.

override WG: u32 = 64u;

struct Params {
    lists: u32,
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> centroids: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < params.lists * params.quads; i += workgroups.x * WG) {
        let count = counts[i / params.quads];
        if (count > 0u) {
            centroids[i] = sums[i] / f32(count);
        }
    }
}
