// Compares one 1-bit code with every row's.
//
// METRIC: 0 Hamming distance (bits that differ), 1 bits that are set in both.
// Shapes: rows [params.rows, params.quads] vec4 of words, query [params.quads] vec4, scores [params.rows].
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES (a power of two that
//   divides WG) invocations share a row: consecutive lanes read consecutive quads.
// Numeric: exact; a count of up to 2^24 bits is an f32.
// Twin: engine/compute/src/reference/score_bits.rs.

// @import sum

override WG: u32 = 64u;
override LANES: u32 = 8u;
override METRIC: u32 = 0u;

struct Params {
    rows: u32,
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> query: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;

const AND_COUNT: u32 = 1u;

fn row_part(row: u32, lane: u32) -> i32 {
    var counts = vec4<u32>(0u);
    let first = row * params.quads;
    for (var quad = lane; quad < params.quads; quad += LANES) {
        let x = rows[first + quad];
        let q = query[quad];
        counts += countOneBits(select(q ^ x, q & x, METRIC == AND_COUNT));
    }
    return i32((counts.x + counts.y) + (counts.z + counts.w));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let rows_per_workgroup = WG / LANES;
    let stride = workgroups.x * rows_per_workgroup;
    for (var base = workgroup.x * rows_per_workgroup; base < params.rows; base += stride) {
        let row = base + invocation / LANES;
        var count = 0;
        if (row < params.rows) {
            count = row_part(row, lane);
        }
        count = lanes_sum_i32(count, invocation);
        if (lane == 0u && row < params.rows) {
            scores[row] = f32(count);
        }
    }
}
