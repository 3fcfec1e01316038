// Finds the nearest centroid of each row: a tiled product of rows and centroids fused with an argmin.
//
// The score of (row, list) is norms[list] - params.scale * dot(row, centroid), smallest wins: with norms = |c|^2 and
//   scale = 2 that orders by Euclidean distance, with norms = 0 and scale = 1 by inner product.
// Shapes: rows [params.rows, params.quads] vec4, centroids [lists of the segment, params.quads] vec4, norms [lists of
//   the segment], best and labels [params.rows]. Only lists list_first .. list_first + list_count of the segment are
//   looked at; list_first is number list_number over all segments.
// Dispatch: any number of workgroups of 256; they stride over tiles of 64 rows. Dispatches over further lists carry
//   the best score in best/labels; carry = 0 starts afresh. Lists must be dispatched in ascending order.
// Numeric: f32, four partial sums a pair. Ties go to the lower list. A row without any score below f32::MAX
//   (NaN, infinity) keeps label 0.
// Twin: engine/compute/src/reference/kmeans_assign.rs.

struct Params {
    rows: u32,
    quads: u32,
    list_first: u32,
    list_count: u32,
    list_number: u32,
    carry: u32,
    scale: f32,
}

// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> centroids: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> best: array<f32>;
@group(0) @binding(4) var<storage, read_write> labels: array<u32>;

// @import nearest_tile

@compute @workgroup_size(256)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lists = Lists(params.list_first, params.list_count, params.list_number);
    for (var row_base = workgroup.x * TILE; row_base < params.rows; row_base += workgroups.x * TILE) {
        let loaded = row_base + invocation / DEPTH;
        let row_start = select(ABSENT, loaded * params.quads, loaded < params.rows);
        let near = nearest_of_tile(invocation, row_start, lists);
        let winner = winner_of_tile(invocation, near);
        let row = row_base + invocation;
        if (invocation < TILE && row < params.rows) {
            if (params.carry == 0u || winner.score < best[row]) {
                best[row] = winner.score;
                labels[row] = winner.list;
            }
        }
        workgroupBarrier();
    }
}
