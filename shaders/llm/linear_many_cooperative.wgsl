// Multiplies many rows of x with weights of f16 on matrix units: out[row, output] = sum(x[row, i] * w[output, i]).
// Needs f16, subgroups of 32, subgroup barriers, and cooperative matrices of 16 x 16 with f16 inputs and f32 sums.
//
// Shapes: weights [params.outputs, params.units * 4] and x [.., params.units * 4] in units of eight f16, of which params.rows
//   rows of x from params.row_first on are used, each times its factor in factors; bias [..], out [.., params.stride]. The
//   first weights give column params.first of out and of bias.
// Dispatch: one workgroup of 128 for each tile of 128 x 128 of out, or fewer: they stride over the tiles, a column of tiles
//   after the other so that those in flight together share weights.
// Numeric: products of f16 summed in f32 in the order of the matrix unit.
// Twin: engine/compute/src/reference/linear.rs.

enable f16;
enable wgpu_cooperative_matrix;

struct Params {
    rows: u32,
    row_first: u32,
    outputs: u32,
    units: u32,
    first: u32,
    stride: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
    mode: u32,
    epsilon: f32,
}
// @params

// @import linear_finish

@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> factors: array<f32>;

// @import cooperative_tile
// @import cooperative_slab

// One matrix of sums for each subgroup, on its way to memory row by row.
var<workgroup> strips: array<f32, WG / 32u * 256u>;

// Lines beyond a matrix are read from its last row, and their sums not stored.
fn places_of(invocation: u32, row_base: u32, output_base: u32) -> Places {
    var places: Places;
    for (var l = 0u; l < LOADS; l++) {
        let line = line_of(invocation) + l * LOAD_LINES;
        places.a[l] = (params.row_first + min(row_base + line, params.rows - 1u)) * params.units * 4u;
        places.b[l] = min(output_base + line, params.outputs - 1u) * params.units * 4u;
    }
    return places;
}

fn load_slab(given: Places, octet: u32) -> Slab {
    var places = given;
    var slab: Slab;
    for (var l = 0u; l < LOADS; l++) {
        if (octet < params.units * 4u) {
            slab.a[l] = x[places.a[l] + octet];
            slab.b[l] = weights[places.b[l] + octet];
        }
    }
    return slab;
}

fn store_sums(subgroup: u32, lane: u32, row: u32, output: u32, sum: coop_mat16x16<f32, C>) {
    let base = subgroup * 256u;
    subgroupBarrier();
    coopStoreT(sum, &strips[base], 16u);
    subgroupBarrier();
    let y = row + lane / 16u;
    for (var i = 0u; i < 8u; i++) {
        if (y + 2u * i < params.rows) {
            let at = params.row_first + y + 2u * i;
            let factor = factors[at];
            let next = strips[base + (lane | 1u) + 32u * i];
            finish(at, output + lane % 16u, factor * strips[base + lane + 32u * i], factor * next);
        }
    }
}

fn store_row(subgroup: u32, lane: u32, row: u32, output: u32, s: Sums) {
    store_sums(subgroup, lane, row, output, s.c0);
    store_sums(subgroup, lane, row, output + 16u, s.c1);
    store_sums(subgroup, lane, row, output + 32u, s.c2);
    store_sums(subgroup, lane, row, output + 48u, s.c3);
}

fn multiply_tile(invocation: u32, subgroup: u32, lane: u32, row_base: u32, output_base: u32) {
    let row = subgroup / 2u * SIDE;
    let output = subgroup % 2u * SIDE;
    let places = places_of(invocation, row_base, output_base);
    let t = multiply_lines(invocation, places, params.units * 4u, row, output);
    store_row(subgroup, lane, row_base + row, output_base + output, t.s0);
    store_row(subgroup, lane, row_base + row + 16u, output_base + output, t.s1);
    store_row(subgroup, lane, row_base + row + 32u, output_base + output, t.s2);
    store_row(subgroup, lane, row_base + row + 48u, output_base + output, t.s3);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile_rows = (params.rows + TILE - 1u) / TILE;
    let tile_columns = (params.outputs + TILE - 1u) / TILE;
    for (var tile = workgroup.x; tile < tile_rows * tile_columns; tile += workgroups.x) {
        multiply_tile(invocation, subgroup, lane, tile % tile_rows * TILE, tile / tile_rows * TILE);
    }
}
