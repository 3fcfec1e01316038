// Fetches what belongs to the rows that a search of lists chose: their TIDs, and exact scores where vectors are there.
//
// Shapes: tiles as in list_scan.wgsl; the second vec4 of a tile is (segment, tids_at, norms_at, vectors_at), vectors_at
//   0xffffffff where there are none, in units of 16 bytes of segment `segment`; rows_0 to rows_2 are the segments from
//   params.segment_first on. chosen_keys and chosen_rows [params.hits]: a row's number is its tile times
//   params.tile_rows plus its place there, 0xffffffff for none. queries: rows of whole octets; hit h belongs to query
//   h / params.hits_each. hits [params.hits], two vec4 each: (key, TID low, TID high, 1) and (score, |x|^2, 0, 0), both as
//   bits; all 0 where there is no row. Only hits in those segments are written, and those without a row if
//   params.segment_first is 0.
// METRIC: 0 the score is the squared Euclidean distance, else the dot product.
// Dispatch: any number of workgroups of WG invocations; 32 of them share a hit, and they stride over the hits.
// Numeric: the score is summed in the order of the CPU's kernels (engine/core/src/cpu): element i is added by one fused
//   multiply-add into partial sum i mod 32; these are folded in halves. On a device whose fused multiply-add is one, and
//   that keeps subnormals, it is theirs bit for bit.
// Twin: engine/compute/src/reference/list_fetch.rs.

// @import sum

override WG: u32 = 128u;
override LANES: u32 = 32u;
override METRIC: u32 = 0u;

struct Params {
    hits: u32,
    hits_each: u32,
    segment_first: u32,
    tile_rows: u32,
    dims: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows_0: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> rows_1: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> rows_2: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> chosen_keys: array<u32>;
@group(0) @binding(6) var<storage, read> chosen_rows: array<u32>;
@group(0) @binding(7) var<storage, read_write> hits: array<vec4<u32>>;

const NONE: u32 = 0xffffffffu;
const AHEAD: u32 = 8u;
const SEGMENTS: u32 = 3u;

fn load(segment: u32, at: u32) -> vec4<u32> {
    if (segment == 0u) {
        return rows_0[at];
    }
    if (segment == 1u) {
        return rows_1[at];
    }
    return rows_2[at];
}

// The lane's partial sum. Loads are issued AHEAD at a time, before the first is used: each takes long, the sum is serial.
fn partial_sum(segment: u32, vector_at: u32, query: u32, lane: u32) -> f32 {
    let query_at = query * ((params.dims + 7u) / 8u * 2u);
    let quads = (params.dims + 3u) / 4u;
    var sum = 0.0;
    for (var base = lane; base < params.dims; base += LANES * AHEAD) {
        var x: array<f32, AHEAD>;
        var q: array<f32, AHEAD>;
        for (var a = 0u; a < AHEAD; a++) {
            let i = base + a * LANES;
            let quad = min(i / 4u, quads - 1u);
            x[a] = bitcast<vec4<f32>>(load(segment, vector_at + quad))[i % 4u];
            q[a] = queries[query_at + quad][i % 4u];
        }
        for (var a = 0u; a < AHEAD; a++) {
            if (base + a * LANES < params.dims) {
                if (METRIC == 0u) {
                    let difference = q[a] - x[a];
                    sum = fma(difference, difference, sum);
                } else {
                    sum = fma(q[a], x[a], sum);
                }
            }
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
    let lane = invocation % LANES;
    let together = WG / LANES;
    // Whole workgroups take the same number of turns, so that no lane leaves before the sums are added up.
    for (var base = workgroup.x * together; base < params.hits; base += workgroups.x * together) {
        let hit = base + invocation / LANES;
        var row = NONE;
        if (hit < params.hits) {
            row = chosen_rows[hit];
        }
        let tile = row / params.tile_rows;
        var count = 0u;
        var place = vec4<u32>(NONE);
        if (row != NONE) {
            count = tiles[2u * tile].w;
            place = tiles[2u * tile + 1u];
        }
        let segment = place.x - params.segment_first;
        let is_here = row != NONE && place.x >= params.segment_first && segment < SEGMENTS;
        let slot = row % params.tile_rows;
        let has_row = is_here && slot < count;
        var sum = 0.0;
        if (has_row && place.w != NONE) {
            let stride = (params.dims + 3u) / 4u;
            sum = partial_sum(segment, place.w + slot * stride, hit / params.hits_each, lane);
        }
        let score = lanes_sum(sum, invocation);
        if (lane == 0u && hit < params.hits && (is_here || (row == NONE && params.segment_first == 0u))) {
            var first = vec4<u32>(0u);
            var second = vec4<u32>(0u);
            if (has_row) {
                let tids = load(segment, place.y + slot / 2u);
                let tid = select(tids.xy, tids.zw, slot % 2u == 1u);
                first = vec4<u32>(chosen_keys[hit], tid, 1u);
                let norm = load(segment, place.z + slot / 4u)[slot % 4u];
                second = vec4<u32>(bitcast<u32>(score), norm, 0u, 0u);
            }
            hits[2u * hit] = first;
            hits[2u * hit + 1u] = second;
        }
    }
}
