// Scores one int8 query against every int8 row.
//
// METRIC: 0 squared Euclidean distance, 1 dot product, of the vectors scale * code.
// Shapes: rows [params.rows, params.quads] vec4 of words of four codes, scales [params.rows], query [params.quads] vec4,
//   query_scale [1], scores [params.rows].
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES (a power of two that
//   divides WG) invocations share a row: consecutive lanes read consecutive quads.
// Numeric: sums in i32, exact below 32,768 elements (Q + X + 2 D <= 4 * 128^2 * n < 2^31). With D = cq.cx, Q = cq.cq,
//   X = cx.cx, m = (sq + sx) / 2 and e = (sq - sx) / 2, the distance is |m (cq - cx) + e (cq + cx)|^2 =
//   m^2 (Q + X - 2 D) + 2 m e (Q - X) + e^2 (Q + X + 2 D), whose terms vanish with the distance, where those of
//   sq^2 Q + sx^2 X - 2 sq sx D would cancel. Negative results become 0. A product of scales that leaves f32 gives
//   infinity or NaN, a scale of NaN gives NaN.
// Twin: engine/compute/src/reference/score_int8.rs.

// @import sum

override WG: u32 = 64u;
override LANES: u32 = 8u;
override METRIC: u32 = 0u;

struct Params {
    rows: u32,
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read> query: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> query_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

const DOT: u32 = 1u;

// Sums over a row: D, and for the distance Q and X.
struct Sums {
    dot: i32,
    query: i32,
    row: i32,
}

fn quad_dot(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return (dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y)) + (dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w));
}

fn row_part(row: u32, lane: u32) -> Sums {
    var sums = Sums();
    let first = row * params.quads;
    for (var quad = lane; quad < params.quads; quad += LANES) {
        let x = rows[first + quad];
        let q = query[quad];
        sums.dot += quad_dot(q, x);
        if (METRIC != DOT) {
            sums.query += quad_dot(q, q);
            sums.row += quad_dot(x, x);
        }
    }
    return sums;
}

fn squared_l2(sums: Sums, sq: f32, sx: f32) -> f32 {
    let m = (sq + sx) * 0.5;
    let e = (sq - sx) * 0.5;
    let squares = sums.query + sums.row;
    let apart = m * m * f32(squares - 2 * sums.dot);
    let crossed = 2.0 * m * e * f32(sums.query - sums.row);
    let along = e * e * f32(squares + 2 * sums.dot);
    let distance = apart + crossed + along;
    // By its bits: compilers take a comparison with 0 for max(), which makes a number of NaN.
    let bits = bitcast<u32>(distance);
    return select(distance, 0.0, bits >= 0x80000000u && bits <= 0xff800000u);
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
        sums.dot = lanes_sum_i32(sums.dot, invocation);
        if (METRIC != DOT) {
            sums.query = lanes_sum_i32(sums.query, invocation);
            sums.row = lanes_sum_i32(sums.row, invocation);
        }
        if (lane == 0u && row < params.rows) {
            if (METRIC == DOT) {
                scores[row] = f32(sums.dot) * query_scale[0] * scales[row];
            } else {
                scores[row] = squared_l2(sums, query_scale[0], scales[row]);
            }
        }
    }
}
