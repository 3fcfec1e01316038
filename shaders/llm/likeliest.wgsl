// Finds the likeliest token of each row of logits, in two passes of a parallel reduction.
//
// Shapes: the first pass (params.paired = 0) reads candidates as logits [params.rows, params.n] f32 and writes to winners, for
//   each row and each of params.parts parts of it, a pair (rank, token); the second (paired = 1) reads those pairs, params.n of
//   them a row, and writes one token a row (params.parts = 1).
// Dispatch: any number of workgroups of WG; they stride over rows and parts.
// Numeric: exact, on bits. Ties go to the lower token; NaN and minus infinity are passed over; where there is nothing else the
//   token is 0xffffffff.
// Twin: engine/compute/src/reference/likeliest.rs.

override WG: u32 = 256u;

struct Params {
    rows: u32,
    n: u32,
    parts: u32,
    paired: u32,
}
// @params

@group(0) @binding(0) var<storage, read> candidates: array<u32>;
@group(0) @binding(1) var<storage, read_write> winners: array<u32>;

// @import sort_key
// @import best

const NOTHING: u32 = 0xffffffffu;
const MINUS_INFINITY: u32 = 0xff800000u;

// Higher is likelier; 0 is nothing.
fn rank_of(bits: u32) -> u32 {
    let key = key_of_float(bits);
    return select(key, 0u, key == NOTHING || bits == MINUS_INFINITY);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var item = workgroup.x; item < params.rows * params.parts; item += workgroups.x) {
        let start = item / params.parts * params.n;
        let part = item % params.parts;
        var best = vec2<u32>(0u, NOTHING);
        for (var i = part * WG + invocation; i < params.n; i += params.parts * WG) {
            if (params.paired != 0u) {
                best = better(best, vec2<u32>(candidates[2u * (start + i)], candidates[2u * (start + i) + 1u]));
            } else {
                let rank = rank_of(candidates[start + i]);
                best = better(best, vec2<u32>(rank, select(i, NOTHING, rank == 0u)));
            }
        }
        best = workgroup_best(best, invocation);
        if (invocation == 0u) {
            if (params.paired != 0u) {
                winners[item] = best.y;
            } else {
                winners[2u * item] = best.x;
                winners[2u * item + 1u] = best.y;
            }
        }
        workgroupBarrier();
    }
}
