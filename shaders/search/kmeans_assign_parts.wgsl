// Finds the nearest centroid of each row, where rows of different parts have centroids of their own; the rows lie anywhere.
//
// The score of (row, list) is norms[list] - params.scale * dot(row, centroid), smallest wins; see kmeans_assign.wgsl.
// Shapes: rows [any, params.quads] vec4; numbers, best and labels [the rows of all parts]; tiles [params.tile_end]: where a
//   tile's rows begin in numbers, how many they are (1 to 64), where its part's lists begin, how many they are;
//   centroids [the lists of all parts, params.quads] vec4, norms [the lists of all parts].
// Dispatch: any number of workgroups of 256; they stride over the tiles tile_first .. tile_end. Only lists list_from ..
//   list_from + list_step of each part are looked at; later dispatches over further ones carry the best score in
//   best/labels, so list_from must ascend from 0. Labels count the lists of a part from 0.
// Numeric: as kmeans_assign.wgsl, in the same order. A row without any score below f32::MAX gets label 0.
// Twin: engine/compute/src/reference/kmeans_assign.rs, part by part.

struct Params {
    tile_first: u32,
    tile_end: u32,
    quads: u32,
    list_from: u32,
    list_step: u32,
    scale: f32,
}

// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> numbers: array<u32>;
@group(0) @binding(2) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> centroids: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norms: array<f32>;
@group(0) @binding(5) var<storage, read_write> best: array<f32>;
@group(0) @binding(6) var<storage, read_write> labels: array<u32>;

// @import nearest_tile

@compute @workgroup_size(256)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var at = params.tile_first + workgroup.x; at < params.tile_end; at += workgroups.x) {
        let place = tiles[at];
        // A part without further lists has count 0: no list is looked at, and the best stays.
        let done = min(params.list_from, place.w);
        let lists = Lists(place.z + done, min(params.list_step, place.w - done), done);
        let line = invocation / DEPTH;
        var row_start = ABSENT;
        if (line < place.y) {
            row_start = numbers[place.x + line] * params.quads;
        }
        let near = nearest_of_tile(invocation, row_start, lists);
        let winner = winner_of_tile(invocation, near);
        if (invocation < place.y) {
            let row = place.x + invocation;
            if (params.list_from == 0u || winner.score < best[row]) {
                best[row] = winner.score;
                labels[row] = winner.list;
            }
        }
        workgroupBarrier();
    }
}
