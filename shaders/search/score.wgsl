// Scores one query against every row of a block: squared L2 distance, or dot product when DOT is set.
//
// Shapes: rows [params.rows, params.quads] quads, query [params.quads] vec4, scores [params.rows].
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES (a power of two that
//   divides WG) invocations share a row: consecutive lanes read consecutive quads.
// Numeric: f32 accumulation, four partial sums a lane, then a tree over the lanes. NaN and infinity follow IEEE 754
//   as far as the device does; subnormals may be flushed to zero.
// Twin: engine/compute/src/reference/score.rs.

// @import rows
// @import sum

override WG: u32 = 64u;
override LANES: u32 = 8u;
override DOT: bool = false;

struct Params {
    rows: u32,
    quads: u32,
}

// @params

@group(0) @binding(0) var<storage, read> rows: array<Quad>;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;

fn row_part(row: u32, lane: u32) -> f32 {
    var sum = vec4<f32>(0.0);
    let first = row * params.quads;
    for (var quad = lane; quad < params.quads; quad += LANES) {
        let x = quad_elements(rows[first + quad]);
        let q = query[quad];
        if (DOT) {
            sum = fma(q, x, sum);
        } else {
            let difference = q - x;
            sum = fma(difference, difference, sum);
        }
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
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
        var sum = 0.0;
        if (row < params.rows) {
            sum = row_part(row, lane);
        }
        sum = lanes_sum(sum, invocation);
        if (lane == 0u && row < params.rows) {
            scores[row] = sum;
        }
    }
}
