// Exclusive prefix sums over the workgroup, through workgroup memory.
// WG is an override of the kernel. workgroup_scan must be called in uniform control flow by the whole workgroup; both
// results are valid in every invocation. Sums wrap around.

struct Scanned {
    // Sum of the values of the invocations before this one.
    before: u32,
    // Sum over the workgroup.
    total: u32,
}

var<workgroup> scan_partial: array<u32, WG>;

fn workgroup_scan(value: u32, invocation: u32) -> Scanned {
    scan_partial[invocation] = value;
    workgroupBarrier();
    for (var distance = 1u; distance < WG; distance *= 2u) {
        var earlier = 0u;
        if (invocation >= distance) {
            earlier = scan_partial[invocation - distance];
        }
        workgroupBarrier();
        scan_partial[invocation] += earlier;
        workgroupBarrier();
    }
    let scanned = Scanned(scan_partial[invocation] - value, scan_partial[WG - 1u]);
    workgroupBarrier();
    return scanned;
}
