// Exclusive prefix sums over the workgroup, with subgroup operations.
// WG, an override of the kernel, is a multiple of the largest subgroup size. workgroup_scan must be called in uniform
// control flow by the whole workgroup; both results are valid in every invocation. Sums wrap around.
// Neighbours in the subgroup are neighbours in the workgroup, as every Vulkan driver numbers them in one dimension.

struct Scanned {
    // Sum of the values of the invocations before this one.
    before: u32,
    // Sum over the workgroup.
    total: u32,
}

// One for each subgroup; no subgroup is smaller than four.
var<workgroup> scan_partial: array<u32, WG / 4u>;

fn workgroup_scan(value: u32, invocation: u32) -> Scanned {
    let size = subgroupAdd(1u);
    let subgroup = invocation / size;
    let inside = subgroupExclusiveAdd(value);
    let sum = subgroupAdd(value);
    if (invocation % size == 0u) {
        scan_partial[subgroup] = sum;
    }
    workgroupBarrier();
    var scanned = Scanned(inside, 0u);
    for (var i = 0u; i < WG / size; i++) {
        let partial = scan_partial[i];
        scanned.before += select(0u, partial, i < subgroup);
        scanned.total += partial;
    }
    workgroupBarrier();
    return scanned;
}
