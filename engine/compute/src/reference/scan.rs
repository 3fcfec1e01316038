//! Twin of shaders/select/scan.wgsl and scan_add.wgsl.

/// The sum of the values before each; wraps around.
pub fn scan(values: &[u32]) -> Vec<u32> {
    let mut sum = 0_u32;
    values
        .iter()
        .map(|&value| {
            let before = sum;
            sum = sum.wrapping_add(value);
            before
        })
        .collect()
}
