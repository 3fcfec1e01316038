// The best of the workgroup's candidates (rank, index), through workgroup memory: the highest rank, and of equals the
// lowest index. WG is an override of the kernel, a power of two. workgroup_best must be called in uniform control flow
// by the whole workgroup; its result is valid in the first invocation.

var<workgroup> best_partial: array<vec2<u32>, WG>;

fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y));
}

fn workgroup_best(candidate: vec2<u32>, invocation: u32) -> vec2<u32> {
    best_partial[invocation] = candidate;
    workgroupBarrier();
    for (var width = WG / 2u; width > 0u; width /= 2u) {
        if (invocation < width) {
            best_partial[invocation] = better(best_partial[invocation], best_partial[invocation + width]);
        }
        workgroupBarrier();
    }
    let best = best_partial[0];
    workgroupBarrier();
    return best;
}
