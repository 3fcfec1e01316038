// The k smallest of a block of up to 4,096 entries, k up to KEPT / 16 and 256, in a workgroup of 256.
//
// An invocation looks at 16 entries. The k-th smallest of the 256 invocations' smallest entries is no less than the k-th
// smallest of all, and only k invocations have entries up to it, so at most 16 k entries are left to sort; mostly k.
//
// The kernel provides load_entry(block, at) -> (ordered key, index), NONE where there is none; select_block leaves the
// smallest in `entries`, in ascending order.

const WG: u32 = 256u;
const EACH: u32 = 16u;
const BLOCK: u32 = WG * EACH;
const NONE: u32 = 0xffffffffu;
override KEPT: u32 = 1024u;

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

fn select_block(invocation: u32, block: u32, k: u32) {
    var held: array<vec2<u32>, EACH>;
    var least = vec2<u32>(NONE, NONE);
    for (var i = 0u; i < EACH; i++) {
        held[i] = load_entry(block, i * WG + invocation);
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
    let limit = entries[k - 1u];
    workgroupBarrier();
    for (var i = 0u; i < EACH; i++) {
        if (!before(limit, held[i]) && held[i].y != NONE) {
            entries[atomicAdd(&left, 1u)] = held[i];
        }
    }
    workgroupBarrier();
    if (invocation == 0u) {
        let count = max(atomicLoad(&left), k);
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
