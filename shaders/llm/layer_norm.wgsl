// Adds two matrices and brings each row to mean 0 and variance 1: out = (x + y - mean) / sqrt(variance + epsilon) * scale + shift.
//
// Shapes: x, y and out [params.rows, params.dims], scale and shift [params.dims]. Without params.add, y is not read.
// Dispatch: any number of workgroups of WG; they stride over the rows.
// Numeric: f32; the mean first, then the squares of what differs from it: strided sums an invocation, FOLD (a power of two
//   that divides WG) of them in a tree, those one after the other. Whatever the other rows are, a row has the same bits.
// Twin: engine/compute/src/reference/layer_norm.rs.

override WG: u32 = 128u;
override FOLD: u32 = 32u;

struct Params {
    rows: u32,
    dims: u32,
    add: u32,
    epsilon: f32,
}
// @params

// @import fold

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> shift: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

var<workgroup> partial: array<f32, WG>;

fn workgroup_sum(value: f32, invocation: u32) -> f32 {
    let sum = fold_sum(value, FOLD, invocation);
    workgroupBarrier();
    if (invocation % FOLD == 0u) {
        partial[invocation / FOLD] = sum;
    }
    workgroupBarrier();
    var whole = 0.0;
    for (var part = 0u; part < WG / FOLD; part++) {
        whole += partial[part];
    }
    return whole;
}

fn together(at: u32) -> f32 {
    if (params.add == 0u) {
        return x[at];
    }
    return x[at] + y[at];
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var row = workgroup.x; row < params.rows; row += workgroups.x) {
        let start = row * params.dims;
        var sum = 0.0;
        for (var i = invocation; i < params.dims; i += WG) {
            sum += together(start + i);
        }
        let mean = workgroup_sum(sum, invocation) / f32(params.dims);
        var squares = 0.0;
        for (var i = invocation; i < params.dims; i += WG) {
            let off = together(start + i) - mean;
            squares = fma(off, off, squares);
        }
        let variance = workgroup_sum(squares, invocation) / f32(params.dims);
        let factor = inverseSqrt(variance + params.epsilon);
        for (var i = invocation; i < params.dims; i += WG) {
            out[start + i] = fma((together(start + i) - mean) * factor, scale[i], shift[i]);
        }
    }
}
