// Turns rows of scores into shares of 1.
//
// Shapes: scores and shares [params.rows, params.n] f32. shares[i] = exp(scale * scores[i] - m) / sum, m the row's largest.
// Dispatch: any number of workgroups of 256; a workgroup takes a row, and they stride over the rows.
// Numeric: f32; partial sums of 256 interleaved parts, folded in a fixed order. NaN makes its row NaN.
// Twin: engine/compute/src/reference/softmax.rs.

struct Params {
    rows: u32,
    n: u32,
    scale: f32,
}
// @params

@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(1) var<storage, read_write> shares: array<f32>;

const WG: u32 = 256u;

var<workgroup> parts: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var row = workgroup.x; row < params.rows; row += workgroups.x) {
        let start = row * params.n;
        var most = -3.0e38;
        for (var i = invocation; i < params.n; i += WG) {
            most = max(most, params.scale * scores[start + i]);
        }
        parts[invocation] = most;
        workgroupBarrier();
        for (var width = WG / 2u; width > 0u; width /= 2u) {
            if (invocation < width) {
                parts[invocation] = max(parts[invocation], parts[invocation + width]);
            }
            workgroupBarrier();
        }
        most = parts[0];
        workgroupBarrier();
        var sum = 0.0;
        for (var i = invocation; i < params.n; i += WG) {
            let share = exp(params.scale * scores[start + i] - most);
            shares[start + i] = share;
            sum += share;
        }
        parts[invocation] = sum;
        workgroupBarrier();
        for (var width = WG / 2u; width > 0u; width /= 2u) {
            if (invocation < width) {
                parts[invocation] += parts[invocation + width];
            }
            workgroupBarrier();
        }
        sum = parts[0];
        // Each invocation divides what it wrote.
        for (var i = invocation; i < params.n; i += WG) {
            shares[start + i] /= sum;
        }
        workgroupBarrier();
    }
}
