/// What a head of queries takes from `values`, `[positions, numbers]`, by `keys` of the same shape: its own length of numbers.
/// `query` is turned already.
pub fn attention(query: &[f64], keys: &[f64], values: &[f64]) -> Vec<f64> {
    let numbers = query.len();
    let scale = (numbers as f64).sqrt().recip();
    let scores: Vec<f64> = keys
        .chunks_exact(numbers)
        .map(|key| scale * key.iter().zip(query).map(|(a, b)| a * b).sum::<f64>())
        .collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut taken = vec![0.0; numbers];
    for (weight, value) in weights.iter().zip(values.chunks_exact(numbers)) {
        for (taken, value) in taken.iter_mut().zip(value) {
            *taken += weight / total * value;
        }
    }
    taken
}
