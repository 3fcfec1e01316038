// Multiplies many rows of x with weights of any type: out[row, output] = sum(x[row, i] * w[output, i]).
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl), x [.., params.units * 8] quads of which
//   params.rows rows from params.row_first on are used, bias [..], out [.., params.stride]. The first weights give column
//   params.first of out and of bias.
// Dispatch: any number of workgroups of 256; they stride over tiles of 128 x 128 of out, a column of tiles after the other so
//   that those in flight together share weights.
// Numeric: f32, one running sum an element, in ascending order of i. 8.25 KiB of workgroup memory.
// Twin: engine/compute/src/reference/linear.rs.

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

// @import weights
// @import linear_finish

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> factors: array<f32>;

const TILE: u32 = 128u;
const WG: u32 = 256u;
const DEPTH: u32 = 2u; // quads of a row in a slab
// A line holds one element of all rows of the tile, and is padded to spread the transposing stores over the banks.
const LINE: u32 = TILE + 4u;

var<workgroup> tile_x: array<f32, 4u * DEPTH * LINE>;
var<workgroup> tile_w: array<f32, 4u * DEPTH * LINE>;

// The slab to come, on its way from memory while the present one is multiplied: a quad of either for each invocation.
struct Slab {
    x: vec4<f32>,
    w: vec4<f32>,
}

// Rows beyond the end are the last one again, and their sums not stored.
fn load_slab(invocation: u32, row_base: u32, output_base: u32, done: u32) -> Slab {
    let line = invocation / DEPTH;
    let quad = done + invocation % DEPTH;
    if (quad >= params.units * 8u) {
        return Slab();
    }
    let row = params.row_first + min(row_base + line, params.rows - 1u);
    let unit = min(output_base + line, params.outputs - 1u) * params.units + quad / 8u;
    return Slab(x[row * params.units * 8u + quad], weights_of(unit, quad % 8u));
}

fn store_slab(invocation: u32, slab: Slab) {
    var held = slab;
    let at = invocation % DEPTH * 4u * LINE + invocation / DEPTH;
    for (var i = 0u; i < 4u; i++) {
        tile_x[at + i * LINE] = held.x[i];
        tile_w[at + i * LINE] = held.w[i];
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    // 8 x 4 invocations of a subgroup of 32 lie together: fewest bytes from the tiles.
    let left = 4u * (invocation % 8u + invocation / 32u % 2u * 8u);
    let top = 4u * (invocation / 8u % 4u + invocation / 64u * 4u);
    let tile_rows = (params.rows + TILE - 1u) / TILE;
    let tile_columns = (params.outputs + TILE - 1u) / TILE;
    for (var tile = workgroup.x; tile < tile_rows * tile_columns; tile += workgroups.x) {
        let row_base = tile % tile_rows * TILE;
        let output_base = tile / tile_rows * TILE;
        // Rows top + i and 64 + top + i against outputs left + j and 64 + left + j, i and j below 4.
        var sum = array<array<f32, 8>, 8>();
        var slab = load_slab(invocation, row_base, output_base, 0u);
        for (var done = 0u; done < params.units * 8u; done += DEPTH) {
            store_slab(invocation, slab);
            workgroupBarrier();
            slab = load_slab(invocation, row_base, output_base, done + DEPTH);
            for (var q = 0u; q < 4u * DEPTH; q++) {
                var rx: array<f32, 8>;
                var rw: array<f32, 8>;
                for (var i = 0u; i < 4u; i++) {
                    rx[i] = tile_x[q * LINE + top + i];
                    rx[4u + i] = tile_x[q * LINE + 64u + top + i];
                    rw[i] = tile_w[q * LINE + left + i];
                    rw[4u + i] = tile_w[q * LINE + 64u + left + i];
                }
                for (var i = 0u; i < 8u; i++) {
                    for (var j = 0u; j < 8u; j++) {
                        sum[i][j] = fma(rx[i], rw[j], sum[i][j]);
                    }
                }
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < 8u; i++) {
            let row = row_base + i / 4u * 64u + top + i % 4u;
            if (row < params.rows) {
                let factor = factors[params.row_first + row];
                for (var j = 0u; j < 8u; j++) {
                    let output = output_base + j / 4u * 64u + left + j % 4u;
                    finish(params.row_first + row, output, factor * sum[i][j], factor * sum[i][j | 1u]);
                }
            }
        }
    }
}
