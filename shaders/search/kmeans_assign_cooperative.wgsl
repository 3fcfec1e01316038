// Finds the nearest centroid of each row on matrix units: a tiled f16 product fused with an argmin.
// Needs f16, subgroups of 32, subgroup barriers, and cooperative matrices of 16 x 16 with f16 inputs and f32 sums.
//
// The score of (row, list) is norms[list] - params.scale * dot(row, centroid), smallest wins; rows and centroids are
//   given as f16 with a factor each (vector/to_f16.wgsl).
// Shapes: rows [params.rows, params.octets] and centroids [lists of the segment, params.octets] in units of eight f16,
//   rows being padded with zeros to whole octets; norms and list_factors [lists of the segment], row_factors, best and
//   labels [params.rows]. Only lists list_first .. list_first + list_count of the segment are looked at; list_first is
//   number list_number over all segments.
// Dispatch: any number of workgroups of 128; they stride over tiles of 128 rows. Dispatches over further lists carry
//   the best score in best/labels; carry = 0 starts afresh. Lists must be dispatched in ascending order.
// Numeric: products of f16 summed in f32 in the order of the matrix unit. Ties go to the lower list. A row without any
//   score below f32::MAX (NaN, infinity) keeps label list_number.
// Twin: engine/compute/src/reference/kmeans_assign.rs, on the inputs as rounded to f16.

enable f16;
enable wgpu_cooperative_matrix;

struct Params {
    rows: u32,
    octets: u32,
    list_first: u32,
    list_count: u32,
    list_number: u32,
    carry: u32,
    scale: f32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> centroids: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read> row_factors: array<f32>;
@group(0) @binding(4) var<storage, read> list_factors: array<f32>;
@group(0) @binding(5) var<storage, read_write> best: array<f32>;
@group(0) @binding(6) var<storage, read_write> labels: array<u32>;

// @import cooperative_tile
// @import cooperative_slab

const WORST: f32 = 3.40282346638528859811704183484516925e+38;
const STRIP: u32 = 256u;

// One matrix of sums for each subgroup, on its way to the lanes; at the end the score and the list, as two numbers of
// 16 bits, of each row of the tile over half of the lists.
var<workgroup> strips: array<f32, WG / 32u * STRIP>;

// The best of four rows so far: component i belongs to row 16 i + lane / 2 of the subgroup.
struct Near {
    score: vec4<f32>,
    list: vec4<u32>,
}

// Norm and scaled factor of the eight lists of a lane.
struct Terms {
    norm: array<f32, 8>,
    factor: array<f32, 8>,
}

// Rows and lists beyond the end are read from the last one, and their scores not used.
fn places_of(invocation: u32, row_base: u32, list_base: u32) -> Places {
    var places: Places;
    for (var l = 0u; l < LOADS; l++) {
        let line = line_of(invocation) + l * LOAD_LINES;
        let list = params.list_first + min(list_base + line, params.list_count - 1u);
        places.a[l] = min(row_base + line, params.rows - 1u) * params.octets;
        places.b[l] = list * params.octets;
    }
    return places;
}

fn load_slab(given: Places, octet: u32) -> Slab {
    var places = given;
    var slab: Slab;
    for (var l = 0u; l < LOADS; l++) {
        slab.a[l] = vec4<u32>(0u);
        slab.b[l] = vec4<u32>(0u);
        if (octet < params.octets) {
            slab.a[l] = rows[places.a[l] + octet];
            slab.b[l] = centroids[places.b[l] + octet];
        }
    }
    return slab;
}

fn terms_of(list: u32) -> Terms {
    var terms: Terms;
    for (var e = 0u; e < 8u; e++) {
        terms.norm[e] = WORST;
        terms.factor[e] = 0.0;
        if (list + e < params.list_count) {
            terms.norm[e] = norms[params.list_first + list + e];
            terms.factor[e] = params.scale * list_factors[params.list_first + list + e];
        }
    }
    return terms;
}

// Compares 64 rows with 16 lists: hands the sums to the lanes, eight of each row, which take the strictly nearest.
fn consider(
    strip: u32,
    lane: u32,
    list: u32,
    factors: vec4<f32>,
    near: Near,
    s0: coop_mat16x16<f32, C>,
    s1: coop_mat16x16<f32, C>,
    s2: coop_mat16x16<f32, C>,
    s3: coop_mat16x16<f32, C>,
) -> Near {
    var result = near;
    var terms = terms_of(list);
    for (var i = 0u; i < 4u; i++) {
        subgroupBarrier();
        switch i {
            case 0u: { coopStoreT(s0, &strips[strip], 16u); }
            case 1u: { coopStoreT(s1, &strips[strip], 16u); }
            case 2u: { coopStoreT(s2, &strips[strip], 16u); }
            default: { coopStoreT(s3, &strips[strip], 16u); }
        }
        subgroupBarrier();
        for (var e = 0u; e < 8u; e++) {
            let scored = terms.norm[e] - terms.factor[e] * strips[strip + 8u * lane + e] * factors[i];
            let take = scored < result.score[i];
            result.list[i] = select(result.list[i], params.list_number + list + e, take);
            result.score[i] = select(result.score[i], scored, take);
        }
    }
    return result;
}

// Of the two lanes of a row, and then of the two subgroups, the nearer; the lower list where they are equal.
fn nearer(a_score: f32, a_list: u32, b_score: f32, b_list: u32) -> bool {
    return a_score < b_score || (a_score == b_score && a_list < b_list);
}

fn finish(row_base: u32, side_row: u32, first: bool, lane: u32, given: Near) {
    var near = given;
    for (var i = 0u; i < 4u; i++) {
        let score = subgroupShuffleXor(near.score[i], 1u);
        let list = subgroupShuffleXor(near.list[i], 1u);
        if (nearer(score, list, near.score[i], near.list[i])) {
            near.score[i] = score;
            near.list[i] = list;
        }
    }
    workgroupBarrier();
    if (!first) {
        for (var i = 0u; i < 4u; i++) {
            let place = side_row + 16u * i + lane / 2u;
            strips[place] = near.score[i];
            strips[TILE + place] = f32(near.list[i] >> 16u);
            strips[2u * TILE + place] = f32(near.list[i] & 0xffffu);
        }
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        let place = side_row + 16u * i + lane / 2u;
        let row = row_base + place;
        if (first && lane % 2u == 0u && row < params.rows) {
            let list = (u32(strips[TILE + place]) << 16u) | u32(strips[2u * TILE + place]);
            let other = nearer(strips[place], list, near.score[i], near.list[i]);
            let score = select(near.score[i], strips[place], other);
            if (params.carry == 0u || score < best[row]) {
                best[row] = score;
                labels[row] = select(near.list[i], list, other);
            }
        }
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let side_row = subgroup / 2u * SIDE;
    let side_list = subgroup % 2u * SIDE;
    let strip = subgroup * STRIP;
    for (var row_base = workgroup.x * TILE; row_base < params.rows; row_base += workgroups.x * TILE) {
        var factors: vec4<f32>;
        for (var i = 0u; i < 4u; i++) {
            factors[i] = row_factors[min(row_base + side_row + 16u * i + lane / 2u, params.rows - 1u)];
        }
        var near = Near(vec4<f32>(WORST), vec4<u32>(params.list_number));
        for (var list_base = 0u; list_base < params.list_count; list_base += TILE) {
            let places = places_of(invocation, row_base, list_base);
            let t = multiply_lines(invocation, places, params.octets, side_row, side_list);
            let list = list_base + side_list + 8u * (lane % 2u);
            near = consider(strip, lane, list, factors, near, t.s0.c0, t.s1.c0, t.s2.c0, t.s3.c0);
            near = consider(strip, lane, list + 16u, factors, near, t.s0.c1, t.s1.c1, t.s2.c1, t.s3.c1);
            near = consider(strip, lane, list + 32u, factors, near, t.s0.c2, t.s1.c2, t.s2.c2, t.s3.c2);
            near = consider(strip, lane, list + 48u, factors, near, t.s0.c3, t.s1.c3, t.s2.c3, t.s3.c3);
        }
        finish(row_base, side_row, side_list == 0u, lane, near);
    }
}
