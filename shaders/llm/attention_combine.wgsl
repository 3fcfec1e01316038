// Puts together what attention_decode found in the spans of each row's context.
//
// Shapes: parted [params.rows, heads, params.spans, QUADS + 1]: weighted sums of values, then (largest score, sum of weights) in
//   the last quad; rows [rows] (sequence, position); attended [params.rows, heads, QUADS]. A row has the spans of its position.
// Dispatch: any number of workgroups of 64; they stride over rows and heads.
// Numeric: f32, spans in ascending order.
// Twin: engine/compute/src/reference/attention.rs.

override HEAD: u32 = 64u;
override QUADS: u32 = HEAD / 4u;

struct Params {
    row_first: u32,
    rows: u32,
    heads: u32,
    spans: u32,
}
// @params

@group(0) @binding(0) var<storage, read> parted: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> attended: array<vec4<f32>>;

// @import spans

const WG: u32 = 64u;
const LEAST: f32 = -3.0e38;

// Of each span, (largest score, sum of weights); then what its sums are multiplied with.
var<workgroup> ends: array<vec2<f32>, SPANS_MAX>;
var<workgroup> factors: array<f32, SPANS_MAX>;

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var item = workgroup.x; item < params.rows * params.heads; item += workgroups.x) {
        let positions = rows[params.row_first + item / params.heads].y + 1u;
        let spans = min(spans_of(positions), params.spans);
        let start = item * params.spans * (QUADS + 1u);
        if (invocation < spans) {
            ends[invocation] = parted[start + invocation * (QUADS + 1u) + QUADS].xy;
        }
        workgroupBarrier();
        var most = LEAST;
        for (var i = 0u; i < spans; i++) {
            most = max(most, ends[i].x);
        }
        if (invocation < spans) {
            factors[invocation] = exp(ends[invocation].x - most);
        }
        workgroupBarrier();
        var total = 0.0;
        for (var i = 0u; i < spans; i++) {
            total += factors[i] * ends[i].y;
        }
        for (var quad = invocation; quad < QUADS; quad += WG) {
            var sum = vec4<f32>(0.0);
            for (var i = 0u; i < spans; i++) {
                sum += factors[i] * parted[start + i * (QUADS + 1u) + quad];
            }
            attended[item * QUADS + quad] = sum / total;
        }
        workgroupBarrier();
    }
}
