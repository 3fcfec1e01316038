// Multiplies a few rows of x with quantised weights: out[m, row] = sum(x[m, i] * w[row, i]), x normed before if asked.
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl), x [.., params.units * 8] quads of which
//   params.rows rows from params.row_first on are used, at most ROWS; norm [params.units * 8] quads, bias [..], out
//   [.., params.stride]. The first weights give column params.first of out and of bias.
// Dispatch: any number of workgroups of WG; they stride over the rows of weights. LANES (a power of two that divides WG,
//   at least 8) invocations share two rows and take units in turn. ROWS is 1, 2, 4 or 8; CHUNK a multiple of LANES.
// Numeric: x is rounded, 32 elements at a time, to whole multiples of a 32,512th of the largest of them, which are two
//   signed bytes; so products of numbers are sums of whole numbers, exact, and eight to a handful of instructions. They are
//   scaled and added in f32, units in ascending order, whatever ROWS and CHUNK; then a tree over the lanes. Infinity in x
//   gives NaN; what NaN in x gives is not specified.
// Twin: engine/compute/src/reference/linear.rs.

override WG: u32 = 256u;
override LANES: u32 = 32u;
override ROWS: u32 = 1u;
// Units of x of one row that are in workgroup memory at a time.
override CHUNK: u32 = 128u;

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
    // 0 writes, 1 adds, 2 writes SiLU(even) * odd, 3 writes SiLU(out) * sum; plus NORM, plus BIAS.
    mode: u32,
    epsilon: f32,
}
// @params

// @import linear_few
// @import weights
// @import fold

// By word: 8 of upper bytes, 8 of lower ones; and by unit, so that neighbours meet in no bank.
var<workgroup> x_words: array<u32, 16u * ROWS * CHUNK>;
var<workgroup> x_scales: array<f32, ROWS * CHUNK>;
// Of either half, as whole numbers.
var<workgroup> x_sums: array<vec2<f32>, ROWS * CHUNK>;

// Rounds units `first` to `first + count` of all rows; eight invocations each.
fn round_inputs(invocation: u32, first: u32, count: u32) {
    let lane = invocation % 8u;
    let turns = (count * ROWS + WG / 8u - 1u) / (WG / 8u);
    for (var turn = 0u; turn < turns; turn++) {
        let item = turn * (WG / 8u) + invocation / 8u;
        let inside = item < count * ROWS;
        let m = item / count;
        let unit = item % count;
        var some = vec4<f32>(0.0);
        if (inside) {
            some = input(m, (first + unit) * 8u + lane);
        }
        let each = max(max(abs(some.x), abs(some.y)), max(abs(some.z), abs(some.w)));
        let largest = fold_max(each, 8u, invocation);
        let inverse = select(0.0, 32512.0 / largest, largest > 1e-30);
        let whole = vec4<i32>(round(some * inverse));
        let upper = (whole + vec4<i32>(128)) >> vec4<u32>(8u);
        let lower = whole - upper * 256;
        let sum = fold_sum(f32(whole.x + whole.y + whole.z + whole.w), 4u, invocation);
        if (inside) {
            let at = 16u * m * CHUNK + unit;
            x_words[at + lane * CHUNK] = pack4xI8(upper);
            x_words[at + (8u + lane) * CHUNK] = pack4xI8(lower);
            if (lane == 0u) {
                x_scales[m * CHUNK + unit] = largest / 32512.0;
                x_sums[m * CHUNK + unit].x = sum;
            }
            if (lane == 4u) {
                x_sums[m * CHUNK + unit].y = sum;
            }
        }
    }
}

// Sums of products of numbers, of either half of a unit, for two rows of weights: a.xy, b.xy.
fn products(a: Unit, b: Unit, m: u32, unit: u32) -> vec4<f32> {
    let at = 16u * m * CHUNK + unit;
    var upper = vec4<i32>(0);
    var lower = vec4<i32>(0);
    for (var j = 0u; j < 4u; j++) {
        let x0 = x_words[at + j * CHUNK];
        let x1 = x_words[at + (4u + j) * CHUNK];
        let y0 = x_words[at + (8u + j) * CHUNK];
        let y1 = x_words[at + (12u + j) * CHUNK];
        let a0 = bytes_of(a, j);
        let a1 = bytes_of(a, 4u + j);
        let b0 = bytes_of(b, j);
        let b1 = bytes_of(b, 4u + j);
        upper.x += dot4I8Packed(a0, x0);
        upper.y += dot4I8Packed(a1, x1);
        upper.z += dot4I8Packed(b0, x0);
        upper.w += dot4I8Packed(b1, x1);
        lower.x += dot4I8Packed(a0, y0);
        lower.y += dot4I8Packed(a1, y1);
        lower.z += dot4I8Packed(b0, y0);
        lower.w += dot4I8Packed(b1, y1);
    }
    return vec4<f32>(upper * 256 + lower);
}

// What the halves of a unit add to a sum, in steps of x's scale.
fn scaled(factors: Factors, products: vec2<f32>, x_sum: vec2<f32>) -> f32 {
    let numbers = fma(x_sum, vec2<f32>(f32(-OFFSET)), products);
    if (FACTORS < 3u) {
        return fma(factors.scales.x, numbers.x + numbers.y, factors.shifts.x * (x_sum.x + x_sum.y));
    }
    let halves = fma(factors.scales, numbers, factors.shifts * x_sum);
    return halves.x + halves.y;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    if ((params.mode & NORM) != 0u) {
        norm_rows(invocation);
    }
    let lane = invocation % LANES;
    let per_workgroup = WG / LANES * 2u;
    var held = 0xffffffffu;
    for (var base = workgroup.x * per_workgroup; base < params.outputs; base += workgroups.x * per_workgroup) {
        let row = base + invocation / LANES * 2u;
        let a_start = min(row, params.outputs - 1u) * params.units;
        let b_start = min(row + 1u, params.outputs - 1u) * params.units;
        var sums = array<vec2<f32>, 8>();
        for (var first = 0u; first < params.units; first += CHUNK) {
            let count = min(CHUNK, params.units - first);
            if (held != first) {
                workgroupBarrier();
                round_inputs(invocation, first, count);
                workgroupBarrier();
                held = first;
            }
            for (var unit = lane; unit < count; unit += LANES) {
                let a = load_unit(a_start + first + unit);
                let b = load_unit(b_start + first + unit);
                let a_factors = factors_of(a_start + first + unit);
                let b_factors = factors_of(b_start + first + unit);
                for (var m = 0u; m < ROWS; m++) {
                    let both = products(a, b, m, unit);
                    let x_sum = x_sums[m * CHUNK + unit];
                    let terms = vec2<f32>(scaled(a_factors, both.xy, x_sum), scaled(b_factors, both.zw, x_sum));
                    sums[m] = fma(vec2<f32>(x_scales[m * CHUNK + unit]), terms, sums[m]);
                }
            }
        }
        for (var m = 0u; m < ROWS; m++) {
            let whole = vec2<f32>(fold_sum(sums[m].x, LANES, invocation), fold_sum(sums[m].y, LANES, invocation));
            if (lane == 0u) {
                finish(m, row, whole);
            }
        }
    }
}
