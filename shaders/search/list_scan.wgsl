// Scores one query against rows of lists that lie anywhere in some segments, and bounds the operator's value.
//
// Shapes: rows_0 to rows_3 are the segments, in units of 16 bytes: the tiles up to params.tile_ends_0 lie in the first one, and
//   so on; with SEGMENTS 1 all lie in it, and the others are not read. A row's code is params.octets units, eight f16 each, padded
//   with zeros. tiles [params.tile_end] describes the tiles, two vec4 each: (codes_at, heads_at, tids_at, rows), in those units, all
//   of the tile's first row, and what list_fetch.wgsl reads; a tile has at most params.tile_rows rows. query [2 * params.octets].
//   keys [tiles, params.tile_rows]: a key of list_key.wgsl; infinite where there is no row, or one up to `after`: with a smaller
//   key, or the same and no larger TID.
// METRIC: 0 Euclidean distance, 1 negative inner product, 2 cosine distance.
// Dispatch: any number of workgroups of WG invocations; they stride over the tiles from params.tile_first on. LANES
//   invocations (a power of two that divides WG) share ROWS rows and issue the loads of STEPS octets of each before any
//   is used. ROWS * STEPS <= 16, ROWS <= LANES.
// Numeric: f32 accumulation, two partial sums a lane and row, then a tree over the lanes. Subnormals may be flushed.
// Twin: engine/compute/src/reference/list_scan.rs.

// @import sum

override WG: u32 = 256u;
override LANES: u32 = 32u;
override ROWS: u32 = 4u;
override STEPS: u32 = 3u;
override METRIC: u32 = 0u;
override SEGMENTS: u32 = 1u;

struct Params {
    tile_first: u32,
    tile_end: u32,
    tile_rows: u32,
    octets: u32,
    // The query's record of list_key.wgsl, but for its scale, which is 1.
    query_y: f32,
    query_z: f32,
    query_w: f32,
    rounding: f32,
    // 0: none; 1: a number; 2: NaN.
    after_kind: u32,
    after_key: f32,
    after_low: u32,
    after_high: u32,
    tile_ends_0: u32,
    tile_ends_1: u32,
    tile_ends_2: u32,
}
// @params

// @import list_key

@group(0) @binding(0) var<storage, read> rows_0: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> rows_1: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> rows_2: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> rows_3: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;

// Bounds of the arrays below, whose sizes cannot be overrides; unrolled, only what is used takes registers.
const HELD: u32 = 16u;

fn load(segment: u32, at: u32) -> vec4<u32> {
    if (segment == 0u) {
        return rows_0[at];
    }
    if (segment == 1u) {
        return rows_1[at];
    }
    if (segment == 2u) {
        return rows_2[at];
    }
    return rows_3[at];
}

fn low_elements(octet: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(octet.x), unpack2x16float(octet.y));
}

fn high_elements(octet: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(octet.z), unpack2x16float(octet.w));
}

fn add_terms(sum: vec4<f32>, q: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    if (METRIC == 0u) {
        let difference = q - x;
        return fma(difference, difference, sum);
    }
    return fma(q, x, sum);
}

fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}

fn is_after(key: f32, low: u32, high: u32) -> bool {
    if (params.after_kind == 0u) {
        return true;
    }
    let later = high > params.after_high || (high == params.after_high && low > params.after_low);
    if (params.after_kind == 2u) {
        return is_nan(key) && later;
    }
    return is_nan(key) || key > params.after_key || (key == params.after_key && later);
}

fn key_of_sum(sum: f32, head: vec4<f32>) -> f32 {
    if (METRIC == 0u) {
        return key_of_square(sum, params.rounding, head);
    }
    return key_of_dot(sum * head.x, head, vec4<f32>(1.0, params.query_y, params.query_z, params.query_w));
}

fn store(segment: u32, tile: u32, row: u32, place: vec4<u32>, sum: f32) {
    var key = infinity();
    if (row < place.w) {
        let computed = key_of_sum(sum, bitcast<vec4<f32>>(load(segment, place.y + row)));
        let tids = load(segment, place.z + row / 2u);
        let tid = select(tids.xy, tids.zw, row % 2u == 1u);
        if (is_after(computed, tid.x, tid.y)) {
            key = computed;
        }
    }
    keys[tile * params.tile_rows + row] = key;
}

// Scores ROWS rows of a tile from `first` on; those beyond its end are read from its last row.
fn score_rows(segment: u32, tile: u32, place: vec4<u32>, first: u32, lane: u32, invocation: u32) {
    var sums: array<vec4<f32>, HELD>;
    var scales: array<f32, HELD>;
    for (var r = 0u; r < ROWS; r++) {
        sums[r] = vec4<f32>(0.0);
        // A dot product is scaled once, at its end.
        scales[r] = 1.0;
        if (METRIC == 0u) {
            scales[r] = bitcast<f32>(load(segment, place.y + min(first + r, place.w - 1u)).x);
        }
    }
    for (var chunk = 0u; chunk < params.octets; chunk += LANES * STEPS) {
        var held: array<vec4<u32>, HELD>;
        for (var r = 0u; r < ROWS; r++) {
            let start = place.x + min(first + r, place.w - 1u) * params.octets;
            for (var s = 0u; s < STEPS; s++) {
                held[r * STEPS + s] =
                    load(segment, start + min(chunk + s * LANES + lane, params.octets - 1u));
            }
        }
        for (var s = 0u; s < STEPS; s++) {
            let octet = chunk + s * LANES + lane;
            if (octet < params.octets) {
                let low = query[2u * octet];
                let high = query[2u * octet + 1u];
                for (var r = 0u; r < ROWS; r++) {
                    let code = held[r * STEPS + s];
                    sums[r] = add_terms(sums[r], low, low_elements(code) * scales[r]);
                    sums[r] = add_terms(sums[r], high, high_elements(code) * scales[r]);
                }
            }
        }
    }
    var score = 0.0;
    for (var r = 0u; r < ROWS; r++) {
        let part = (sums[r].x + sums[r].y) + (sums[r].z + sums[r].w);
        score = select(score, lanes_sum(part, invocation), lane == r);
    }
    if (lane < ROWS && first + lane < params.tile_rows) {
        store(segment, tile, first + lane, place, score);
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let together = WG / LANES * ROWS;
    for (var tile = params.tile_first + workgroup.x; tile < params.tile_end; tile += workgroups.x) {
        let place = tiles[2u * tile];
        // Whole workgroups take the same number of turns, so that no lane leaves before the sums are added up.
        for (var base = 0u; base < params.tile_rows; base += together) {
            let first = base + invocation / LANES * ROWS;
            // Each call is compiled for its segment, so that no load has a choice in it.
            if (SEGMENTS == 1u || tile < params.tile_ends_0) {
                score_rows(0u, tile, place, first, lane, invocation);
            } else if (tile < params.tile_ends_1) {
                score_rows(1u, tile, place, first, lane, invocation);
            } else if (tile < params.tile_ends_2) {
                score_rows(2u, tile, place, first, lane, invocation);
            } else {
                score_rows(3u, tile, place, first, lane, invocation);
            }
        }
    }
}
