// Sums over LANES neighbouring invocations, through workgroup memory.
// LANES is a power of two that divides WG; both are overrides of the kernel. lanes_sum must be called in uniform
// control flow by the whole workgroup; its result is valid in every invocation.

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
