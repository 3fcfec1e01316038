// Replaces numbers by the sums of those before them, block by block, and notes the sum of each block.
//
// Shapes: values [params.n], changed in place; sums [blocks], a block being 8 WG values. With several blocks the sums
//   are scanned next, and scan_add adds them to their blocks.
// Dispatch: any number of workgroups of WG invocations; they stride over the blocks.
// Numeric: u32, wrapping around.
// Twin: engine/compute/src/reference/scan.rs.

override WG: u32 = 256u;
const ITEMS: u32 = 8u;

struct Params {
    n: u32,
}
// @params

@group(0) @binding(0) var<storage, read_write> values: array<u32>;
@group(0) @binding(1) var<storage, read_write> sums: array<u32>;

// @import scan

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let blocks = (params.n + WG * ITEMS - 1u) / (WG * ITEMS);
    for (var block = workgroup.x; block < blocks; block += workgroups.x) {
        let first = (block * WG + invocation) * ITEMS;
        var items: array<u32, 8>;
        var sum = 0u;
        for (var j = 0u; j < ITEMS; j++) {
            if (first + j < params.n) {
                items[j] = values[first + j];
                sum += items[j];
            }
        }
        let scanned = workgroup_scan(sum, invocation);
        var before = scanned.before;
        for (var j = 0u; j < ITEMS; j++) {
            if (first + j < params.n) {
                values[first + j] = before;
                before += items[j];
            }
        }
        if (invocation == 0u && block < arrayLength(&sums)) {
            sums[block] = scanned.total;
        }
    }
}
