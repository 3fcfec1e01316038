// Sums and maxima over neighbouring invocations, through workgroup memory.
// `width` is a power of two that divides WG, an override of the kernel. The functions must be called in uniform control
// flow by the whole workgroup, with the same width; their result is valid in every invocation.

var<workgroup> fold_partial: array<f32, WG>;

fn fold_sum(value: f32, width: u32, invocation: u32) -> f32 {
    fold_partial[invocation] = value;
    workgroupBarrier();
    for (var step = width / 2u; step > 0u; step /= 2u) {
        if (invocation % width < step) {
            fold_partial[invocation] += fold_partial[invocation + step];
        }
        workgroupBarrier();
    }
    let sum = fold_partial[invocation / width * width];
    workgroupBarrier();
    return sum;
}

fn fold_max(value: f32, width: u32, invocation: u32) -> f32 {
    fold_partial[invocation] = value;
    workgroupBarrier();
    for (var step = width / 2u; step > 0u; step /= 2u) {
        if (invocation % width < step) {
            fold_partial[invocation] = max(fold_partial[invocation], fold_partial[invocation + step]);
        }
        workgroupBarrier();
    }
    let most = fold_partial[invocation / width * width];
    workgroupBarrier();
    return most;
}
