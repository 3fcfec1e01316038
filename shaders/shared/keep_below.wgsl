// Adding to the candidates of queries.
//
// BELOW: 0 keys go to their places; 1 those below a query's limit go to its candidates. The kernel provides
// candidates: array<atomic<u32>>, and the part candidates.

override BELOW: u32 = 0u;

fn limit_of(query: u32) -> u32 {
    if (BELOW == 0u) {
        return NO_LIMIT;
    }
    return atomicLoad(&candidates[query * CANDIDATE_WORDS + 1u]);
}

// The place of the first of so many more candidates.
fn add_candidates(query: u32, count: u32) -> u32 {
    return atomicAdd(&candidates[query * CANDIDATE_WORDS], count);
}

fn put_candidate(query: u32, place: u32, row: u32, key: u32) {
    if (place < CANDIDATES_MAX) {
        let at = query * CANDIDATE_WORDS + 2u * place + 2u;
        atomicStore(&candidates[at], key);
        atomicStore(&candidates[at + 1u], row);
    }
}
