// Counts one digit of the keys that can still be the k-th smallest: a pass of the radix select.
//
// Shapes: keys [params.n] u32, or bits of f32 where params.kind says so; found [10]: after s passes (k-th key as far as
//   known, how many of the keys that agree with it so far are wanted) at 2 s; counts [256], added to. The digit is 8
//   bits of the key from bit params.shift = 24 - 8 s; keys that differ from the k-th above it are left out.
// Dispatch: any number of workgroups of WG invocations, which stride over keys first .. end.
// Numeric: exact.
// Twin: engine/compute/src/reference/select.rs.

override WG: u32 = 256u;
const DIGITS: u32 = 256u;

struct Params {
    first: u32,
    end: u32,
    shift: u32,
    kind: u32,
}
// @params

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> found: array<u32, 10>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>, 256>;

// @import sort_key

var<workgroup> occurrences: array<atomic<u32>, DIGITS>;

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var digit = invocation; digit < DIGITS; digit += WG) {
        atomicStore(&occurrences[digit], 0u);
    }
    workgroupBarrier();
    let digits_done = (24u - params.shift) / 8u;
    let known = found[2u * min(digits_done, 3u)];
    // The bits above the digit; none in the first pass.
    let settled = select(0u, ~0u << min(params.shift + 8u, 31u), params.shift < 24u);
    // Keys of the same digit often follow each other: one atomic operation for a run of them.
    var run_digit = 0u;
    var run = 0u;
    let stride = workgroups.x * WG;
    for (var i = params.first + workgroup.x * WG + invocation; i < params.end; i += stride) {
        let key = key_in(keys[i], params.kind, 0xffffffffu);
        if (((key ^ known) & settled) == 0u) {
            let digit = extractBits(key, params.shift, 8u);
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
        let count = atomicLoad(&occurrences[digit]);
        if (count > 0u) {
            atomicAdd(&counts[digit], count);
        }
    }
}
