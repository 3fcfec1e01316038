// Moves each tile's pairs to their places by one digit of the key: the last step of a pass of the radix sort.
//
// A tile is sorted by the digit in workgroup memory first, four bits at a time, so that pairs which belong together
//   are written together.
// Shapes: keys, indices, sorted_keys, sorted_indices [params.n]; places [256, params.tiles]: the scanned counts of
//   sort_count, which describes the other parameters. With params.implicit, pair i has index i and indices is not
//   read. params.kind_out says what keys are written as.
// Dispatch: as sort_count.
// Numeric: exact and stable: pairs with equal digits keep their order, whatever the number of workgroups.
// Source: N. Satish, M. Harris, M. Garland, "Designing efficient sorting algorithms for manycore GPUs", 2009; the
//   counters of single invocations, two to a word: D. Merrill, CUB, BlockRadixRank.
// Twin: engine/compute/src/reference/sort.rs.

override WG: u32 = 256u;
const ITEMS: u32 = 8u;
const DIGITS: u32 = 256u;

struct Params {
    n: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    shift: u32,
    kind: u32,
    limit: u32,
    kind_out: u32,
    implicit: u32,
}
// @params

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> sorted_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> sorted_indices: array<u32>;

// @import sort_key
// @import scan

// Either the keys or positions of the tile, or the counters: 8 words for each invocation. One word in 33 is left out,
// so that words 8 apart fall into different banks.
var<workgroup> words: array<u32, WG * 8u + WG / 4u>;
// Where each digit's run starts in the sorted tile, and where it goes.
var<workgroup> run_start: array<u32, DIGITS>;
var<workgroup> run_place: array<u32, DIGITS>;

fn slot(i: u32) -> u32 {
    return i + i / 32u;
}

// The rank of each of the invocation's 8 keys among the tile's by the 4 bits from `shift`, equals in order.
// Leaves `words` free for use.
fn ranks_by(held: array<u32, 8>, shift: u32, invocation: u32) -> array<u32, 8> {
    var items = held;
    var ranks: array<u32, 8>;
    // Word j of an invocation counts digit j in its low half and digit j + 8 in its high half.
    for (var j = 0u; j < ITEMS; j++) {
        words[slot(j * WG + invocation)] = 0u;
    }
    for (var j = 0u; j < ITEMS; j++) {
        let digit = extractBits(items[j], shift, 4u);
        let word = slot((digit & 7u) * WG + invocation);
        let half = (digit >> 3u) * 16u;
        let counter = words[word];
        ranks[j] = extractBits(counter, half, 16u);
        words[word] = counter + (1u << half);
    }
    workgroupBarrier();
    var sum = 0u;
    for (var j = 0u; j < ITEMS; j++) {
        let word = slot(invocation * ITEMS + j);
        let counter = words[word];
        words[word] = sum;
        sum += counter;
    }
    let scanned = workgroup_scan(sum, invocation);
    // All of digits 0 to 7 come before digit 8.
    let before = scanned.before + (scanned.total << 16u);
    for (var j = 0u; j < ITEMS; j++) {
        words[slot(invocation * ITEMS + j)] += before;
    }
    workgroupBarrier();
    for (var j = 0u; j < ITEMS; j++) {
        let digit = extractBits(items[j], shift, 4u);
        ranks[j] += extractBits(words[slot((digit & 7u) * WG + invocation)], (digit >> 3u) * 16u, 16u);
    }
    workgroupBarrier();
    return ranks;
}

// Puts item j at place ranks[j] of the tile and returns the 8 items from place `first` on, `stride` apart.
// Leaves the tile in `words`: the next use needs a barrier first.
fn exchange(items: array<u32, 8>, ranks: array<u32, 8>, first: u32, stride: u32) -> array<u32, 8> {
    var held = items;
    var goes_to = ranks;
    var moved: array<u32, 8>;
    for (var j = 0u; j < ITEMS; j++) {
        words[slot(goes_to[j])] = held[j];
    }
    workgroupBarrier();
    for (var j = 0u; j < ITEMS; j++) {
        moved[j] = words[slot(first + j * stride)];
    }
    return moved;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var tile = params.tile_first + workgroup.x; tile < params.tile_end; tile += workgroups.x) {
        let base = tile * WG * ITEMS;
        let count = min(params.n - base, WG * ITEMS);
        for (var digit = invocation; digit < DIGITS; digit += WG) {
            run_place[digit] = places[digit * params.tiles + tile];
        }
        // Read side by side, held in runs of 8. What fills up the last tile has the highest key and comes last, so it
        // stays behind the tile's own keys.
        var held: array<u32, 8>;
        var position: array<u32, 8>;
        for (var j = 0u; j < ITEMS; j++) {
            let i = j * WG + invocation;
            held[j] = 0xffffffffu;
            if (i < count) {
                held[j] = key_in(keys[base + i], params.kind, params.limit);
            }
            position[j] = i;
        }
        let blocked = invocation * ITEMS;
        held = exchange(held, position, blocked, 1u);
        workgroupBarrier();
        for (var j = 0u; j < ITEMS; j++) {
            position[j] = blocked + j;
        }
        for (var half = 0u; half < 2u; half++) {
            let ranks = ranks_by(held, params.shift + half * 4u, invocation);
            // After the second half, pairs that go side by side are held side by side.
            let first = select(blocked, invocation, half == 1u);
            let stride = select(1u, WG, half == 1u);
            position = exchange(position, ranks, first, stride);
            workgroupBarrier();
            held = exchange(held, ranks, first, stride);
            workgroupBarrier();
        }
        for (var j = 0u; j < ITEMS; j++) {
            let i = j * WG + invocation;
            let digit = extractBits(held[j], params.shift, 8u);
            if (i == 0u || extractBits(words[slot(max(i, 1u) - 1u)], params.shift, 8u) != digit) {
                run_start[digit] = i;
            }
        }
        workgroupBarrier();
        for (var j = 0u; j < ITEMS; j++) {
            let i = j * WG + invocation;
            let digit = extractBits(held[j], params.shift, 8u);
            let place = run_place[digit] + i - run_start[digit];
            if (i < count && place < params.n) {
                var index = base + position[j];
                if (params.implicit == 0u) {
                    index = indices[index];
                }
                sorted_keys[place] = key_out(held[j], params.kind_out);
                sorted_indices[place] = index;
            }
        }
        workgroupBarrier();
    }
}
