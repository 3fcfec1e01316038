// Selects the k smallest of each block of 4,096 values with their indices, for k up to 64; repeated until one block is left.
//
// An invocation looks at 16 values. The k-th smallest of the 256 invocations' smallest values is no less than the k-th
// smallest of all, and only k invocations have values up to it, so at most 16 k values are left to sort; mostly k.
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

const WG: u32 = 256u;
const EACH: u32 = 16u;
const BLOCK: u32 = WG * EACH;
const NONE: u32 = 0xffffffffu;
const KEPT: u32 = 1024u;

// Ordered key of a value, then its index: first the smallest of each invocation, then those that are left.
var<workgroup> entries: array<vec2<u32>, KEPT>;
var<workgroup> left: atomic<u32>;
var<workgroup> sorted: u32;

fn before(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

fn order(low: u32, high: u32) {
    let a = entries[low];
    let b = entries[high];
    if (before(b, a)) {
        entries[low] = b;
        entries[high] = a;
    }
}

// Sorts the first `count` entries, a power of two.
fn sort(invocation: u32, count: u32) {
    for (var width = 2u; width <= count; width *= 2u) {
        let half = width / 2u;
        for (var pair = invocation; pair < count / 2u; pair += WG) {
            let offset = pair & (half - 1u);
            let base = 2u * (pair - offset);
            order(base + offset, base + width - 1u - offset);
        }
        workgroupBarrier();
        for (var gap = half / 2u; gap > 0u; gap /= 2u) {
            for (var pair = invocation; pair < count / 2u; pair += WG) {
                let offset = pair & (gap - 1u);
                let low = 2u * (pair - offset) + offset;
                order(low, low + gap);
            }
            workgroupBarrier();
        }
    }
}

fn load(source: u32) -> vec2<u32> {
    if (source >= params.count) {
        return vec2<u32>(NONE, NONE);
    }
    let key = key_of_float(values[source]);
    if (params.first == 1u) {
        return vec2<u32>(key, params.position + source);
    }
    return vec2<u32>(key, indices[source]);
}

fn select_block(invocation: u32, block: u32) {
    var held: array<vec2<u32>, EACH>;
    var least = vec2<u32>(NONE, NONE);
    for (var i = 0u; i < EACH; i++) {
        held[i] = load(block * BLOCK + i * WG + invocation);
    }
    for (var i = 0u; i < EACH; i++) {
        if (before(held[i], least)) {
            least = held[i];
        }
    }
    entries[invocation] = least;
    if (invocation == 0u) {
        atomicStore(&left, 0u);
    }
    workgroupBarrier();
    sort(invocation, WG);
    let limit = entries[params.k - 1u];
    workgroupBarrier();
    for (var i = 0u; i < EACH; i++) {
        if (!before(limit, held[i]) && held[i].y != NONE) {
            entries[atomicAdd(&left, 1u)] = held[i];
        }
    }
    workgroupBarrier();
    if (invocation == 0u) {
        let count = max(atomicLoad(&left), params.k);
        sorted = 1u << (32u - countLeadingZeros(max(count, 2u) - 1u));
    }
    let count = atomicLoad(&left);
    let whole = workgroupUniformLoad(&sorted);
    for (var at = count + invocation; at < whole; at += WG) {
        entries[at] = vec2<u32>(NONE, NONE);
    }
    workgroupBarrier();
    sort(invocation, whole);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let blocks = max((params.count + BLOCK - 1u) / BLOCK, 1u);
    for (var block = workgroup.x; block < blocks; block += workgroups.x) {
        select_block(invocation, block);
        for (var at = invocation; at < params.k; at += WG) {
            best_values[block * params.k + at] = float_of_key(entries[at].x);
            best_indices[block * params.k + at] = entries[at].y;
        }
        workgroupBarrier();
    }
}
