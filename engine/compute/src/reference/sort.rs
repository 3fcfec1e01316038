//! Twin of shaders/select/sort_count.wgsl, sort_scatter.wgsl and sort_local.wgsl.

use crate::SortKey;

/// Sorts pairs by key, ascending and stable; `indices` are 0, 1, ... where there are none. 0.0 and -0.0 are equal and
/// come out as 0.0; NaN comes last.
pub fn sort<K: SortKey>(keys: &[K], indices: Option<&[u32]>) -> (Vec<K>, Vec<u32>) {
    let mut pairs: Vec<(K, u32)> = match indices {
        Some(indices) => keys.iter().copied().zip(indices.iter().copied()).collect(),
        None => keys.iter().copied().zip(0..).collect(),
    };
    pairs.sort_by(|(a, _), (b, _)| a.order(b));
    pairs.into_iter().map(|(key, index)| (key.plain(), index)).unzip()
}
