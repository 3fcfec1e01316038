// Selects the k smallest values of each of many queries, which lie in spans, with their indices, for k up to LANES.
//
// Shapes: spans, one vec4 each: (start, count, index of the first, 0) of values; the spans of query q are those from ends[q - 1]
//   (0 for the first query) to ends[q]. best_values and best_indices [params.query_end, params.k], in the order of top_k.wgsl;
//   places beyond the query's entries hold NaN and index 0xffffffff. An infinite value is no entry. 1 <= params.k <= LANES.
// Dispatch: any number of workgroups of WG; LANES invocations, which are a subgroup, see to a query, and they stride over the
//   queries from params.query_first on. LANES is the size of every subgroup, at most 32.
// Twin: engine/compute/src/reference/top_k.rs, on each query.
//
// Each lane holds one of the smallest so far, in ascending order. A value is compared with the k-th of them, and put into its
// place if it is smaller, which becomes rare. Source: the WarpSelect of Johnson, Douze, Jégou, "Billion-scale similarity search
// with GPUs" (2017), without its queues: k is small.

struct Params {
    k: u32,
    query_first: u32,
    query_end: u32,
}
// @params

// @import sort_key

override WG: u32 = 64u;
override LANES: u32 = 32u;

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> spans: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read_write> best_values: array<u32>;
@group(0) @binding(4) var<storage, read_write> best_indices: array<u32>;

const NONE: u32 = 0xffffffffu;
const INFINITE: u32 = 0x7f800000u;
// Loads of a lane under way.
const AHEAD: u32 = 8u;

fn before(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

fn of_lane(entry: vec2<u32>, lane: u32) -> vec2<u32> {
    return vec2<u32>(subgroupShuffle(entry.x, lane), subgroupShuffle(entry.y, lane));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let together = WG / LANES;
    let first = params.query_first + workgroup.x * together + invocation / LANES;
    for (var query = first; query < params.query_end; query += workgroups.x * together) {
        var best = vec2<u32>(NONE, NONE);
        // The k-th of them, the same in all lanes.
        var limit = best;
        var span_at = 0u;
        if (query > 0u) {
            span_at = ends[query - 1u];
        }
        let span_end = ends[query];
        for (; span_at < span_end; span_at++) {
            let span = spans[span_at];
            for (var base = 0u; base < span.y; base += LANES * AHEAD) {
                var held: array<u32, AHEAD>;
                for (var a = 0u; a < AHEAD; a++) {
                    let at = base + a * LANES + lane;
                    held[a] = INFINITE;
                    if (at < span.y) {
                        held[a] = values[span.x + at];
                    }
                }
                for (var a = 0u; a < AHEAD; a++) {
                    let entry = vec2<u32>(key_of_float(held[a]), span.z + base + a * LANES + lane);
                    var left = subgroupBallot(held[a] != INFINITE && before(entry, limit)).x;
                    while (left != 0u) {
                        let found = of_lane(entry, firstTrailingBit(left));
                        left &= left - 1u;
                        if (before(found, limit)) {
                            let place = countOneBits(subgroupBallot(before(best, found)).x);
                            let moved = vec2<u32>(subgroupShuffleUp(best.x, 1u), subgroupShuffleUp(best.y, 1u));
                            best = select(best, moved, lane > place);
                            best = select(best, found, lane == place);
                            limit = of_lane(best, params.k - 1u);
                        }
                    }
                }
            }
        }
        if (lane < params.k) {
            best_values[query * params.k + lane] = float_of_key(best.x);
            best_indices[query * params.k + lane] = best.y;
        }
    }
}
