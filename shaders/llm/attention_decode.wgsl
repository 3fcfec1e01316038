// Attention of single rows over their sequences' cached positions, a span of positions to a workgroup.
//
// Shapes: rows_in [rows, (heads + 2 * kv_heads) * HEAD] f32: queries, keys, values, none of them turned; rows [rows] (sequence,
//   position); tables, turns, cache: as the shared parts say. A row sees positions 0 to its own. With OWN the row's own key and
//   value are taken from rows_in and stored, so no other row of the run may be of the same sequence; else they are there.
//   Query heads share a head of keys in groups; a workgroup does GROUP of them, at most 8, with one read of the keys.
//   With params.spans = 1: attended [params.rows, heads, HEAD]. Else for each head and span HEAD weighted sums, then the
//   largest score and the sum of weights in one more quad, for attention_combine.
// Dispatch: any number of workgroups of 128; they stride over rows, heads of keys, parts of groups, and spans.
// Numeric: f32; sums over positions in an order that depends on the row's position alone.
// Twin: engine/compute/src/reference/attention.rs.

override GROUP: u32 = 1u;
override HEAD: u32 = 64u;
override OWN: bool = false;
override OCTETS: u32 = HEAD / 8u;
override QUADS: u32 = HEAD / 4u;

struct Params {
    row_first: u32,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    blocks_max: u32,
    blocks: u32,
    pairs: u32,
    adjacent: u32,
    positions: u32,
    spans: u32,
    scale: f32,
}
// @params

@group(0) @binding(0) var<storage, read> rows_in: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> cache: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> attended: array<vec4<f32>>;

// @import turned
// @import cache_block
// @import store_octet
// @import spans
// @import weigh_chunk
// @import sum

var<workgroup> place: vec2<u32>;
var<workgroup> folded: array<vec4<f32>, 2u * WG>;

// Reads the heads' queries, and stores the row's own key and value where that is to be done.
fn begin(invocation: u32, row: u32, here: vec2<u32>, kv_head: u32, part: u32, is_last: bool) {
    let group = params.heads / params.kv_heads;
    for (var i = invocation; i < GROUP * QUADS; i += WG) {
        let g = part * GROUP + i / QUADS;
        var quad = vec4<f32>(0.0);
        if (g < group) {
            let head_start = row * row_numbers() + (kv_head * group + g) * HEAD;
            quad = params.scale * turned_quad(head_start, i % QUADS * 4u, here.y);
        }
        queries[i] = quad;
    }
    if (invocation < GROUP_MAX) {
        largest[invocation] = LEAST;
        total[invocation] = 0.0;
    }
    if (OWN && is_last && invocation < 2u * OCTETS) {
        store_octet(row, here, kv_head, invocation % OCTETS, invocation >= OCTETS);
    }
    storageBarrier();
    workgroupBarrier();
}

fn attend(invocation: u32, row: u32, kv_head: u32, part: u32, span: u32) {
    if (invocation == 0u) {
        place = rows[row];
    }
    let here = workgroupUniformLoad(&place);
    let positions = here.y + 1u;
    let first = span * span_of(positions);
    let end = min(first + span_of(positions), positions);
    if (first < positions) {
        begin(invocation, row, here, kv_head, part, end == positions);
        // An octet of the values to an invocation, and each of these parts of the positions.
        let octet = invocation % OCTETS;
        let parts = WG / OCTETS;
        let is_busy = invocation < parts * OCTETS;
        var sums = array<vec4<f32>, 2u * GROUP_MAX>();
        for (var chunk = first; chunk < end; chunk += CHUNK) {
            let count = min(CHUNK, end - chunk);
            score_chunk(invocation, here.x, kv_head, chunk, count);
            weigh_chunk(invocation, count);
            for (var g = 0u; g < GROUP; g++) {
                sums[2u * g] *= shrink[g];
                sums[2u * g + 1u] *= shrink[g];
            }
            for (var at = invocation / OCTETS; at < count && is_busy; at += parts) {
                let value = cache[cache_start(here.x, chunk + at, kv_head) + value_offset() + octet];
                for (var g = 0u; g < GROUP; g++) {
                    sums[2u * g] += weights[g * LINE + at] * low_quad(value);
                    sums[2u * g + 1u] += weights[g * LINE + at] * high_quad(value);
                }
            }
            workgroupBarrier();
        }
        let group = params.heads / params.kv_heads;
        for (var g = 0u; g < GROUP; g++) {
            if (is_busy) {
                folded[2u * invocation] = sums[2u * g];
                folded[2u * invocation + 1u] = sums[2u * g + 1u];
            }
            workgroupBarrier();
            if (invocation < QUADS && part * GROUP + g < group) {
                var sum = vec4<f32>(0.0);
                for (var i = 0u; i < parts; i++) {
                    sum += folded[i * QUADS + invocation];
                }
                let head = (row - params.row_first) * params.heads + kv_head * group + part * GROUP + g;
                if (params.spans == 1u) {
                    attended[head * QUADS + invocation] = sum / total[g];
                } else {
                    let start = (head * params.spans + span) * (QUADS + 1u);
                    attended[start + invocation] = sum;
                    if (invocation == 0u) {
                        attended[start + QUADS] = vec4<f32>(largest[g], total[g], 0.0, 0.0);
                    }
                }
            }
            workgroupBarrier();
        }
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let parts = (params.heads / params.kv_heads + GROUP - 1u) / GROUP;
    let of_row = params.kv_heads * parts * params.spans;
    for (var item = workgroup.x; item < params.rows * of_row; item += workgroups.x) {
        let head_part = item / params.spans % (params.kv_heads * parts);
        attend(invocation, params.row_first + item / of_row, head_part / parts, head_part % parts, item % params.spans);
    }
}
