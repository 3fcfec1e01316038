// Selects the k smallest of each block of 4,096 values with their indices, for k up to 64; repeated until one block is left.
//
// Shapes and order: as in top_k.wgsl, but for the size of a block. 1 <= params.k <= 64.
// Dispatch: any number of workgroups of 256; they stride over the blocks.
// Twin: engine/compute/src/reference/top_k.rs.

struct Params {
    count: u32,
    k: u32,
    first: u32,
    position: u32,
}
// @params

// @import sort_key

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> best_values: array<u32>;
@group(0) @binding(3) var<storage, read_write> best_indices: array<u32>;

// @import few

fn load_entry(block: u32, at: u32) -> vec2<u32> {
    let source = block * BLOCK + at;
    if (source >= params.count) {
        return vec2<u32>(NONE, NONE);
    }
    let key = key_of_float(values[source]);
    if (params.first == 1u) {
        return vec2<u32>(key, params.position + source);
    }
    return vec2<u32>(key, indices[source]);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let blocks = max((params.count + BLOCK - 1u) / BLOCK, 1u);
    for (var block = workgroup.x; block < blocks; block += workgroups.x) {
        select_block(invocation, block, params.k);
        for (var at = invocation; at < params.k; at += WG) {
            best_values[block * params.k + at] = float_of_key(entries[at].x);
            best_indices[block * params.k + at] = entries[at].y;
        }
        workgroupBarrier();
    }
}
