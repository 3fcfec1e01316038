// Selects the params.k likeliest tokens of each block of 4,096 logits of each row, for sample_draw.
//
// Shapes: logits [params.rows, params.n] f32; candidates [params.rows, blocks, params.k] pairs (key, token), the likeliest first,
//   blocks = ceil(params.n / 4,096); places beyond the block's tokens hold 0xffffffff twice. 1 <= params.k <= 64.
// Dispatch: any number of workgroups of 256; they stride over rows and blocks.
// Numeric: exact, on bits. Keys ascend as logits descend; ties go to the lower token; NaN and minus infinity are left out.
// Twin: engine/compute/src/reference/sample.rs.

struct Params {
    rows: u32,
    n: u32,
    k: u32,
}
// @params

// @import sort_key

@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> candidates: array<vec2<u32>>;

// @import few

const MINUS_INFINITY: u32 = 0xff800000u;

fn blocks_of_row() -> u32 {
    return (params.n + BLOCK - 1u) / BLOCK;
}

fn load_entry(block: u32, at: u32) -> vec2<u32> {
    let token = block % blocks_of_row() * BLOCK + at;
    if (token >= params.n) {
        return vec2<u32>(NONE, NONE);
    }
    let bits = logits[block / blocks_of_row() * params.n + token];
    let key = key_of_float(bits ^ 0x80000000u);
    if (key == NONE || bits == MINUS_INFINITY) {
        return vec2<u32>(NONE, NONE);
    }
    return vec2<u32>(key, token);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var block = workgroup.x; block < params.rows * blocks_of_row(); block += workgroups.x) {
        select_block(invocation, block, params.k);
        for (var at = invocation; at < params.k; at += WG) {
            candidates[block * params.k + at] = entries[at];
        }
        workgroupBarrier();
    }
}
