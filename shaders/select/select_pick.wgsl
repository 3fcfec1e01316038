// Fixes the next digit of the k-th smallest key: between the passes of the radix select.
//
// Shapes: found [10] and counts [256] as in select_count, whose params.shift is that of the pass before. The digit is
//   the one whose keys the wanted one falls among; counts becomes zero. With params.start, nothing was counted yet:
//   found[0..2] becomes (0, params.k).
// Dispatch: one workgroup of 256.
// Numeric: exact.
// Twin: engine/compute/src/reference/select.rs.

override WG: u32 = 256u;
const DIGITS: u32 = 256u;

struct Params {
    k: u32,
    shift: u32,
    start: u32,
}
// @params

@group(0) @binding(0) var<storage, read_write> found: array<u32, 10>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32, 256>;

// @import scan

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) invocation: u32) {
    let digit = min(invocation, DIGITS - 1u);
    var count = 0u;
    if (params.start == 0u) {
        count = counts[digit];
    }
    let scanned = workgroup_scan(count, invocation);
    counts[digit] = 0u;
    if (params.start != 0u) {
        if (invocation == 0u) {
            found[0] = 0u;
            found[1] = params.k;
        }
        return;
    }
    let pass_before = min((24u - params.shift) / 8u, 3u);
    let wanted = found[2u * pass_before + 1u];
    if (scanned.before < wanted && wanted <= scanned.before + count) {
        found[2u * pass_before + 2u] = found[2u * pass_before] | (digit << params.shift);
        found[2u * pass_before + 3u] = wanted - scanned.before;
    }
}
