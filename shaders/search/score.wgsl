// Scores one query against every row of a block.
//
// METRIC: 0 squared Euclidean distance, 1 dot product, 2 cosine distance 1 - dot / (params.query_norm * |x|), 3 sum of
//   absolute differences.
// Shapes: rows [params.rows, params.quads] quads, query [params.quads] vec4, scores [params.rows].
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES (a power of two that
//   divides WG) invocations share a row: consecutive lanes read consecutive quads.
// Numeric: f32 accumulation, four partial sums a lane, then a tree over the lanes. NaN and infinity follow IEEE 754
//   as far as the device does; subnormals may be flushed to zero. A cosine distance lies in 0..2; it is NaN where the
//   product of the norms is not a positive number, as for a zero vector and where |x|^2 overflows or underflows f32.
// Twin: engine/compute/src/reference/score.rs.

// @import rows
// @import sum

override WG: u32 = 64u;
override LANES: u32 = 8u;
override METRIC: u32 = 0u;

struct Params {
    rows: u32,
    quads: u32,
    query_norm: f32,
}

// @params

@group(0) @binding(0) var<storage, read> rows: array<Quad>;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;

const DOT: u32 = 1u;
const COSINE: u32 = 2u;
const L1: u32 = 3u;

// What a row adds up: the terms of the score and, for cosine, the squares of the row.
struct Sums {
    terms: vec4<f32>,
    squares: vec4<f32>,
}

fn add_quad(sums: Sums, q: vec4<f32>, x: vec4<f32>) -> Sums {
    if (METRIC == DOT) {
        return Sums(fma(q, x, sums.terms), sums.squares);
    }
    if (METRIC == COSINE) {
        return Sums(fma(q, x, sums.terms), fma(x, x, sums.squares));
    }
    let difference = q - x;
    if (METRIC == L1) {
        return Sums(sums.terms + abs(difference), sums.squares);
    }
    return Sums(fma(difference, difference, sums.terms), sums.squares);
}

fn total(sum: vec4<f32>) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
}

fn cosine_distance(dot: f32, square: f32) -> f32 {
    let norms = params.query_norm * sqrt(square);
    // Not a constant, which may not be NaN in WGSL; and never left to clamp, which may make a number of NaN.
    var nan = 0x7fc00000u;
    if (!(norms > 0.0 && norms <= 0x1.fffffep+127f)) {
        return bitcast<f32>(nan);
    }
    return 1.0 - clamp(dot / norms, -1.0, 1.0);
}

fn row_part(row: u32, lane: u32) -> Sums {
    var sums = Sums();
    let first = row * params.quads;
    for (var quad = lane; quad < params.quads; quad += LANES) {
        sums = add_quad(sums, query[quad], quad_elements(rows[first + quad]));
    }
    return sums;
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
        var sums = Sums();
        if (row < params.rows) {
            sums = row_part(row, lane);
        }
        var score = lanes_sum(total(sums.terms), invocation);
        if (METRIC == COSINE) {
            score = cosine_distance(score, lanes_sum(total(sums.squares), invocation));
        }
        if (lane == 0u && row < params.rows) {
            scores[row] = score;
        }
    }
}
