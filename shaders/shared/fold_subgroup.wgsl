// Sums and maxima over neighbouring invocations, with subgroup operations.
// `width` is a power of two of at most the smallest subgroup size; WG, an override of the kernel, is a multiple of the
// largest. The functions must be called in uniform control flow by the whole workgroup, with the same width; their result
// is valid in every invocation. Neighbours in the subgroup are neighbours in the workgroup, as every Vulkan driver numbers
// them in one dimension.

fn fold_sum(value: f32, width: u32, invocation: u32) -> f32 {
    var sum = value;
    for (var step = width / 2u; step > 0u; step /= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}

fn fold_max(value: f32, width: u32, invocation: u32) -> f32 {
    var most = value;
    for (var step = width / 2u; step > 0u; step /= 2u) {
        most = max(most, subgroupShuffleXor(most, step));
    }
    return most;
}
