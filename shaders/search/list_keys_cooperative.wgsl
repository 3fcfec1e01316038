// Scores many queries against rows of lists on matrix units: list_keys.wgsl with queries as f16 codes.
// Needs f16, subgroups of 32, subgroup barriers, and cooperative matrices of 16 x 16 with f16 inputs and f32 sums.
//
// Shapes: as in list_keys.wgsl, but query_codes [n, params.octets] octets of f16, and query_heads those of the codes, with
//   their scale.
// METRIC: 0 Euclidean distance, 1 negative inner product, 2 cosine distance.
// Dispatch: any number of workgroups of 128; they stride over the blocks from params.block_first on.
// Numeric: products of f16 summed in f32 in the order of the matrix unit.
// Twin: engine/compute/src/reference/list_keys.rs, on the codes.

enable f16;
enable wgpu_cooperative_matrix;

override METRIC: u32 = 0u;

struct Params {
    block_first: u32,
    block_end: u32,
    octets: u32,
}
// @params

// @import list_key

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> query_codes: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> query_heads: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> query_map: array<u32>;
@group(0) @binding(5) var<storage, read> blocks: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;

// @import cooperative_tile

const STRIP: u32 = 256u;

// One matrix of sums for each subgroup, on its way to the lanes.
var<workgroup> strips: array<f32, WG / 32u * STRIP>;

// The records of a lane's four queries: query 16 i + lane / 2 of the subgroup.
struct Queries {
    head: array<vec4<f32>, 4>,
    known: array<bool, 4>,
}

// Queries and rows beyond the end are read from the last one, and their sums not used.
fn places_of(invocation: u32, block: vec4<u32>, tile: vec4<u32>) -> Places {
    var places: Places;
    for (var l = 0u; l < LOADS; l++) {
        let line = line_of(invocation) + l * LOAD_LINES;
        places.a[l] = query_map[block.y + min(line, block.z - 1u)] * params.octets;
        places.b[l] = tile.x + min(line, tile.w - 1u) * params.octets;
    }
    return places;
}

fn load_slab(given: Places, octet: u32) -> Slab {
    var places = given;
    var slab: Slab;
    for (var l = 0u; l < LOADS; l++) {
        slab.a[l] = vec4<u32>(0u);
        slab.b[l] = vec4<u32>(0u);
        if (octet < params.octets) {
            slab.a[l] = query_codes[places.a[l] + octet];
            slab.b[l] = rows[places.b[l] + octet];
        }
    }
    return slab;
}

// The larger factor first, so that nothing vanishes on the way that does not in the end.
fn scaled(sum: f32, a: f32, b: f32) -> f32 {
    return sum * max(a, b) * min(a, b);
}

// Makes keys of the sums of 64 queries and the 16 rows from `row`: hands them to the lanes, eight of each query.
fn convert(
    strip: u32,
    lane: u32,
    tile: vec4<u32>,
    row: u32,
    place: u32,
    step: u32,
    queries: Queries,
    s0: coop_mat16x16<f32, C>,
    s1: coop_mat16x16<f32, C>,
    s2: coop_mat16x16<f32, C>,
    s3: coop_mat16x16<f32, C>,
) {
    var asked = queries;
    var heads: array<vec4<f32>, 8>;
    for (var e = 0u; e < 8u; e++) {
        heads[e] = bitcast<vec4<f32>>(rows[tile.y + min(row + e, tile.w - 1u)]);
    }
    for (var i = 0u; i < 4u; i++) {
        subgroupBarrier();
        switch i {
            case 0u: { coopStoreT(s0, &strips[strip], 16u); }
            case 1u: { coopStoreT(s1, &strips[strip], 16u); }
            case 2u: { coopStoreT(s2, &strips[strip], 16u); }
            default: { coopStoreT(s3, &strips[strip], 16u); }
        }
        subgroupBarrier();
        if (asked.known[i]) {
            let at = place + 16u * i * step;
            for (var e = 0u; e < 8u; e++) {
                let dot = scaled(strips[strip + 8u * lane + e], heads[e].x, asked.head[i].x);
                let key = key_of_dot(dot, heads[e], asked.head[i]);
                keys[at + e] = select(infinity(), key, row + e < tile.w);
            }
        }
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let side_query = subgroup / 2u * SIDE;
    let side_row = subgroup % 2u * SIDE;
    let strip = subgroup * STRIP;
    for (var number = params.block_first + workgroup.x; number < params.block_end; number += workgroups.x) {
        let block = blocks[2u * number];
        let step = blocks[2u * number + 1u].x;
        let tile = tiles[2u * block.x];
        var queries: Queries;
        let first = side_query + lane / 2u;
        for (var i = 0u; i < 4u; i++) {
            let query = first + 16u * i;
            queries.known[i] = query < block.z;
            queries.head[i] = query_heads[query_map[block.y + min(query, block.z - 1u)]];
        }
        let places = places_of(invocation, block, tile);
        let t = multiply_lines(invocation, places, params.octets, side_query, side_row);
        let row = side_row + 8u * (lane % 2u);
        let at = block.w + first * step + row;
        convert(strip, lane, tile, row, at, step, queries, t.s0.c0, t.s1.c0, t.s2.c0, t.s3.c0);
        convert(strip, lane, tile, row + 16u, at + 16u, step, queries, t.s0.c1, t.s1.c1, t.s2.c1, t.s3.c1);
        convert(strip, lane, tile, row + 32u, at + 32u, step, queries, t.s0.c2, t.s1.c2, t.s2.c2, t.s3.c2);
        convert(strip, lane, tile, row + 48u, at + 48u, step, queries, t.s0.c3, t.s1.c3, t.s2.c3, t.s3.c3);
    }
}
