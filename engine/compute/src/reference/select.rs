//! Twin of shaders/select/select_count.wgsl, select_pick.wgsl, select_mark.wgsl and select_gather.wgsl.

use super::sort;

/// The `k` smallest pairs as [`sort()`] orders them; all where there are fewer.
pub fn select(keys: &[f32], indices: Option<&[u32]>, k: usize) -> (Vec<f32>, Vec<u32>) {
    let (mut keys, mut indices) = sort(keys, indices);
    keys.truncate(k);
    indices.truncate(k);
    (keys, indices)
}
