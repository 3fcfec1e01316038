// Selects the k smallest of each of many spans of values with their indices, for k up to KEPT / 16, at most 256.
//
// Shapes: spans [params.span_end], one vec4 each: (start, count, index of the first, 0), count at most 4,096. values, and
//   indices if params.first is 0, are seen from a span's start on; with params.first = 1 a value's index is its place in
//   the span plus the index of the first. best_values and best_indices [params.span_end, params.k], in the order of
//   top_k.wgsl; places beyond the span's entries hold NaN and index 0xffffffff. An infinite value is no entry if
//   params.first is 1. 1 <= params.k <= KEPT / 16.
// Dispatch: any number of workgroups of 256; they stride over the spans from params.span_first on.
// Twin: engine/compute/src/reference/top_k.rs, on each span.

struct Params {
    k: u32,
    first: u32,
    span_first: u32,
    span_end: u32,
}
// @params

// @import sort_key

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> best_values: array<u32>;
@group(0) @binding(4) var<storage, read_write> best_indices: array<u32>;

// @import few

const INFINITE: u32 = 0x7f800000u;

fn load_entry(block: u32, at: u32) -> vec2<u32> {
    let span = spans[block];
    if (at >= span.y) {
        return vec2<u32>(NONE, NONE);
    }
    let bits = values[span.x + at];
    if (params.first == 1u) {
        if (bits == INFINITE) {
            return vec2<u32>(NONE, NONE);
        }
        return vec2<u32>(key_of_float(bits), span.z + at);
    }
    return vec2<u32>(key_of_float(bits), indices[span.x + at]);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var span = params.span_first + workgroup.x; span < params.span_end; span += workgroups.x) {
        select_block(invocation, span, params.k);
        for (var at = invocation; at < params.k; at += WG) {
            best_values[span * params.k + at] = float_of_key(entries[at].x);
            best_indices[span * params.k + at] = entries[at].y;
        }
        workgroupBarrier();
    }
}
