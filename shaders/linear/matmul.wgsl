// Multiplies matrices of f32 or f16: columns of c = a * transpose(b).
//
// Shapes: a [params.m, params.quads], b [params.columns, params.quads] in quads, c [params.m, params.n] f32, all
//   row-major; k is 4 * params.quads, rows being padded with zeros to whole quads. The rows of b give the columns of c
//   from params.first on. Any m, n, k.
// Dispatch: any number of workgroups of 256; they stride over tiles of 128 x 128 of c, in bands of BAND tile rows so
//   that tiles in flight together share rows of both inputs.
//   A run takes params.depth quads of each row from params.quad_first on, and adds to c what it finds there already,
//   except from quad 0.
// Numeric: f32, one running sum an element and run, in ascending order of k. 8.25 KiB of workgroup memory.
// Twin: engine/compute/src/reference/matmul.rs.

override BAND: u32 = 8u;

struct Params {
    m: u32,
    n: u32,
    quads: u32,
    first: u32,
    columns: u32,
    quad_first: u32,
    depth: u32,
}
// @params

// @import rows

@group(0) @binding(0) var<storage, read> a: array<Quad>;
@group(0) @binding(1) var<storage, read> b: array<Quad>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

const TILE: u32 = 128u;
const DEPTH: u32 = 2u; // quads of k in a slab
const WG: u32 = 256u;
const LOADS: u32 = TILE * DEPTH / WG;
const LOAD_LINES: u32 = WG / DEPTH;
// A line holds one k of the whole tile, and is padded to spread the transposing stores over the banks.
const LINE: u32 = TILE + 4u;

var<workgroup> tile_a: array<f32, 4u * DEPTH * LINE>;
var<workgroup> tile_b: array<f32, 4u * DEPTH * LINE>;

// The slab to come, on its way from memory while the present one is multiplied.
struct Slab {
    a: array<Quad, LOADS>,
    b: array<Quad, LOADS>,
}

// Rows beyond a matrix are read from its last row, and their sums not stored.
fn load_slab(invocation: u32, row_base: u32, column_base: u32, quad_base: u32) -> Slab {
    var slab: Slab;
    let quad = quad_base + invocation % DEPTH;
    for (var l = 0u; l < LOADS; l++) {
        let line = invocation / DEPTH + l * LOAD_LINES;
        if (quad < params.quad_first + params.depth) {
            slab.a[l] = a[min(row_base + line, params.m - 1u) * params.quads + quad];
            slab.b[l] = b[min(column_base + line, params.columns - 1u) * params.quads + quad];
        }
    }
    return slab;
}

fn store_slab(invocation: u32, slab: Slab) {
    var held = slab;
    for (var l = 0u; l < LOADS; l++) {
        let at = invocation % DEPTH * 4u * LINE + invocation / DEPTH + l * LOAD_LINES;
        var quad_a = quad_elements(held.a[l]);
        var quad_b = quad_elements(held.b[l]);
        for (var i = 0u; i < 4u; i++) {
            tile_a[at + i * LINE] = quad_a[i];
            tile_b[at + i * LINE] = quad_b[i];
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
    let tile_rows = (params.m + TILE - 1u) / TILE;
    let tile_columns = (params.columns + TILE - 1u) / TILE;
    for (var tile = workgroup.x; tile < tile_rows * tile_columns; tile += workgroups.x) {
        let band_first = tile / (BAND * tile_columns) * BAND;
        let band_rows = min(BAND, tile_rows - band_first);
        let place = tile % (BAND * tile_columns);
        let row_base = (band_first + place % band_rows) * TILE;
        let column_base = place / band_rows * TILE;
        // Rows y + i and 64 + y + i against columns x + j and 64 + x + j, i and j below 4.
        var sum = array<array<f32, 8>, 8>();
        var slab = load_slab(invocation, row_base, column_base, params.quad_first);
        for (var done = 0u; done < params.depth; done += DEPTH) {
            store_slab(invocation, slab);
            workgroupBarrier();
            slab = load_slab(invocation, row_base, column_base, params.quad_first + done + DEPTH);
            for (var q = 0u; q < 4u * DEPTH; q++) {
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
            let row = row_base + i / 4u * 64u + y + i % 4u;
            for (var j = 0u; j < 8u; j++) {
                let column = column_base + j / 4u * 64u + x + j % 4u;
                if (row < params.m && column < params.columns) {
                    let place = row * params.n + params.first + column;
                    if (params.quad_first > 0u) {
                        sum[i][j] += c[place];
                    }
                    c[place] = sum[i][j];
                }
            }
        }
    }
}
