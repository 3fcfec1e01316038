//! Twin of shaders/measure/read.wgsl.

/// The exclusive or of all words; the shader's results, taken together, give the same. `values` is `[n]`.
pub fn read(values: &[u32]) -> u32 {
    values.iter().fold(0, |mixed, value| mixed ^ value)
}
