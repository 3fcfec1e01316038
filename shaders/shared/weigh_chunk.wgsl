// Weights of up to CHUNK positions for GROUP heads of queries that share a head of keys, in a workgroup of WG.
//
// The kernel provides what cache_block wants and HEAD; it writes `queries`, scaled, and clears `largest` to LEAST and `total`
// to 0 before the first chunk. Sums over a key go through LANES invocations.

const WG: u32 = 128u;
// Invocations that share the key of a position.
const LANES: u32 = 4u;
const CHUNK: u32 = 256u;
// A head's line of weights, padded to spread over the banks.
const LINE: u32 = CHUNK + 16u;
const GROUP_MAX: u32 = 8u;
// Invocations that share the weights of a head.
const SHARERS: u32 = WG / GROUP_MAX;
const LEAST: f32 = -3.0e38;

var<workgroup> queries: array<vec4<f32>, GROUP * QUADS>;
var<workgroup> weights: array<f32, GROUP * LINE>;
var<workgroup> shares: array<f32, WG>;
// Of each head: the largest score so far, the sum of weights, and what earlier weights have to be multiplied with.
var<workgroup> largest: array<f32, GROUP_MAX>;
var<workgroup> total: array<f32, GROUP_MAX>;
var<workgroup> shrink: array<f32, GROUP_MAX>;

// Scores of `count` positions from `first` on, into `weights`.
fn score_chunk(invocation: u32, sequence: u32, kv_head: u32, first: u32, count: u32) {
    let lane = invocation % LANES;
    for (var base = 0u; base < count; base += WG / LANES) {
        let at = base + invocation / LANES;
        var sums = array<f32, GROUP_MAX>();
        if (at < count) {
            let start = cache_start(sequence, first + at, kv_head);
            for (var octet = lane; octet < OCTETS; octet += LANES) {
                let key = cache[start + octet];
                let low = low_quad(key);
                let high = high_quad(key);
                for (var g = 0u; g < GROUP; g++) {
                    sums[g] += dot(queries[g * QUADS + 2u * octet], low) + dot(queries[g * QUADS + 2u * octet + 1u], high);
                }
            }
        }
        for (var g = 0u; g < GROUP; g++) {
            let sum = lanes_sum(sums[g], invocation);
            if (lane == 0u && at < count) {
                weights[g * LINE + at] = sum;
            }
        }
    }
    workgroupBarrier();
}

// Makes weights of the scores, relative to the largest so far.
fn weigh_chunk(invocation: u32, count: u32) {
    let g = invocation / SHARERS;
    let sharer = invocation % SHARERS;
    var most = LEAST;
    if (g < GROUP) {
        for (var at = sharer; at < count; at += SHARERS) {
            most = max(most, weights[g * LINE + at]);
        }
    }
    shares[invocation] = most;
    workgroupBarrier();
    most = largest[g];
    for (var i = 0u; i < SHARERS; i++) {
        most = max(most, shares[g * SHARERS + i]);
    }
    workgroupBarrier();
    var sum = 0.0;
    if (g < GROUP) {
        for (var at = sharer; at < count; at += SHARERS) {
            let weight = exp(weights[g * LINE + at] - most);
            weights[g * LINE + at] = weight;
            sum += weight;
        }
    }
    shares[invocation] = sum;
    workgroupBarrier();
    if (sharer == 0u) {
        let factor = exp(largest[g] - most);
        sum = total[g] * factor;
        for (var i = 0u; i < SHARERS; i++) {
            sum += shares[g * SHARERS + i];
        }
        total[g] = sum;
        largest[g] = most;
        shrink[g] = factor;
    }
    workgroupBarrier();
}
