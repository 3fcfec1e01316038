// Counts the digits of each tile's keys: the first step of a pass of the radix sort.
//
// Shapes: keys [params.n] u32, or bits of f32 where params.kind says so; counts [256, params.tiles]: how often each
//   digit occurs in each tile of 8 WG keys. The digit is 8 bits of the key from bit params.shift.
// Dispatch: any number of workgroups of WG invocations, which stride over tiles tile_first .. tile_end.
// Numeric: exact. Keys above params.limit count as that.
// Source: N. Satish, M. Harris, M. Garland, "Designing efficient sorting algorithms for manycore GPUs", 2009.
// Twin: engine/compute/src/reference/sort.rs.

override WG: u32 = 256u;
const ITEMS: u32 = 8u;
const DIGITS: u32 = 256u;

struct Params {
    n: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    shift: u32,
    kind: u32,
    limit: u32,
}
// @params

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;

// @import sort_key

var<workgroup> occurrences: array<atomic<u32>, DIGITS>;

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var tile = params.tile_first + workgroup.x; tile < params.tile_end; tile += workgroups.x) {
        for (var digit = invocation; digit < DIGITS; digit += WG) {
            atomicStore(&occurrences[digit], 0u);
        }
        workgroupBarrier();
        // Keys of the same digit often follow each other: one atomic operation for a run of them.
        var run_digit = 0u;
        var run = 0u;
        for (var j = 0u; j < ITEMS; j++) {
            let i = (tile * ITEMS + j) * WG + invocation;
            if (i < params.n) {
                let digit = extractBits(key_in(keys[i], params.kind, params.limit), params.shift, 8u);
                if (digit != run_digit) {
                    if (run > 0u) {
                        atomicAdd(&occurrences[run_digit], run);
                    }
                    run_digit = digit;
                    run = 0u;
                }
                run++;
            }
        }
        if (run > 0u) {
            atomicAdd(&occurrences[run_digit], run);
        }
        workgroupBarrier();
        for (var digit = invocation; digit < DIGITS; digit += WG) {
            let at = digit * params.tiles + tile;
            if (at < arrayLength(&counts)) {
                counts[at] = atomicLoad(&occurrences[digit]);
            }
        }
        workgroupBarrier();
    }
}
