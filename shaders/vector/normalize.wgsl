// Scales each row to Euclidean length 1: normal[row] = x[row] / |x[row]|; a zero row stays zero.
//
// Shapes: rows [params.rows, params.quads] quads, normal [params.rows, params.quads] vec4.
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES (a power of two that
//   divides WG) invocations share a row: consecutive lanes access consecutive quads.
// Numeric: f32. The squares are summed at three scales at once (J. Blue, A portable Fortran program to find the
//   Euclidean norm of a vector, 1978), so no finite row overflows or vanishes; but a device may flush subnormals, and
//   a row of nothing else is zero then. An infinite element becomes NaN and the finite ones of its row zero; NaN makes
//   the whole row NaN.
// Twin: engine/compute/src/reference/normalize.rs.

// @import rows
// @import sum

override WG: u32 = 64u;
override LANES: u32 = 8u;

struct Params {
    rows: u32,
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<Quad>;
@group(0) @binding(1) var<storage, read_write> normal: array<vec4<f32>>;

// With up to 16,384 elements the sum at DOWN never overflows, and where the plain sum reaches MANY, what underflows at
// DOWN is lost in rounding. Where the plain sum stays below FEW, the sum at UP does not overflow.
const DOWN: f32 = 0x1p-72f;
const UP: f32 = 0x1p+100f;
const MANY: f32 = 0x1p+100f;
const FEW: f32 = 0x1p-80f;

struct Squares {
    down: vec4<f32>,
    plain: vec4<f32>,
    up: vec4<f32>,
}

// How a row becomes its normal: x * scale * inverse.
struct Factors {
    scale: f32,
    inverse: f32,
}

fn row_squares(row: u32, lane: u32) -> Squares {
    var sums = Squares();
    let first = row * params.quads;
    for (var quad = lane; quad < params.quads; quad += LANES) {
        let x = quad_elements(rows[first + quad]);
        let down = x * DOWN;
        let up = x * UP;
        sums = Squares(fma(down, down, sums.down), fma(x, x, sums.plain), fma(up, up, sums.up));
    }
    return sums;
}

fn total(sum: vec4<f32>) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
}

fn factors(down: f32, plain: f32, up: f32) -> Factors {
    if (plain >= MANY) {
        return Factors(DOWN, 1.0 / sqrt(down));
    }
    if (plain >= FEW) {
        return Factors(1.0, 1.0 / sqrt(plain));
    }
    if (up > 0.0) {
        return Factors(UP, 1.0 / sqrt(up));
    }
    // A zero row, or NaN, which zero does not hide.
    return Factors(1.0, plain);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let rows_per_workgroup = WG / LANES;
    let stride = workgroups.x * rows_per_workgroup;
    for (var base = workgroup.x * rows_per_workgroup; base < params.rows; base += stride) {
        let row = base + invocation / LANES;
        var squares = Squares();
        if (row < params.rows) {
            squares = row_squares(row, lane);
        }
        let down = lanes_sum(total(squares.down), invocation);
        let plain = lanes_sum(total(squares.plain), invocation);
        let up = lanes_sum(total(squares.up), invocation);
        let scaled = factors(down, plain, up);
        if (row < params.rows) {
            let first = row * params.quads;
            for (var quad = lane; quad < params.quads; quad += LANES) {
                normal[first + quad] = quad_elements(rows[first + quad]) * scaled.scale * scaled.inverse;
            }
        }
    }
}
