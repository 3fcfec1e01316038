// The best of the workgroup's candidates (rank, index), with subgroup operations: the highest rank, and of equals the
// lowest index. WG, an override of the kernel, is a multiple of the largest subgroup size. workgroup_best must be
// called in uniform control flow by the whole workgroup; its result is valid in the first invocation.
// Neighbours in the subgroup are neighbours in the workgroup, as every Vulkan driver numbers them in one dimension.

// One for each subgroup; no subgroup is smaller than four.
var<workgroup> best_partial: array<vec2<u32>, WG / 4u>;

fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y));
}

fn workgroup_best(candidate: vec2<u32>, invocation: u32) -> vec2<u32> {
    let size = subgroupAdd(1u);
    let rank = subgroupMax(candidate.x);
    let index = subgroupMin(select(0xffffffffu, candidate.y, candidate.x == rank));
    if (invocation % size == 0u) {
        best_partial[invocation / size] = vec2<u32>(rank, index);
    }
    workgroupBarrier();
    var best = best_partial[0];
    for (var i = 1u; i < WG / size; i++) {
        best = better(best, best_partial[i]);
    }
    workgroupBarrier();
    return best;
}
