// Finds where each list starts among the sorted labels, and into how many chunks of rows it is cut.
//
// Shapes: labels [params.n], ascending; starts [params.lists + 1]: the rows of list l are starts[l] .. starts[l + 1];
//   chunks [params.lists + 1]: each list's number of chunks of params.chunk_rows, then 0. Labels from params.lists on
//   belong to no list.
// Dispatch: any number of workgroups of WG invocations; they stride over the lists.
// Numeric: exact.
// Twin: engine/compute/src/reference/kmeans_update.rs.

override WG: u32 = 64u;

struct Params {
    n: u32,
    lists: u32,
    chunk_rows: u32,
}
// @params

@group(0) @binding(0) var<storage, read> labels: array<u32>;
@group(0) @binding(1) var<storage, read_write> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> chunks: array<u32>;

// The first position from `first` on whose label is at least `list`.
fn start_of(list: u32, first: u32) -> u32 {
    var low = first;
    var high = params.n;
    while (low < high) {
        let middle = low + (high - low) / 2u;
        if (labels[middle] < list) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var list = invocation.x; list <= params.lists; list += workgroups.x * WG) {
        let start = start_of(list, 0u);
        starts[list] = start;
        var count = 0u;
        if (list < params.lists) {
            count = start_of(list + 1u, start) - start;
        }
        chunks[list] = (count + params.chunk_rows - 1u) / params.chunk_rows;
    }
}
