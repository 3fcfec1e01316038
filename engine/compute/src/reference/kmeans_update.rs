//! Twin of shaders/search/kmeans_update.wgsl, with kmeans_starts, kmeans_combine and kmeans_means.

/// The sum of each list's rows and how many they are: `[lists, dims]` and `[lists]`. `rows` are `[n, dims]` row-major,
/// `labels` `[n]`; rows with a label from `lists` on belong to no list. NaN and infinity follow IEEE 754.
pub fn kmeans_update(rows: &[f32], labels: &[u32], dims: usize, lists: usize) -> (Vec<f64>, Vec<u32>) {
    let mut sums = vec![0.0; lists * dims];
    let mut counts = vec![0; lists];
    for (row, &label) in rows.chunks_exact(dims).zip(labels) {
        let Some(list) = usize::try_from(label).ok().filter(|&list| list < lists) else {
            continue;
        };
        counts[list] += 1;
        for (sum, &x) in sums[list * dims..][..dims].iter_mut().zip(row) {
            *sum += f64::from(x);
        }
    }
    (sums, counts)
}
