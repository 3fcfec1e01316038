// Counts in each tile the keys below the k-th smallest, and those equal to it.
//
// Shapes: keys [params.n] u32, or bits of f32 where params.kind says so; found [10] as in select_count, complete;
//   counts [2, params.tiles]: the keys below, then the equal ones, of each tile of 8 WG keys.
// Dispatch: any number of workgroups of WG invocations, which stride over tiles tile_first .. tile_end.
// Numeric: exact.
// Twin: engine/compute/src/reference/select.rs.

override WG: u32 = 256u;
const ITEMS: u32 = 8u;

struct Params {
    n: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    kind: u32,
}
// @params

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> found: array<u32, 10>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;

// @import sort_key
// @import scan

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let threshold = found[8];
    for (var tile = params.tile_first + workgroup.x; tile < params.tile_end; tile += workgroups.x) {
        // Below in the low half, equal in the high half: a tile has less than 65,536 keys.
        var count = 0u;
        for (var j = 0u; j < ITEMS; j++) {
            let i = (tile * ITEMS + j) * WG + invocation;
            if (i < params.n) {
                let key = key_in(keys[i], params.kind, 0xffffffffu);
                count += select(0u, 1u, key < threshold) + select(0u, 0x10000u, key == threshold);
            }
        }
        let scanned = workgroup_scan(count, invocation);
        if (invocation == 0u) {
            counts[tile] = scanned.total & 0xffffu;
            counts[params.tiles + tile] = scanned.total >> 16u;
        }
    }
}
