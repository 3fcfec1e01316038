// Finds the nearest centroid of each row: a tiled product of rows and centroids fused with an argmin.
//
// The score of (row, list) is norms[list] - params.scale * dot(row, centroid), smallest wins: with norms = |c|^2 and
//   scale = 2 that orders by Euclidean distance, with norms = 0 and scale = 1 by inner product.
// Shapes: rows [params.rows, params.quads] vec4, centroids [lists of the segment, params.quads] vec4, norms [lists of
//   the segment], best and labels [params.rows]. Only lists list_first .. list_first + list_count of the segment are
//   looked at; list_first is number list_number over all segments.
// Dispatch: any number of workgroups of 256; they stride over tiles of 64 rows. Dispatches over further lists carry
//   the best score in best/labels; carry = 0 starts afresh. Lists must be dispatched in ascending order.
// Numeric: f32, four partial sums a pair. Ties go to the lower list. A row without any score below f32::MAX
//   (NaN, infinity) keeps label 0.
// Twin: engine/compute/src/reference/kmeans_assign.rs.

struct Params {
    rows: u32,
    quads: u32,
    list_first: u32,
    list_count: u32,
    list_number: u32,
    carry: u32,
    scale: f32,
}

// @params

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> centroids: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> best: array<f32>;
@group(0) @binding(4) var<storage, read_write> labels: array<u32>;

const WORST: f32 = 3.40282346638528859811704183484516925e+38;
const TILE: u32 = 64u;
const SIDE: u32 = 16u;
const DEPTH: u32 = 4u;
// One quad of padding a line, so that lines a tile row apart fall into different banks.
const LINE: u32 = DEPTH + 1u;
const CENTROID_TILE: u32 = TILE * LINE;
const WG: u32 = SIDE * SIDE;

// First the row tile and the centroid tile; after the product each invocation's best scores and lists.
var<workgroup> tile: array<vec4<u32>, 2u * TILE * LINE>;

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

fn load_tiles(invocation: u32, row_base: u32, list_base: u32, quad_base: u32) {
    let line = invocation / DEPTH;
    let depth = invocation % DEPTH;
    let quad = quad_base + depth;
    let row = row_base + line;
    let list = list_base + line;
    var row_quad = vec4<f32>(0.0);
    var centroid_quad = vec4<f32>(0.0);
    if (quad < params.quads && row < params.rows) {
        row_quad = rows[row * params.quads + quad];
    }
    if (quad < params.quads && list < params.list_count) {
        centroid_quad = centroids[(params.list_first + list) * params.quads + quad];
    }
    tile[line * LINE + depth] = bitcast<vec4<u32>>(row_quad);
    tile[CENTROID_TILE + line * LINE + depth] = bitcast<vec4<u32>>(centroid_quad);
}

fn total(sum: vec4<f32>) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// Takes over `list` (counted within this dispatch) for each row that it is strictly nearer to.
fn consider(near: Near, list: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) -> Near {
    if (list >= params.list_count) {
        return near;
    }
    let products = vec4<f32>(total(s0), total(s1), total(s2), total(s3));
    let scored = vec4<f32>(norms[params.list_first + list]) - params.scale * products;
    let nearer = scored < near.score;
    return Near(
        select(near.score, scored, nearer),
        select(near.list, vec4<u32>(params.list_number + list), nearer),
    );
}

@compute @workgroup_size(256)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let x = invocation % SIDE;
    let y = invocation / SIDE;
    for (var row_base = workgroup.x * TILE; row_base < params.rows; row_base += workgroups.x * TILE) {
        var near = Near(vec4<f32>(WORST), vec4<u32>(params.list_number));
        for (var list_base = 0u; list_base < params.list_count; list_base += TILE) {
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
                load_tiles(invocation, row_base, list_base, quad_base);
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
            near = consider(near, list_base + x, s00, s10, s20, s30);
            near = consider(near, list_base + x + SIDE, s01, s11, s21, s31);
            near = consider(near, list_base + x + 2u * SIDE, s02, s12, s22, s32);
            near = consider(near, list_base + x + 3u * SIDE, s03, s13, s23, s33);
        }
        tile[invocation] = bitcast<vec4<u32>>(near.score);
        tile[WG + invocation] = near.list;
        workgroupBarrier();
        let row = row_base + invocation;
        if (invocation < TILE && row < params.rows) {
            let part = invocation / SIDE;
            let first = (invocation % SIDE) * SIDE;
            var score = bitcast<f32>(tile[first][part]);
            var label = tile[WG + first][part];
            for (var other = first + 1u; other < first + SIDE; other++) {
                let other_score = bitcast<f32>(tile[other][part]);
                let other_label = tile[WG + other][part];
                if (other_score < score || (other_score == score && other_label < label)) {
                    score = other_score;
                    label = other_label;
                }
            }
            if (params.carry == 0u || score < best[row]) {
                best[row] = score;
                labels[row] = label;
            }
        }
        workgroupBarrier();
    }
}
