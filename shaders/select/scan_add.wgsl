// Adds to the numbers of each block what the blocks before it amount to: the last step of a scan over several blocks.
//
// Shapes: sums [blocks], scanned; values [params.n], changed in place; a block is params.block values.
// Dispatch: any number of workgroups of WG invocations; they stride over the values.
// Numeric: u32, wrapping around.
// Twin: engine/compute/src/reference/scan.rs.

override WG: u32 = 256u;

struct Params {
    n: u32,
    block: u32,
}
// @params

@group(0) @binding(0) var<storage, read> sums: array<u32>;
@group(0) @binding(1) var<storage, read_write> values: array<u32>;

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < params.n; i += workgroups.x * WG) {
        values[i] += sums[i / params.block];
    }
}
