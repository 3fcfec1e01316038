// Selects the k smallest of each block of 2,048 values with their indices; repeated until one block is left.
//
// Shapes: values and indices [params.count], best_values and best_indices [blocks, params.k], where
//   blocks = ceil(params.count / 2048), at least 1, and 1 <= params.k <= KEPT. Each block's results are in ascending
//   order. With params.first = 1 the indices are params.position on and `indices` is not read. The next pass takes
//   best_values and best_indices as its input, count = blocks * k, first = 0, while there is more than one block.
// Dispatch: any number of workgroups of 256; they stride over the blocks. KEPT is a power of two from 2 to 1,024; the
//   least one that is not below k is the fastest.
// Numeric: values are f32 bits. Order: by value, -0 equal to 0, subnormals as they are, then NaN; ties go to the lower
//   index. Places beyond the number of entries hold NaN and index 0xffffffff.
// Source: bitonic sort of runs, then pairwise bitonic merges that keep the lower half.
// Twin: engine/compute/src/reference/top_k.rs.

override KEPT: u32 = 16u;

struct Params {
    count: u32,
    k: u32,
    first: u32,
    position: u32,
}
// @params

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> best_values: array<u32>;
@group(0) @binding(3) var<storage, read_write> best_indices: array<u32>;

const WG: u32 = 256u;
const BLOCK: u32 = 2048u;
const NONE: u32 = 0xffffffffu;
const NAN_BITS: u32 = 0x7fc00000u;

// Ordered key of the value, then its index.
var<workgroup> entries: array<vec2<u32>, BLOCK>;

// Maps f32 bits to a u32 of the same order, NaN of either sign last.
fn key_of(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return NONE;
    }
    if (magnitude == 0u) {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn bits_of(key: u32) -> u32 {
    if (key == NONE) {
        return NAN_BITS;
    }
    return select(~key, key & 0x7fffffffu, (key >> 31u) == 1u);
}

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

fn load_block(invocation: u32, block: u32) {
    for (var at = invocation; at < BLOCK; at += WG) {
        let source = block * BLOCK + at;
        var entry = vec2<u32>(NONE, NONE);
        if (source < params.count) {
            entry.x = key_of(values[source]);
            if (params.first == 1u) {
                entry.y = params.position + source;
            } else {
                entry.y = indices[source];
            }
        }
        entries[at] = entry;
    }
    workgroupBarrier();
}

// Sorts each run of KEPT entries in ascending order.
fn sort_runs(invocation: u32) {
    for (var width = 2u; width <= KEPT; width *= 2u) {
        let half = width / 2u;
        for (var pair = invocation; pair < BLOCK / 2u; pair += WG) {
            let offset = pair & (half - 1u);
            let base = 2u * (pair - offset);
            order(base + offset, base + width - 1u - offset);
        }
        workgroupBarrier();
        for (var gap = half / 2u; gap > 0u; gap /= 2u) {
            for (var pair = invocation; pair < BLOCK / 2u; pair += WG) {
                let offset = pair & (gap - 1u);
                let low = 2u * (pair - offset) + offset;
                order(low, low + gap);
            }
            workgroupBarrier();
        }
    }
}

// Merges runs `span` entries apart pairwise, keeping the lower half of each pair, until the first run is the answer.
fn merge_runs(invocation: u32) {
    for (var span = KEPT; span < BLOCK; span *= 2u) {
        let pairs = BLOCK / (2u * span);
        for (var at = invocation; at < pairs * KEPT; at += WG) {
            let offset = at % KEPT;
            let low = at / KEPT * 2u * span + offset;
            let high = at / KEPT * 2u * span + span + KEPT - 1u - offset;
            let other = entries[high];
            if (before(other, entries[low])) {
                entries[low] = other;
            }
        }
        workgroupBarrier();
        for (var gap = KEPT / 2u; gap > 0u; gap /= 2u) {
            for (var at = invocation; at < pairs * KEPT / 2u; at += WG) {
                let place = at % (KEPT / 2u);
                let offset = place & (gap - 1u);
                let low = at / (KEPT / 2u) * 2u * span + 2u * (place - offset) + offset;
                order(low, low + gap);
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
    let blocks = max((params.count + BLOCK - 1u) / BLOCK, 1u);
    for (var block = workgroup.x; block < blocks; block += workgroups.x) {
        load_block(invocation, block);
        sort_runs(invocation);
        merge_runs(invocation);
        for (var at = invocation; at < params.k; at += WG) {
            best_values[block * params.k + at] = bits_of(entries[at].x);
            best_indices[block * params.k + at] = entries[at].y;
        }
        workgroupBarrier();
    }
}
