// Copies the k smallest pairs to the front, in their order: first those below the k-th smallest key, then as many of
// the equal ones as are wanted.
//
// Shapes: keys, indices [params.n], found [10] and the tiles as in select_mark; places [2, params.tiles]: its counts,
//   scanned; chosen_keys, chosen_indices [params.k], keys in the u32 order. With params.implicit, pair i has index i
//   and indices is not read.
// Dispatch: any number of workgroups of WG invocations, which stride over tiles tile_first .. tile_end.
// Numeric: exact, the same whatever the number of workgroups: of equal keys at the cut those come along that stand
//   first.
// Twin: engine/compute/src/reference/select.rs.

override WG: u32 = 256u;
const ITEMS: u32 = 8u;

struct Params {
    n: u32,
    k: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    kind: u32,
    implicit: u32,
}
// @params

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> found: array<u32, 10>;
@group(0) @binding(3) var<storage, read> places: array<u32>;
@group(0) @binding(4) var<storage, read_write> chosen_keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> chosen_indices: array<u32>;

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
        let first = (tile * WG + invocation) * ITEMS;
        var held: array<u32, 8>;
        // Below in the low half, equal in the high half: a tile has less than 65,536 keys.
        var count = 0u;
        for (var j = 0u; j < ITEMS; j++) {
            if (first + j < params.n) {
                held[j] = key_in(keys[first + j], params.kind, 0xffffffffu);
                count += select(0u, 1u, held[j] < threshold) + select(0u, 0x10000u, held[j] == threshold);
            }
        }
        let scanned = workgroup_scan(count, invocation);
        var below = places[tile] + (scanned.before & 0xffffu);
        var equal = places[params.tiles + tile] + (scanned.before >> 16u);
        for (var j = 0u; j < ITEMS; j++) {
            if (first + j >= params.n || held[j] > threshold) {
                continue;
            }
            var place = equal;
            if (held[j] < threshold) {
                place = below;
                below++;
            } else {
                equal++;
            }
            if (place < params.k) {
                var index = first + j;
                if (params.implicit == 0u) {
                    index = indices[index];
                }
                chosen_keys[place] = held[j];
                chosen_indices[place] = index;
            }
        }
    }
}
