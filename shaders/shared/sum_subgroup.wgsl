// Sums and maxima over LANES neighbouring invocations, with subgroup operations.
// LANES is a power of two of at most the smallest subgroup size; WG is a multiple of the largest. The functions must be
// called in uniform control flow by the whole workgroup; their result is valid in every invocation. Integer sums wrap.
// Neighbours in the subgroup are neighbours in the workgroup, as every Vulkan driver numbers them in one dimension.

fn lanes_sum(value: f32, invocation: u32) -> f32 {
    var sum = value;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        sum += subgroupShuffleXor(sum, width);
    }
    return sum;
}

fn lanes_sum_i32(value: i32, invocation: u32) -> i32 {
    var sum = value;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        sum += subgroupShuffleXor(sum, width);
    }
    return sum;
}

fn lanes_max_u32(value: u32, invocation: u32) -> u32 {
    var most = value;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        most = max(most, subgroupShuffleXor(most, width));
    }
    return most;
}
