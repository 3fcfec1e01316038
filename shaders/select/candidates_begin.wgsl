// Begins the candidates of each query with the smallest entries of the rows before, the largest of which is the limit.
//
// Shapes: values and indices [params.query_end, params.k], as top_few_spans.wgsl or top_few_candidates.wgsl leaves them.
//   candidates [params.query_end, CANDIDATE_WORDS] as in shared/candidates.wgsl. 1 <= params.k <= 256. With fewer than k entries
//   there is no limit. A query that had too many candidates still has, and nothing is below its limit.
// Dispatch: any number of workgroups of 64; they stride over the queries from params.query_first on.
// Twin: none; it only moves entries.

struct Params {
    k: u32,
    query_first: u32,
    query_end: u32,
}
// @params

// @import sort_key
// @import candidates

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> candidates: array<u32>;

const WG: u32 = 64u;
const NONE: u32 = 0xffffffffu;

// Takes the entry `at` of those from `first` on.
fn begin(start: u32, first: u32, at: u32) {
    let entry = first + at;
    let is_last = at + 1u == params.k;
    if (indices[entry] == NONE && values[entry] == MINUS_INFINITY) {
        candidates[start] = CANDIDATES_MAX + 1u;
        candidates[start + 1u] = 0u;
        return;
    }
    if (indices[entry] == NONE) {
        if (at == 0u) {
            candidates[start] = 0u;
        }
        if (is_last) {
            candidates[start + 1u] = NO_LIMIT;
        }
        return;
    }
    let key = key_of_float(values[entry]);
    candidates[start + 2u * at + 2u] = key;
    candidates[start + 2u * at + 3u] = indices[entry];
    if (is_last) {
        candidates[start + 1u] = key;
    }
    if (is_last || indices[entry + 1u] == NONE) {
        candidates[start] = at + 1u;
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var query = params.query_first + workgroup.x; query < params.query_end; query += workgroups.x) {
        let start = query * CANDIDATE_WORDS;
        for (var at = invocation; at < params.k; at += WG) {
            begin(start, query * params.k, at);
        }
    }
}
