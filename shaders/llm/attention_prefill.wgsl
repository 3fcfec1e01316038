// Attention of many rows of a sequence over its cached positions: a tile of rows to a workgroup, which reads the keys once.
//
// Shapes: rows_in [rows, (heads + 2 * kv_heads) * HEAD] f32: queries, keys, values, of which the queries are turned here; rows
//   [rows] (sequence, position); tables, turns, cache: as the shared parts say, the rows' own keys and values stored already.
//   tiles [params.tiles] (first row, rows), of rows of one sequence in order of their positions. A row sees positions 0 to its
//   own. Rows of a tile times GROUP, the heads of queries to a head of keys, are at most 32. attended [rows, heads, HEAD].
// Dispatch: any number of workgroups of 256; they stride over tiles and heads of keys.
// Numeric: f32; positions in blocks of 16 in ascending order, whatever the tile. HEAD at most 256.
// Twin: engine/compute/src/reference/attention.rs.

override GROUP: u32 = 1u;
override HEAD: u32 = 64u;
override OCTETS: u32 = HEAD / 8u;
override QUADS: u32 = HEAD / 4u;
// A line of keys, padded to spread over the banks.
override LINE: u32 = QUADS + 1u;

struct Params {
    tiles: u32,
    heads: u32,
    kv_heads: u32,
    blocks_max: u32,
    blocks: u32,
    pairs: u32,
    adjacent: u32,
    positions: u32,
    scale: f32,
}
// @params

@group(0) @binding(0) var<storage, read> rows_in: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> cache: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> tiles: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> attended: array<vec4<f32>>;

// @import turned
// @import cache_block

const WG: u32 = 256u;
// Pairs of row and head that a workgroup does; an invocation does two of them, `SLICES` of them sharing each.
const QUERIES: u32 = 32u;
const SLICES: u32 = 16u;
// Quads of the values that an invocation sums, at most.
const EACH: u32 = 4u;
const LEAST: f32 = -3.0e38;

var<workgroup> of_tile: vec4<u32>;
var<workgroup> queries: array<vec4<f32>, QUERIES * QUADS>;
// A block's keys, then its values.
var<workgroup> lines: array<vec4<f32>, BLOCK_TOKENS * LINE>;
var<workgroup> scores: array<f32, QUERIES * BLOCK_TOKENS>;
var<workgroup> weights: array<f32, QUERIES * BLOCK_TOKENS>;

// The first `count` positions of a block; the others become zeros, because what lies there may be no numbers.
fn load_lines(invocation: u32, start: u32, count: u32) {
    for (var i = invocation; i < BLOCK_TOKENS * OCTETS; i += WG) {
        var octet = vec4<u32>(0u);
        if (i < count * OCTETS) {
            octet = cache[start + i];
        }
        let at = i / OCTETS * LINE + i % OCTETS * 2u;
        lines[at] = low_quad(octet);
        lines[at + 1u] = high_quad(octet);
    }
}

fn score(query: u32, key: u32) -> f32 {
    var sum = vec4<f32>(0.0);
    for (var quad = 0u; quad < QUADS; quad++) {
        sum += queries[query * QUADS + quad] * lines[key * LINE + quad];
    }
    return dot(sum, vec4<f32>(1.0));
}

// What a query's largest score becomes with this block's.
fn raised(query: u32, before: f32) -> f32 {
    var most = before;
    for (var key = 0u; key < BLOCK_TOKENS; key++) {
        most = max(most, scores[query * BLOCK_TOKENS + key]);
    }
    return most;
}

fn attend(invocation: u32, kv_head: u32, tile: vec4<u32>) {
    let first = tile.x;
    let last_position = tile.w;
    // Rows of a tile are of following positions.
    let first_position = last_position + 1u - tile.y;
    let row_start = (params.heads + 2u * params.kv_heads) * HEAD;
    for (var i = invocation; i < QUERIES * QUADS; i += WG) {
        let query = i / QUADS;
        let row = min(query / GROUP, tile.y - 1u);
        let head = kv_head * GROUP + query % GROUP;
        queries[i] = params.scale
            * turned_quad((first + row) * row_start + head * HEAD, i % QUADS * 4u, first_position + row);
    }
    let slice = invocation % SLICES;
    let pair = vec2<u32>(invocation / SLICES, invocation / SLICES + QUERIES / 2u);
    let seen = first_position + pair / GROUP;
    var most = vec2<f32>(LEAST);
    var total = vec2<f32>(0.0);
    var sums = array<array<vec4<f32>, EACH>, 2>();
    for (var base = 0u; base <= last_position; base += BLOCK_TOKENS) {
        let start = cache_start(tile.z, base, kv_head);
        let count = last_position + 1u - base;
        workgroupBarrier();
        load_lines(invocation, start, count);
        workgroupBarrier();
        for (var i = 0u; i < 2u; i++) {
            let is_seen = base + slice <= seen[i];
            scores[pair[i] * BLOCK_TOKENS + slice] = select(LEAST, score(pair[i], slice), is_seen);
        }
        workgroupBarrier();
        load_lines(invocation, start + value_offset(), count);
        var factor = vec2<f32>(0.0);
        for (var i = 0u; i < 2u; i++) {
            let larger = raised(pair[i], most[i]);
            factor[i] = exp(most[i] - larger);
            most[i] = larger;
            let at = pair[i] * BLOCK_TOKENS + slice;
            weights[at] = select(0.0, exp(scores[at] - larger), base + slice <= seen[i]);
        }
        workgroupBarrier();
        for (var i = 0u; i < 2u; i++) {
            total[i] *= factor[i];
            for (var j = 0u; j < EACH; j++) {
                sums[i][j] *= factor[i];
            }
        }
        for (var key = 0u; key < BLOCK_TOKENS; key++) {
            let weight = vec2<f32>(weights[pair.x * BLOCK_TOKENS + key], weights[pair.y * BLOCK_TOKENS + key]);
            total += weight;
            for (var j = 0u; j < EACH; j++) {
                if (j * SLICES + slice < QUADS) {
                    let value = lines[key * LINE + j * SLICES + slice];
                    sums[0][j] += weight.x * value;
                    sums[1][j] += weight.y * value;
                }
            }
        }
    }
    for (var i = 0u; i < 2u; i++) {
        for (var j = 0u; j < EACH; j++) {
            let quad = j * SLICES + slice;
            if (pair[i] < tile.y * GROUP && quad < QUADS) {
                let head = (first + pair[i] / GROUP) * params.heads + kv_head * GROUP + pair[i] % GROUP;
                attended[head * QUADS + quad] = sums[i][j] / total[i];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var item = workgroup.x; item < params.tiles * params.kv_heads; item += workgroups.x) {
        if (invocation == 0u) {
            let of_rows = tiles[item / params.kv_heads];
            of_tile = vec4<u32>(of_rows, rows[of_rows.x + of_rows.y - 1u]);
        }
        attend(invocation, item % params.kv_heads, workgroupUniformLoad(&of_tile));
        workgroupBarrier();
    }
}
