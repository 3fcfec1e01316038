// Selects the k smallest candidates of each query, for k up to KEPT / 16, at most 256.
//
// Shapes: candidates [params.query_end, CANDIDATE_WORDS] as in shared/candidates.wgsl. best_values and best_indices [params.query_end,
//   params.k], in the order of top_k.wgsl; places beyond the candidates hold NaN and index 0xffffffff. A query with more
//   candidates than were kept has negative infinity and index 0xffffffff in all places. 1 <= params.k <= KEPT / 16.
// Dispatch: any number of workgroups of 256; they stride over the queries from params.query_first on.
// Twin: engine/compute/src/reference/top_k.rs, on the candidates.

struct Params {
    k: u32,
    query_first: u32,
    query_end: u32,
}
// @params

// @import sort_key
// @import candidates

@group(0) @binding(0) var<storage, read> candidates: array<u32>;
@group(0) @binding(1) var<storage, read_write> best_values: array<u32>;
@group(0) @binding(2) var<storage, read_write> best_indices: array<u32>;

// @import few

fn load_entry(query: u32, at: u32) -> vec2<u32> {
    let start = query * CANDIDATE_WORDS;
    if (at >= min(candidates[start], CANDIDATES_MAX)) {
        return vec2<u32>(NONE, NONE);
    }
    return vec2<u32>(candidates[start + 2u * at + 2u], candidates[start + 2u * at + 3u]);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var query = params.query_first + workgroup.x; query < params.query_end; query += workgroups.x) {
        select_block(invocation, query, params.k);
        let were_kept = candidates[query * CANDIDATE_WORDS] <= CANDIDATES_MAX;
        for (var at = invocation; at < params.k; at += WG) {
            let place = query * params.k + at;
            best_values[place] = select(MINUS_INFINITY, float_of_key(entries[at].x), were_kept);
            best_indices[place] = select(NONE, entries[at].y, were_kept);
        }
        workgroupBarrier();
    }
}
