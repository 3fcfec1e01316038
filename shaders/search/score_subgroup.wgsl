// Scores one query against every row of a block at memory bandwidth; needs subgroups.
//
// Shapes: rows [params.rows, params.quads] quads, query [params.quads] vec4, scores [params.rows].
// METRIC: 0 squared Euclidean distance, 1 dot product, 3 sum of absolute differences.
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES invocations (a power of two,
//   at most the subgroup size, which divides WG) share ROWS rows, and issue the loads of STEPS quads of each row before
//   any is used. ROWS * STEPS <= 32 and ROWS <= LANES. LANES * STEPS should be near params.quads or divide it.
//   An NVIDIA GPU wants 8,448 workgroups, and LANES 32, STEPS 6, ROWS 2 for 192 quads, 32, 12, 1 for 384, 16, 2, 4 for
//   25 of f32, 8, 4, 4 for 25 of f16.
// Numeric: f32 accumulation, four partial sums a lane and row, then a tree over the lanes. NaN and infinity follow
//   IEEE 754 as far as the device does; subnormals may be flushed to zero.
// Twin: engine/compute/src/reference/score.rs.

// @import rows

override WG: u32 = 256u;
override LANES: u32 = 32u;
override ROWS: u32 = 2u;
override STEPS: u32 = 6u;
override METRIC: u32 = 0u;

struct Params {
    rows: u32,
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<Quad>;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;

// Bounds of the arrays below, whose sizes cannot be overrides; unrolled, only what is used takes registers.
const HELD: u32 = 32u;

fn add_terms(sum: vec4<f32>, q: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    if (METRIC == 1u) {
        return fma(q, x, sum);
    }
    let difference = q - x;
    if (METRIC == 3u) {
        return sum + abs(difference);
    }
    return fma(difference, difference, sum);
}

fn total(sum: vec4<f32>) -> f32 {
    var whole = (sum.x + sum.y) + (sum.z + sum.w);
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        whole += subgroupShuffleXor(whole, width);
    }
    return whole;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) subgroup_size: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let invocation = subgroup * subgroup_size + subgroup_lane;
    let lane = subgroup_lane % LANES;
    let per_workgroup = WG / LANES * ROWS;
    // Whole workgroups take the same number of turns, so that no lane leaves before a shuffle.
    for (var base = workgroup.x * per_workgroup; base < params.rows; base += workgroups.x * per_workgroup) {
        let first = base + invocation / LANES * ROWS;
        var sums: array<vec4<f32>, HELD>;
        for (var r = 0u; r < ROWS; r++) {
            sums[r] = vec4<f32>(0.0);
        }
        for (var chunk = 0u; chunk < params.quads; chunk += LANES * STEPS) {
            var held: array<Quad, HELD>;
            for (var r = 0u; r < ROWS; r++) {
                let start = min(first + r, params.rows - 1u) * params.quads;
                for (var s = 0u; s < STEPS; s++) {
                    held[r * STEPS + s] = rows[start + min(chunk + s * LANES + lane, params.quads - 1u)];
                }
            }
            for (var s = 0u; s < STEPS; s++) {
                let quad = chunk + s * LANES + lane;
                if (quad < params.quads) {
                    let q = query[quad];
                    for (var r = 0u; r < ROWS; r++) {
                        sums[r] = add_terms(sums[r], q, quad_elements(held[r * STEPS + s]));
                    }
                }
            }
        }
        var score = 0.0;
        for (var r = 0u; r < ROWS; r++) {
            let whole = total(sums[r]);
            score = select(score, whole, lane == r);
        }
        if (lane < ROWS && first + lane < params.rows) {
            scores[first + lane] = score;
        }
    }
}
