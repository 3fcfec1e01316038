// Multiplies f16 matrices on matrix units, summing in f32: columns of c = a * transpose(b).
// Needs f16, subgroups of 32, subgroup barriers, and cooperative matrices of 16 x 16 with f16 inputs and f32 sums.
//
// Shapes: a [params.m, params.octets], b [params.columns, params.octets] in units of eight f16, c [params.m, params.n]
//   f32, all row-major; rows of a and b are padded with zeros to whole octets. The rows of b give the columns of c from
//   params.first on. Any m, n, k.
// Dispatch: one workgroup of 128 for each tile of 128 x 128 of c, or fewer: they stride over the tiles, in bands of
//   BAND tile rows so that tiles in flight together share rows of both inputs.
// Numeric: products of f16 summed in f32 in the order of the matrix unit.
// Twin: engine/compute/src/reference/matmul.rs, on the inputs as rounded to f16.

enable f16;
enable wgpu_cooperative_matrix;

override BAND: u32 = 4u;

struct Params {
    m: u32,
    n: u32,
    octets: u32,
    first: u32,
    columns: u32,
}
// @params

@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

// @import cooperative_tile
// @import cooperative_slab

// One matrix of sums for each subgroup, on its way to memory row by row.
var<workgroup> strips: array<f32, WG / 32u * 256u>;

// Lines beyond a matrix are read from its last row, and their sums not stored.
fn places_of(invocation: u32, row_base: u32, column_base: u32) -> Places {
    var places: Places;
    for (var l = 0u; l < LOADS; l++) {
        let line = line_of(invocation) + l * LOAD_LINES;
        places.a[l] = min(row_base + line, params.m - 1u) * params.octets;
        places.b[l] = min(column_base + line, params.columns - 1u) * params.octets;
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
            slab.a[l] = a[places.a[l] + octet];
            slab.b[l] = b[places.b[l] + octet];
        }
    }
    return slab;
}

fn store_sums(subgroup: u32, lane: u32, row: u32, column: u32, sum: coop_mat16x16<f32, C>) {
    let base = subgroup * 256u;
    subgroupBarrier();
    coopStoreT(sum, &strips[base], 16u);
    subgroupBarrier();
    let x = column + lane % 16u;
    let y = row + lane / 16u;
    let start = y * params.n + params.first + x;
    if (x < params.columns) {
        for (var i = 0u; i < 8u; i++) {
            if (y + 2u * i < params.m) {
                c[start + 2u * i * params.n] = strips[base + lane + 32u * i];
            }
        }
    }
}

fn store_row(subgroup: u32, lane: u32, row: u32, column: u32, s: Sums) {
    store_sums(subgroup, lane, row, column, s.c0);
    store_sums(subgroup, lane, row, column + 16u, s.c1);
    store_sums(subgroup, lane, row, column + 32u, s.c2);
    store_sums(subgroup, lane, row, column + 48u, s.c3);
}

fn multiply_tile(invocation: u32, subgroup: u32, lane: u32, row_base: u32, column_base: u32) {
    let row = subgroup / 2u * SIDE;
    let column = subgroup % 2u * SIDE;
    let places = places_of(invocation, row_base, column_base);
    let t = multiply_lines(invocation, places, params.octets, row, column);
    store_row(subgroup, lane, row_base + row, column_base + column, t.s0);
    store_row(subgroup, lane, row_base + row + 16u, column_base + column, t.s1);
    store_row(subgroup, lane, row_base + row + 32u, column_base + column, t.s2);
    store_row(subgroup, lane, row_base + row + 48u, column_base + column, t.s3);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile_rows = (params.m + TILE - 1u) / TILE;
    let tile_columns = (params.columns + TILE - 1u) / TILE;
    for (var tile = workgroup.x; tile < tile_rows * tile_columns; tile += workgroups.x) {
        let band_first = tile / (BAND * tile_columns) * BAND;
        let band_rows = min(BAND, tile_rows - band_first);
        let place = tile % (BAND * tile_columns);
        let row_base = (band_first + place % band_rows) * TILE;
        multiply_tile(invocation, subgroup, lane, row_base, place / band_rows * TILE);
    }
}
