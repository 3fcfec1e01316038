// What the kernels for few rows of x have in common: the norms of x, and what becomes of a sum.
// The kernel declares WG, LANES, ROWS, and its parameters.

const NORM: u32 = 4u;
const BIAS: u32 = 8u;

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

var<workgroup> squares: array<f32, WG>;
var<workgroup> norm_scales: array<f32, 8>;

// The first quad of row `m` of the run; rows beyond the last are that one again.
fn row_start(m: u32) -> u32 {
    return (params.row_first + min(m, params.rows - 1u)) * params.units * 8u;
}

// What each row is multiplied with to have a mean square of 1, in norm_scales.
fn norm_rows(invocation: u32) {
    for (var m = 0u; m < ROWS; m++) {
        var square = vec4<f32>(0.0);
        let start = row_start(m);
        for (var quad = invocation; quad < params.units * 8u; quad += WG) {
            let some = x[start + quad];
            square = fma(some, some, square);
        }
        let sum = fold_sum((square.x + square.y) + (square.z + square.w), LANES, invocation);
        if (invocation % LANES == 0u) {
            squares[invocation / LANES] = sum;
        }
        workgroupBarrier();
        if (invocation == 0u) {
            var whole = 0.0;
            for (var part = 0u; part < WG / LANES; part++) {
                whole += squares[part];
            }
            norm_scales[m] = inverseSqrt(whole / f32(params.units * 32u) + params.epsilon);
        }
        workgroupBarrier();
    }
}

// Quad `quad` of row `m`, normed if that is asked for.
fn input(m: u32, quad: u32) -> vec4<f32> {
    let some = x[row_start(m) + quad];
    if ((params.mode & NORM) == 0u) {
        return some;
    }
    return some * norm_scales[m] * norm[quad];
}

fn silu(gate: f32) -> f32 {
    return gate / (1.0 + exp(-gate));
}

// Writes the sums of outputs `row` and `row + 1` for row `m` of x.
fn finish(m: u32, row: u32, given: vec2<f32>) {
    if (m >= params.rows || row >= params.outputs) {
        return;
    }
    let both = row + 1u < params.outputs;
    var sums = given;
    if ((params.mode & BIAS) != 0u) {
        sums.x += bias[params.first + row];
        if (both) {
            sums.y += bias[params.first + row + 1u];
        }
    }
    let start = (params.row_first + m) * params.stride;
    let kind = params.mode & 3u;
    if (kind == 2u) {
        out[start + (params.first + row) / 2u] = silu(sums.x) * sums.y;
        return;
    }
    let at = start + params.first + row;
    if (kind == 1u) {
        sums.x += out[at];
    } else if (kind == 3u) {
        sums.x *= silu(out[at]);
    }
    out[at] = sums.x;
    if (both) {
        if (kind == 1u) {
            sums.y += out[at + 1u];
        } else if (kind == 3u) {
            sums.y *= silu(out[at + 1u]);
        }
        out[at + 1u] = sums.y;
    }
}
