// Scores many queries against rows of lists, each list against the queries that probe it: blocks of a product of matrices.
//
// Shapes: rows and tiles as in list_scan.wgsl, with params.tile_rows = 128. queries [n, 2 * params.octets] vec4.
//   query_heads [n]: records of list_key.wgsl. query_map: numbers of queries. blocks [params.block_end], two vec4 each:
//   (tile, first place in query_map, queries, first place in keys) and (places from a query to the next, 0, 0, 0); a
//   block has at most 128 queries. keys[first + i * step + j]: the key of query i and row j of the tile; infinite where
//   the tile has no row j. With BELOW = 1 that is only room for sums, and keys go to candidates (shared/candidates.wgsl), a row's number
//   being its tile times 128 plus its place there.
// METRIC: 0 Euclidean distance, 1 negative inner product, 2 cosine distance.
// Dispatch: any number of workgroups of 256; they stride over the blocks from params.block_first on. A run takes octets
//   params.octet_first to params.octet_end of each row, adds to the sums that it finds in keys, except from octet 0, and
//   leaves sums there, except at the last octet.
// Numeric: f32, one running sum a key and run, in ascending order. 8.25 KiB of workgroup memory.
// Twin: engine/compute/src/reference/list_keys.rs.

override METRIC: u32 = 0u;

struct Params {
    block_first: u32,
    block_end: u32,
    octets: u32,
    octet_first: u32,
    octet_end: u32,
}
// @params

// @import list_key
// @import sort_key
// @import candidates

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> query_heads: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> query_map: array<u32>;
@group(0) @binding(5) var<storage, read> blocks: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;
@group(0) @binding(7) var<storage, read_write> candidates: array<atomic<u32>>;

// @import keep_below

const WG: u32 = 256u;
const TILE: u32 = 128u;
// A line holds one element of the whole tile, and is padded to spread the transposing stores over the banks.
const LINE: u32 = TILE + 4u;

var<workgroup> tile_a: array<f32, 8u * LINE>;
var<workgroup> tile_b: array<f32, 8u * LINE>;

// An octet of one query and row: half the invocations load queries, half rows.
struct Slab {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn load_slab(invocation: u32, block: vec4<u32>, tile: vec4<u32>, octet: u32) -> Slab {
    if (octet >= params.octet_end) {
        return Slab();
    }
    let line = invocation % TILE;
    if (invocation < TILE) {
        let query = query_map[block.y + min(line, block.z - 1u)];
        let at = (query * params.octets + octet) * 2u;
        return Slab(queries[at], queries[at + 1u]);
    }
    let code = rows[tile.x + min(line, tile.w - 1u) * params.octets + octet];
    return Slab(
        vec4<f32>(unpack2x16float(code.x), unpack2x16float(code.y)),
        vec4<f32>(unpack2x16float(code.z), unpack2x16float(code.w)),
    );
}

fn store_slab(invocation: u32, slab: Slab) {
    let line = invocation % TILE;
    for (var i = 0u; i < 4u; i++) {
        if (invocation < TILE) {
            tile_a[i * LINE + line] = slab.low[i];
            tile_a[(4u + i) * LINE + line] = slab.high[i];
        } else {
            tile_b[i * LINE + line] = slab.low[i];
            tile_b[(4u + i) * LINE + line] = slab.high[i];
        }
    }
}

// Makes keys of the sums that this invocation has stored. Apart from storing them, which has to be short: were that loop not
// unrolled, the sums would lie in memory.
fn convert(block: vec4<u32>, step: u32, tile: vec4<u32>, x: u32, y: u32) {
    for (var place = 0u; place < 64u; place++) {
        let i = place / 32u * 64u + y + place / 8u % 4u;
        let j = place / 4u % 2u * 64u + x + place % 4u;
        if (i < block.z && j < tile.w) {
            let query = query_map[block.y + i];
            let at = block.w + i * step + j;
            let head = bitcast<vec4<f32>>(rows[tile.y + j]);
            let key = key_of_dot(keys[at] * head.x, head, query_heads[query]);
            if (BELOW == 0u) {
                keys[at] = key;
                continue;
            }
            let ordered = key_of_float(bitcast<u32>(key));
            if (ordered < limit_of(query)) {
                put_candidate(query, add_candidates(query, 1u), block.x * TILE + j, ordered);
            }
        } else if (i < block.z && BELOW == 0u) {
            keys[block.w + i * step + j] = infinity();
        }
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    // 8 x 4 invocations of a subgroup of 32 lie together: fewest bytes from the tiles.
    let x = 4u * (invocation % 8u + invocation / 32u % 2u * 8u);
    let y = 4u * (invocation / 8u % 4u + invocation / 64u * 4u);
    for (var number = params.block_first + workgroup.x; number < params.block_end; number += workgroups.x) {
        let block = blocks[2u * number];
        let step = blocks[2u * number + 1u].x;
        let tile = tiles[2u * block.x];
        // Queries y + i and 64 + y + i against rows x + j and 64 + x + j, i and j below 4.
        var sum = array<array<f32, 8>, 8>();
        var slab = load_slab(invocation, block, tile, params.octet_first);
        for (var octet = params.octet_first; octet < params.octet_end; octet++) {
            store_slab(invocation, slab);
            workgroupBarrier();
            slab = load_slab(invocation, block, tile, octet + 1u);
            for (var q = 0u; q < 8u; q++) {
                var ra: array<f32, 8>;
                var rb: array<f32, 8>;
                for (var i = 0u; i < 4u; i++) {
                    ra[i] = tile_a[q * LINE + y + i];
                    ra[4u + i] = tile_a[q * LINE + 64u + y + i];
                    rb[i] = tile_b[q * LINE + x + i];
                    rb[4u + i] = tile_b[q * LINE + 64u + x + i];
                }
                for (var i = 0u; i < 8u; i++) {
                    for (var j = 0u; j < 8u; j++) {
                        sum[i][j] = fma(ra[i], rb[j], sum[i][j]);
                    }
                }
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < 8u; i++) {
            let query = i / 4u * 64u + y + i % 4u;
            for (var j = 0u; j < 8u; j++) {
                let row = j / 4u * 64u + x + j % 4u;
                if (query < block.z) {
                    let place = block.w + query * step + row;
                    if (params.octet_first > 0u) {
                        sum[i][j] += keys[place];
                    }
                    keys[place] = sum[i][j];
                }
            }
        }
        if (params.octet_end == params.octets) {
            convert(block, step, tile, x, y);
        }
    }
}
