// Sorts many short rows of pairs (key, index), each within one workgroup, and keeps the front of each: a bitonic sort.
//
// Shapes: keys, indices [params.rows, params.n], n at most 1024; sorted_keys, sorted_indices [params.rows,
//   params.kept], kept <= n. params.width is the power of two of at least n. Keys are u32, or bits of f32 where
//   params.kind says so, and are written as params.kind_out says; u32 keys above params.limit count as that. With
//   params.implicit, pair i of a row has index i and indices is not read.
// Dispatch: any number of workgroups of WG invocations, which stride over rows row_first .. row_end.
// Numeric: exact and stable: pairs with equal keys keep their order.
// Source: K. E. Batcher, "Sorting networks and their applications", 1968.
// Twin: engine/compute/src/reference/sort.rs.

override WG: u32 = 128u;
const MOST: u32 = 1024u;

struct Params {
    row_first: u32,
    row_end: u32,
    n: u32,
    width: u32,
    kept: u32,
    kind: u32,
    limit: u32,
    kind_out: u32,
    implicit: u32,
}
// @params

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> sorted_keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> sorted_indices: array<u32>;

// @import sort_key

// The row's keys, and where in the row each was: it makes all pairs different, and so the order stable.
var<workgroup> row_keys: array<u32, MOST>;
var<workgroup> row_positions: array<u32, MOST>;

fn order_pair(a: u32, b: u32, ascending: bool) {
    let key_a = row_keys[a];
    let key_b = row_keys[b];
    let position_a = row_positions[a];
    let position_b = row_positions[b];
    let greater = key_a > key_b || (key_a == key_b && position_a > position_b);
    if (greater == ascending) {
        row_keys[a] = key_b;
        row_keys[b] = key_a;
        row_positions[a] = position_b;
        row_positions[b] = position_a;
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let width = min(params.width, MOST);
    for (var row = params.row_first + workgroup.x; row < params.row_end; row += workgroups.x) {
        for (var i = invocation; i < width; i += WG) {
            var key = 0xffffffffu;
            if (i < params.n) {
                key = key_in(keys[row * params.n + i], params.kind, params.limit);
            }
            row_keys[i] = key;
            row_positions[i] = i;
        }
        workgroupBarrier();
        for (var size = 2u; size <= width; size *= 2u) {
            for (var distance = size / 2u; distance > 0u; distance /= 2u) {
                for (var i = invocation; i < width / 2u; i += WG) {
                    let a = i / distance * distance * 2u + i % distance;
                    order_pair(a, a + distance, (a & size) == 0u);
                }
                workgroupBarrier();
            }
        }
        for (var i = invocation; i < min(params.kept, params.n); i += WG) {
            var index = min(row_positions[i], params.n - 1u);
            if (params.implicit == 0u) {
                index = indices[row * params.n + index];
            }
            sorted_keys[row * params.kept + i] = key_out(row_keys[i], params.kind_out);
            sorted_indices[row * params.kept + i] = index;
        }
        workgroupBarrier();
    }
}
