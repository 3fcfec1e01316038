// Sums the rows of each chunk of a list: the main step of the k-means update, without atomic operations.
//
// Shapes: rows [params.n, params.quads] vec4; order [params.n]: row numbers by list; starts [params.lists + 1] as in
//   kmeans_starts, first_chunks [params.lists + 1]: its chunks, scanned; partials [chunks, params.quad_count] vec4:
//   the sums of quads quad_first .. quad_first + quad_count of each chunk. Chunks beyond the last are left out.
// Dispatch: workgroups of WG invocations; in x they stride over chunks chunk_first .. chunk_end, in y over tiles of
//   WG / 4 quads.
// Numeric: f32. Four runs of rows 4 apart, each in its order, then (0 + 1) + (2 + 3): the result depends neither on WG
//   nor on the number of workgroups.
// Twin: engine/compute/src/reference/kmeans_update.rs.

override WG: u32 = 128u;
const RUNS: u32 = 4u;
// Rows of a run that are loaded before they are added, to have several loads under way.
const AHEAD: u32 = 4u;

struct Params {
    n: u32,
    quads: u32,
    quad_first: u32,
    quad_count: u32,
    lists: u32,
    chunk_rows: u32,
    chunk_first: u32,
    chunk_end: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> first_chunks: array<u32>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>;

var<workgroup> runs: array<vec4<f32>, WG>;

// The list that `chunk` is part of: the last whose first chunk is not behind it.
fn list_of(chunk: u32) -> u32 {
    var low = 0u;
    var high = params.lists - 1u;
    while (low < high) {
        let middle = high - (high - low) / 2u;
        if (first_chunks[middle] <= chunk) {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    return low;
}

// The sum of rows `run`, `run` + 4, ... of those at order[first..end], in their order.
fn run_sum(first: u32, end: u32, run: u32, quad: u32) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    for (var at = first + run; at < end; at += RUNS * AHEAD) {
        var loaded: array<vec4<f32>, 4>;
        for (var j = 0u; j < AHEAD; j++) {
            loaded[j] = vec4<f32>(0.0);
            if (at + j * RUNS < end) {
                let row = min(order[at + j * RUNS], params.n - 1u);
                loaded[j] = rows[row * params.quads + quad];
            }
        }
        for (var j = 0u; j < AHEAD; j++) {
            sum += loaded[j];
        }
    }
    return sum;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let width = WG / RUNS;
    let run = invocation / width;
    let chunk_end = min(params.chunk_end, first_chunks[params.lists]);
    for (var chunk = params.chunk_first + workgroup.x; chunk < chunk_end; chunk += workgroups.x) {
        let list = list_of(chunk);
        let first = starts[list] + (chunk - first_chunks[list]) * params.chunk_rows;
        let end = min(min(first + params.chunk_rows, starts[list + 1u]), params.n);
        for (var tile = workgroup.y * width; tile < params.quad_count; tile += workgroups.y * width) {
            let quad = tile + invocation % width;
            var sum = vec4<f32>(0.0);
            if (quad < params.quad_count) {
                sum = run_sum(first, end, run, params.quad_first + quad);
            }
            runs[invocation] = sum;
            workgroupBarrier();
            if (run == 0u && quad < params.quad_count) {
                let total = (sum + runs[invocation + width])
                    + (runs[invocation + 2u * width] + runs[invocation + 3u * width]);
                partials[chunk * params.quad_count + quad] = total;
            }
            workgroupBarrier();
        }
    }
}
