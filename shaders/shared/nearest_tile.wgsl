// Compares a tile of 64 rows with lists, 64 at a time: a product fused with an argmin, by a workgroup of 256.
//
// The kernel declares rows and centroids as vec4 of f32, norms, and params with the members quads and scale. A score is
// norms[list] - params.scale * dot(row, centroid); ties go to the lower list, and a row without any score below f32::MAX (NaN,
// infinity) gets the first list's number. Numeric: f32, four partial sums a pair.

const WORST: f32 = 3.40282346638528859811704183484516925e+38;
// Where no row begins.
const ABSENT: u32 = 0xffffffffu;
const TILE: u32 = 64u;
const SIDE: u32 = 16u;
const DEPTH: u32 = 4u;
// One quad of padding a line, so that lines a tile row apart fall into different banks.
const LINE: u32 = DEPTH + 1u;
const CENTROID_TILE: u32 = TILE * LINE;
const WG: u32 = SIDE * SIDE;

// First the row tile and the centroid tile; after the product each invocation's best scores and lists.
var<workgroup> tile: array<vec4<u32>, 2u * TILE * LINE>;

// The lists to compare with: `count` from `first` on, of which that has the number `number`.
struct Lists {
    first: u32,
    count: u32,
    number: u32,
}

// The best of a row.
struct Winner {
    score: f32,
    list: u32,
}

// The best of four rows so far: component i belongs to row y + 16 i of the tile.
struct Near {
    score: vec4<f32>,
    list: vec4<u32>,
}

fn tile_row(y: u32, depth: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(tile[y * LINE + depth]);
}

fn tile_centroid(x: u32, depth: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(tile[CENTROID_TILE + x * LINE + depth]);
}

// Each invocation loads a quad of the row that begins at row_start, in quads, and of a list: those of line invocation / DEPTH.
fn load_tiles(invocation: u32, row_start: u32, lists: Lists, list_base: u32, quad_base: u32) {
    let line = invocation / DEPTH;
    let depth = invocation % DEPTH;
    let quad = quad_base + depth;
    let list = list_base + line;
    var row_quad = vec4<f32>(0.0);
    var centroid_quad = vec4<f32>(0.0);
    if (quad < params.quads && row_start != ABSENT) {
        row_quad = rows[row_start + quad];
    }
    if (quad < params.quads && list < lists.count) {
        centroid_quad = centroids[(lists.first + list) * params.quads + quad];
    }
    tile[line * LINE + depth] = bitcast<vec4<u32>>(row_quad);
    tile[CENTROID_TILE + line * LINE + depth] = bitcast<vec4<u32>>(centroid_quad);
}

fn total(sum: vec4<f32>) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// Takes over `list` (counted from the first) for each row that it is strictly nearer to.
fn consider(near: Near, lists: Lists, list: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) -> Near {
    if (list >= lists.count) {
        return near;
    }
    let products = vec4<f32>(total(s0), total(s1), total(s2), total(s3));
    let scored = vec4<f32>(norms[lists.first + list]) - params.scale * products;
    let nearer = scored < near.score;
    return Near(
        select(near.score, scored, nearer),
        select(near.list, vec4<u32>(lists.number + list), nearer),
    );
}

// Every invocation of the workgroup takes part; row_start is that of the row that it loads, or ABSENT.
fn nearest_of_tile(invocation: u32, row_start: u32, lists: Lists) -> Near {
    let x = invocation % SIDE;
    let y = invocation / SIDE;
    var near = Near(vec4<f32>(WORST), vec4<u32>(lists.number));
    for (var list_base = 0u; list_base < lists.count; list_base += TILE) {
        // sRC: row y + 16 R against centroid x + 16 C, as four partial sums. Named, not an array, so that they
        // stay in registers whether or not the driver unrolls.
        var s00 = vec4<f32>();
        var s01 = vec4<f32>();
        var s02 = vec4<f32>();
        var s03 = vec4<f32>();
        var s10 = vec4<f32>();
        var s11 = vec4<f32>();
        var s12 = vec4<f32>();
        var s13 = vec4<f32>();
        var s20 = vec4<f32>();
        var s21 = vec4<f32>();
        var s22 = vec4<f32>();
        var s23 = vec4<f32>();
        var s30 = vec4<f32>();
        var s31 = vec4<f32>();
        var s32 = vec4<f32>();
        var s33 = vec4<f32>();
        for (var quad_base = 0u; quad_base < params.quads; quad_base += DEPTH) {
            load_tiles(invocation, row_start, lists, list_base, quad_base);
            workgroupBarrier();
            for (var depth = 0u; depth < DEPTH; depth++) {
                let c0 = tile_centroid(x, depth);
                let c1 = tile_centroid(x + SIDE, depth);
                let c2 = tile_centroid(x + 2u * SIDE, depth);
                let c3 = tile_centroid(x + 3u * SIDE, depth);
                let r0 = tile_row(y, depth);
                s00 = fma(r0, c0, s00);
                s01 = fma(r0, c1, s01);
                s02 = fma(r0, c2, s02);
                s03 = fma(r0, c3, s03);
                let r1 = tile_row(y + SIDE, depth);
                s10 = fma(r1, c0, s10);
                s11 = fma(r1, c1, s11);
                s12 = fma(r1, c2, s12);
                s13 = fma(r1, c3, s13);
                let r2 = tile_row(y + 2u * SIDE, depth);
                s20 = fma(r2, c0, s20);
                s21 = fma(r2, c1, s21);
                s22 = fma(r2, c2, s22);
                s23 = fma(r2, c3, s23);
                let r3 = tile_row(y + 3u * SIDE, depth);
                s30 = fma(r3, c0, s30);
                s31 = fma(r3, c1, s31);
                s32 = fma(r3, c2, s32);
                s33 = fma(r3, c3, s33);
            }
            workgroupBarrier();
        }
        near = consider(near, lists, list_base + x, s00, s10, s20, s30);
        near = consider(near, lists, list_base + x + SIDE, s01, s11, s21, s31);
        near = consider(near, lists, list_base + x + 2u * SIDE, s02, s12, s22, s32);
        near = consider(near, lists, list_base + x + 3u * SIDE, s03, s13, s23, s33);
    }
    return near;
}

// The best of row `invocation` of the tile, for the first TILE invocations; all take part. A barrier has to follow before the
// next tile.
fn winner_of_tile(invocation: u32, near: Near) -> Winner {
    tile[invocation] = bitcast<vec4<u32>>(near.score);
    tile[WG + invocation] = near.list;
    workgroupBarrier();
    var winner = Winner(WORST, 0u);
    if (invocation < TILE) {
        let part = invocation / SIDE;
        let first = (invocation % SIDE) * SIDE;
        winner.score = bitcast<f32>(tile[first][part]);
        winner.list = tile[WG + first][part];
        for (var other = first + 1u; other < first + SIDE; other++) {
            let other_score = bitcast<f32>(tile[other][part]);
            let other_label = tile[WG + other][part];
            if (other_score < winner.score || (other_score == winner.score && other_label < winner.list)) {
                winner.score = other_score;
                winner.list = other_label;
            }
        }
    }
    return winner;
}
