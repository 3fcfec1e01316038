// Scores many queries against rows of lists on matrix units: list_keys.wgsl with queries as f16 codes.
// Needs f16, subgroups of 32, subgroup barriers, and cooperative matrices of 16 x 16 with f16 inputs and f32 sums.
//
// Shapes: as in list_keys.wgsl, but query_codes [n, params.octets] octets of f16, and query_heads those of the codes, with
//   their scale. With BELOW = 1 no keys are touched.
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
// @import sort_key
// @import candidates

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> query_codes: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> query_heads: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> query_map: array<u32>;
@group(0) @binding(5) var<storage, read> blocks: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;
@group(0) @binding(7) var<storage, read_write> candidates: array<atomic<u32>>;

// @import keep_below
// @import eight_rows

// @import cooperative_tile
// @import cooperative_slab

// In vec4.
const STRIP: u32 = 64u;

// One matrix of sums for each subgroup, on its way to the lanes.
var<workgroup> strips: array<vec4<f32>, WG / 32u * STRIP>;

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

fn query_of(block: vec4<u32>, place: u32) -> Query {
    var query: Query;
    query.known = place < block.z;
    query.number = query_map[block.y + min(place, block.z - 1u)];
    query.head = query_heads[query.number];
    query.limit = limit_of(query.number);
    query.limit_value = bitcast<f32>(float_of_key(query.limit));
    if (query.limit == NO_LIMIT) {
        query.limit_value = infinity();
    }
    return query;
}

fn head_of(tile: vec4<u32>, row: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(rows[tile.y + min(row, tile.w - 1u)]);
}

fn eight_of(block: vec4<u32>, tile: vec4<u32>, row: u32) -> EightRows {
    return EightRows(
        four_heads(head_of(tile, row), head_of(tile, row + 1u), head_of(tile, row + 2u), head_of(tile, row + 3u)),
        four_heads(head_of(tile, row + 4u), head_of(tile, row + 5u), head_of(tile, row + 6u), head_of(tile, row + 7u)),
        block.x * TILE + row,
        max(row, tile.w) - row,
    );
}

// The larger factor first, so that nothing vanishes on the way that does not in the end.
fn scaled(sum: vec4<f32>, a: vec4<f32>, b: f32) -> vec4<f32> {
    return sum * max(a, vec4<f32>(b)) * min(a, vec4<f32>(b));
}

// Puts four keys in their places, of rows of which so many are there.
fn put_keys(at: u32, four: vec4<f32>, count: u32) {
    keys[at] = select(infinity(), four.x, count > 0u);
    keys[at + 1u] = select(infinity(), four.y, count > 1u);
    keys[at + 2u] = select(infinity(), four.z, count > 2u);
    keys[at + 3u] = select(infinity(), four.w, count > 3u);
}

// Makes keys of the sums of 16 queries and 16 rows: hands them to the lanes, eight of each query.
fn convert(strip: u32, lane: u32, eight: EightRows, at: u32, query: Query, sums: coop_mat16x16<f32, C>) {
    subgroupBarrier();
    coopStoreT(sums, &strips[strip], 4u);
    subgroupBarrier();
    if (!query.known) {
        return;
    }
    let low = scaled(strips[strip + 2u * lane], eight.low.x, query.head.x);
    let high = scaled(strips[strip + 2u * lane + 1u], eight.high.x, query.head.x);
    let dots = EightSums(low, high);
    if (BELOW == 1u) {
        keep_below(dots, eight, query);
        return;
    }
    put_keys(at, keys_of_four(dots.low, eight.low, query.head), eight.count);
    put_keys(at + 4u, keys_of_four(dots.high, eight.high, query.head), max(eight.count, 4u) - 4u);
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
        let first = side_query + lane / 2u;
        let places = places_of(invocation, block, tile);
        let t = multiply_lines(invocation, places, params.octets, side_query, side_row);
        let q0 = query_of(block, first);
        let q1 = query_of(block, first + 16u);
        let q2 = query_of(block, first + 32u);
        let q3 = query_of(block, first + 48u);
        let row = side_row + 8u * (lane % 2u);
        let at = block.w + first * step + row;
        var eight = eight_of(block, tile, row);
        convert(strip, lane, eight, at, q0, t.s0.c0);
        convert(strip, lane, eight, at + 16u * step, q1, t.s1.c0);
        convert(strip, lane, eight, at + 32u * step, q2, t.s2.c0);
        convert(strip, lane, eight, at + 48u * step, q3, t.s3.c0);
        eight = eight_of(block, tile, row + 16u);
        convert(strip, lane, eight, at + 16u, q0, t.s0.c1);
        convert(strip, lane, eight, at + 16u * step + 16u, q1, t.s1.c1);
        convert(strip, lane, eight, at + 32u * step + 16u, q2, t.s2.c1);
        convert(strip, lane, eight, at + 48u * step + 16u, q3, t.s3.c1);
        eight = eight_of(block, tile, row + 32u);
        convert(strip, lane, eight, at + 32u, q0, t.s0.c2);
        convert(strip, lane, eight, at + 16u * step + 32u, q1, t.s1.c2);
        convert(strip, lane, eight, at + 32u * step + 32u, q2, t.s2.c2);
        convert(strip, lane, eight, at + 48u * step + 32u, q3, t.s3.c2);
        eight = eight_of(block, tile, row + 48u);
        convert(strip, lane, eight, at + 48u, q0, t.s0.c3);
        convert(strip, lane, eight, at + 16u * step + 48u, q1, t.s1.c3);
        convert(strip, lane, eight, at + 32u * step + 48u, q2, t.s2.c3);
        convert(strip, lane, eight, at + 48u * step + 48u, q3, t.s3.c3);
    }
}
