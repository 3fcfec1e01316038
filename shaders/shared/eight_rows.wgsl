// Keys of eight neighbouring rows and a query at once, of which those below the query's limit become candidates.
//
// The kernel provides what list_key, sort_key, candidates and keep_below need, and these.

// A query of a lane.
struct Query {
    head: vec4<f32>,
    number: u32,
    known: bool,
    // An ordered key, and as a number; infinite where there is none.
    limit: u32,
    limit_value: f32,
}

// Eight neighbouring rows: the records, and the number of the first in all tiles and of those that there are.
struct EightRows {
    low: FourHeads,
    high: FourHeads,
    number: u32,
    count: u32,
}

// Their sums with a query.
struct EightSums {
    low: vec4<f32>,
    high: vec4<f32>,
}

// Records of four rows, member by member.
struct FourHeads {
    x: vec4<f32>,
    y: vec4<f32>,
    z: vec4<f32>,
    w: vec4<f32>,
}

fn four_heads(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> FourHeads {
    return FourHeads(
        vec4<f32>(a.x, b.x, c.x, d.x),
        vec4<f32>(a.y, b.y, c.y, d.y),
        vec4<f32>(a.z, b.z, c.z, d.z),
        vec4<f32>(a.w, b.w, c.w, d.w),
    );
}

fn keys_of_four(dots: vec4<f32>, row: FourHeads, query: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        key_of_dot(dots.x, vec4<f32>(row.x.x, row.y.x, row.z.x, row.w.x), query),
        key_of_dot(dots.y, vec4<f32>(row.x.y, row.y.y, row.z.y, row.w.y), query),
        key_of_dot(dots.z, vec4<f32>(row.x.z, row.y.z, row.z.z, row.w.z), query),
        key_of_dot(dots.w, vec4<f32>(row.x.w, row.y.w, row.z.w, row.w.w), query),
    );
}

// Of dots with these rows, the key of row e.
fn key_of(dots: EightSums, eight: EightRows, e: u32, query: Query) -> f32 {
    let at = e % 4u;
    if (e < 4u) {
        let head = vec4<f32>(eight.low.x[at], eight.low.y[at], eight.low.z[at], eight.low.w[at]);
        return key_of_dot(dots.low[at], head, query.head);
    }
    let head = vec4<f32>(eight.high.x[at], eight.high.y[at], eight.high.z[at], eight.high.w[at]);
    return key_of_dot(dots.high[at], head, query.head);
}

// Adds the rows whose keys are below the query's limit to its candidates: one addition to their number for all.
fn keep_below(dots: EightSums, eight: EightRows, query: Query) {
    let low = may_be_below(dots.low, eight.low, query.head, query.limit_value);
    let high = may_be_below(dots.high, eight.high, query.head, query.limit_value);
    if (!any(low | high)) {
        return;
    }
    let bits = vec4<u32>(1u, 2u, 4u, 8u);
    let zeros = vec4<u32>(0u);
    var near = dot(select(zeros, bits, low) + 16u * select(zeros, bits, high), vec4<u32>(1u));
    near &= (1u << min(eight.count, 8u)) - 1u;
    var below = 0u;
    for (; near != 0u; near &= near - 1u) {
        let e = firstTrailingBit(near);
        if (key_of_float(bitcast<u32>(key_of(dots, eight, e, query))) < query.limit) {
            below |= 1u << e;
        }
    }
    if (below == 0u) {
        return;
    }
    var place = add_candidates(query.number, countOneBits(below));
    for (; below != 0u; below &= below - 1u) {
        let e = firstTrailingBit(below);
        let key = key_of_float(bitcast<u32>(key_of(dots, eight, e, query)));
        put_candidate(query.number, place, eight.number + e, key);
        place++;
    }
}

// Which of four rows may have keys below the limit: cheaper than their keys, and never wrong the other way. What is no number, or
// infinite, may be anything.
fn may_be_below(dot: vec4<f32>, row: FourHeads, query: vec4<f32>, limit: f32) -> vec4<bool> {
    var bound: vec4<f32>;
    var least = vec4<f32>(limit);
    if (METRIC == 0u) {
        // Squares: a root, less what is taken off it, is below the limit only where the square is below this one.
        let squares = query.w + row.z;
        let error = 2.0 * row.w * query.z + query.y * (squares + 2.0 * abs(dot));
        bound = squares - 2.0 * dot - error;
        let root = max(limit, 0.0) + row.y;
        least = root * root * (1.0 + 0x1p-16f);
    } else if (METRIC == 1u) {
        let error = query.y * row.y + row.z + row.w * query.z;
        bound = -(dot + error) - 2.0 * KEY_SLACK * (abs(dot) + error);
    } else {
        let upper = dot * row.w + query.y * row.y + row.z + (1.0 + row.y) * query.z;
        let similarity = upper * query.w;
        bound = 1.0 - similarity - 2.0 * KEY_SLACK * (1.0 + abs(similarity));
    }
    return !((bound >= least) & (bound <= vec4<f32>(KEY_MAX)));
}
