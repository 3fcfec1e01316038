// Copies chosen rows, one after the other.
//
// Shapes: source [rows, params.width] f32, chosen [params.rows] numbers of rows, taken [params.rows, params.width] f32. A row
//   that is not there gives zeros.
// Dispatch: any number of workgroups of WG; invocations stride over the numbers.
// Numeric: exact.
// Twin: engine/compute/src/reference/take_rows.rs.

override WG: u32 = 64u;

struct Params {
    rows: u32,
    width: u32,
}
// @params

@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read_write> taken: array<u32>;

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let rows = arrayLength(&source) / params.width;
    for (var at = workgroup.x * WG + invocation; at < params.rows * params.width; at += workgroups.x * WG) {
        let row = chosen[at / params.width];
        var bits = 0u;
        if (row < rows) {
            bits = source[row * params.width + at % params.width];
        }
        taken[at] = bits;
    }
}
