/// Shares of 1 in place of the scores of each row of `n`, as [`crate::Step::softmax`] gives them.
pub fn softmax(scores: &[f32], n: usize, scale: f32) -> Vec<f64> {
    let rows = scores.chunks_exact(n);
    rows.flat_map(|row| {
        let scores: Vec<f64> = row.iter().map(|x| f64::from(scale) * f64::from(*x)).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(move |share| share / sum)
    })
    .collect()
}
