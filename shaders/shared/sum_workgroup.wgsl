// Sums and maxima over LANES neighbouring invocations, through workgroup memory.
// LANES is a power of two that divides WG; both are overrides of the kernel. The functions must be called in uniform
// control flow by the whole workgroup; their result is valid in every invocation. Integer sums wrap.

var<workgroup> lanes_partial: array<f32, WG>;

fn lanes_sum(value: f32, invocation: u32) -> f32 {
    lanes_partial[invocation] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (invocation % LANES < width) {
            lanes_partial[invocation] += lanes_partial[invocation + width];
        }
        workgroupBarrier();
    }
    let sum = lanes_partial[invocation / LANES * LANES];
    workgroupBarrier();
    return sum;
}

// Integers have memory of their own: passed through f32, some would be taken for NaN or flushed to zero.
var<workgroup> lanes_words: array<u32, WG>;

fn lanes_sum_i32(value: i32, invocation: u32) -> i32 {
    lanes_words[invocation] = bitcast<u32>(value);
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (invocation % LANES < width) {
            lanes_words[invocation] += lanes_words[invocation + width];
        }
        workgroupBarrier();
    }
    let sum = lanes_words[invocation / LANES * LANES];
    workgroupBarrier();
    return bitcast<i32>(sum);
}

fn lanes_max_u32(value: u32, invocation: u32) -> u32 {
    lanes_words[invocation] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (invocation % LANES < width) {
            lanes_words[invocation] = max(lanes_words[invocation], lanes_words[invocation + width]);
        }
        workgroupBarrier();
    }
    let most = lanes_words[invocation / LANES * LANES];
    workgroupBarrier();
    return most;
}
