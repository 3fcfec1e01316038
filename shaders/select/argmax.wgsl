// Finds the largest (MINIMUM: the smallest) of many numbers and its index, in passes of a parallel reduction.
//
// Shapes: the first pass (params.paired = 0) reads candidates as values [params.n]; a later one (paired = 1) as the
//   pairs (value, index) [params.n] that the pass before wrote. winners [workgroups]: one pair each.
// Dispatch: any number of workgroups of WG invocations, which stride over the candidates; the last pass runs one.
// Numeric: exact, on bits: subnormals count. Ties, also of 0.0 and -0.0, go to the lower index. NaN only wins over
//   nothing: it comes out, with index 0, when there is nothing else.
// Twin: engine/compute/src/reference/argmax.rs.

override WG: u32 = 256u;
override MINIMUM: bool = false;

struct Params {
    n: u32,
    paired: u32,
}
// @params

@group(0) @binding(0) var<storage, read> candidates: array<u32>;
@group(0) @binding(1) var<storage, read_write> winners: array<vec2<u32>>;

// @import sort_key
// @import best

// Higher is better; 0 is NaN, which no number maps to.
fn rank_of(bits: u32) -> u32 {
    let key = key_of_float(bits);
    if (key == 0xffffffffu) {
        return 0u;
    }
    if (MINIMUM) {
        return ~key;
    }
    return key;
}

fn float_of_rank(rank: u32) -> u32 {
    if (rank == 0u) {
        return 0x7fc00000u;
    }
    if (MINIMUM) {
        return float_of_key(~rank);
    }
    return float_of_key(rank);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    var best = vec2<u32>(0u, 0xffffffffu);
    for (var i = workgroup.x * WG + invocation; i < params.n; i += workgroups.x * WG) {
        if (params.paired != 0u) {
            best = better(best, vec2<u32>(rank_of(candidates[2u * i]), candidates[2u * i + 1u]));
        } else {
            best = better(best, vec2<u32>(rank_of(candidates[i]), i));
        }
    }
    best = workgroup_best(best, invocation);
    if (invocation == 0u && workgroup.x < arrayLength(&winners)) {
        winners[workgroup.x] = vec2<u32>(float_of_rank(best.x), best.y);
    }
}
