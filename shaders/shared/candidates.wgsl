// The candidates of many queries: rows of which some may be among a query's nearest.
//
// candidates [n, CANDIDATE_WORDS]: how many; the limit that keys are below; then the key and the row's number of each. Those
// beyond CANDIDATES_MAX are counted, and not there. Keys are ordered keys (sort_key.wgsl); the limit NO_LIMIT lets all in.

const CANDIDATES_MAX: u32 = 4096u;
const CANDIDATE_WORDS: u32 = 2u * (CANDIDATES_MAX + 1u);
const NO_LIMIT: u32 = 0xffffffffu;
// The value of no entry of a query with more candidates than were kept.
const MINUS_INFINITY: u32 = 0xff800000u;
