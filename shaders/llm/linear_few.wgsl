// Multiplies a few rows of x with weights of f32, f16 or bf16: out[m, row] = sum(x[m, i] * w[row, i]), x normed before if asked.
//
// Shapes: weights [params.outputs, params.units] of units (shared/weights.wgsl), x [.., params.units * 8] quads of which
//   params.rows rows from params.row_first on are used, at most ROWS; norm [params.units * 8] quads, bias [..], out
//   [.., params.stride]. The first weights give column params.first of out and of bias.
// Dispatch: any number of workgroups of WG; they stride over the rows of weights. LANES (a power of two that divides WG)
//   invocations share two rows and take octets in turn. ROWS is 1, 2, 4 or 8; CHUNK a multiple of LANES.
// Numeric: f32, two sums of four a lane and row, octets in ascending order, whatever ROWS and CHUNK; then a tree over the
//   lanes. NaN and infinity follow IEEE 754 as far as the device does.
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

// Quads of x by their place in the octet, so that neighbours meet in no bank.
var<workgroup> x_first: array<vec4<f32>, 4u * ROWS * CHUNK>;
var<workgroup> x_second: array<vec4<f32>, 4u * ROWS * CHUNK>;

fn hold_inputs(invocation: u32, first: u32, count: u32) {
    for (var m = 0u; m < ROWS; m++) {
        for (var octet = invocation; octet < 4u * count; octet += WG) {
            x_first[4u * m * CHUNK + octet] = input(m, first * 8u + 2u * octet);
            x_second[4u * m * CHUNK + octet] = input(m, first * 8u + 2u * octet + 1u);
        }
    }
}

fn octet_at(start: u32, octet: u32) -> Octet {
    return octet_of(start + octet / 4u, octet % 4u);
}

fn total(sum: vec4<f32>) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
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
        var a_sums = array<vec4<f32>, 8>();
        var b_sums = array<vec4<f32>, 8>();
        for (var first = 0u; first < params.units; first += CHUNK) {
            let count = min(CHUNK, params.units - first);
            if (held != first) {
                workgroupBarrier();
                hold_inputs(invocation, first, count);
                workgroupBarrier();
                held = first;
            }
            for (var octet = lane; octet < 4u * count; octet += LANES) {
                let a = octet_at(a_start + first, octet);
                let b = octet_at(b_start + first, octet);
                for (var m = 0u; m < ROWS; m++) {
                    let x0 = x_first[4u * m * CHUNK + octet];
                    let x1 = x_second[4u * m * CHUNK + octet];
                    a_sums[m] = fma(a.second, x1, fma(a.first, x0, a_sums[m]));
                    b_sums[m] = fma(b.second, x1, fma(b.first, x0, b_sums[m]));
                }
            }
        }
        for (var m = 0u; m < ROWS; m++) {
            let a_whole = fold_sum(total(a_sums[m]), LANES, invocation);
            let b_whole = fold_sum(total(b_sums[m]), LANES, invocation);
            if (lane == 0u) {
                finish(m, row, vec2<f32>(a_whole, b_whole));
            }
        }
    }
}
