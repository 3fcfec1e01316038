// Turns keys by their positions and stores them, and values as they are, in a layer's cache.
//
// Shapes: rows_in [rows, (heads + 2 * kv_heads) * HEAD] f32: queries, keys, values; rows [rows] (sequence, position);
//   tables, turns, cache: as the shared parts say. Rows params.row_first .. row_first + params.rows are stored.
// Dispatch: any number of workgroups of WG; invocations stride over eight numbers of a head each.
// Numeric: turned in f32, one rounding to f16, as the device does it. Numbers beyond f16 become its largest.
// Twin: engine/compute/src/reference/rope.rs.

override WG: u32 = 64u;
override HEAD: u32 = 64u;
override OCTETS: u32 = HEAD / 8u;

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
}
// @params

@group(0) @binding(0) var<storage, read> rows_in: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> cache: array<vec4<u32>>;

// @import turned
// @import cache_block
// @import store_octet

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let of_kind = params.kv_heads * OCTETS;
    let items = params.rows * 2u * of_kind;
    for (var item = workgroup.x * WG + invocation; item < items; item += workgroups.x * WG) {
        let row = params.row_first + item / (2u * of_kind);
        let is_value = item / of_kind % 2u == 1u;
        store_octet(row, rows[row], item / OCTETS % params.kv_heads, item % OCTETS, is_value);
    }
}
