// Multiplies up to ROWS rows of rounded x with quantised weights: out[m, row] = sum(x[m, i] * w[row, i]).
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl); of x as linear_round.wgsl leaves it, params.rows
//   rows from params.row_first on are used; bias [..], out [.., params.stride]. The first weights give column params.first of
//   out and of bias.
// Dispatch: any number of workgroups of 256; they stride over the rows of weights. LANES (a power of two, at most 256)
//   invocations share two rows and take units in turn, each asking for the next before it multiplies. ROWS is 2, 4 or 8.
// Numeric: each row has the bits that linear_few_blocks.wgsl gives it.
// Twin: engine/compute/src/reference/linear.rs.

override LANES: u32 = 32u;
override ROWS: u32 = 8u;

const WG: u32 = 256u;

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
// @import weights
// @import fold
// @import products

@group(0) @binding(2) var<storage, read> x_words: array<vec4<u32>>;
// Of each unit its scale and the sums of its halves.
@group(0) @binding(5) var<storage, read> x_factors: array<vec4<f32>>;

// Unit `unit` of row `m` of the run; rows beyond the last are that one again.
fn rounded_unit(m: u32, unit: u32) -> RoundedUnit {
    let row = params.row_first + min(m, params.rows - 1u);
    let at = row * 4u * params.units + unit;
    let factors = x_factors[row * params.units + unit];
    return RoundedUnit(
        array<vec4<u32>, 2>(x_words[at], x_words[at + params.units]),
        array<vec4<u32>, 2>(x_words[at + 2u * params.units], x_words[at + 3u * params.units]),
        factors.x,
        factors.yz,
    );
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let per_workgroup = WG / LANES * 2u;
    for (var base = workgroup.x * per_workgroup; base < params.outputs; base += workgroups.x * per_workgroup) {
        let row = base + invocation / LANES * 2u;
        let a_start = min(row, params.outputs - 1u) * params.units;
        let b_start = min(row + 1u, params.outputs - 1u) * params.units;
        var sums = array<vec2<f32>, 8>();
        var next_a = load_unit(a_start + min(lane, params.units - 1u));
        var next_b = load_unit(b_start + min(lane, params.units - 1u));
        for (var unit = lane; unit < params.units; unit += LANES) {
            let a = numbers_of(next_a);
            let b = numbers_of(next_b);
            let a_factors = factors_of(next_a, a_start + unit);
            let b_factors = factors_of(next_b, b_start + unit);
            next_a = load_unit(a_start + min(unit + LANES, params.units - 1u));
            next_b = load_unit(b_start + min(unit + LANES, params.units - 1u));
            for (var m = 0u; m < ROWS; m++) {
                let some = rounded_unit(m, unit);
                sums[m].x = fma(some.scale, term(a, a_factors, some), sums[m].x);
                sums[m].y = fma(some.scale, term(b, b_factors, some), sums[m].y);
            }
        }
        for (var m = 0u; m < ROWS; m++) {
            let whole = vec2<f32>(fold_sum(sums[m].x, LANES, invocation), fold_sum(sums[m].y, LANES, invocation));
            if (lane == 0u && m < params.rows) {
                finish(params.row_first + m, row, whole.x, whole.y);
                finish(params.row_first + m, row + 1u, whole.y, 0.0);
            }
        }
    }
}
