use crate::kernels::Choice;

/// A token and its probability among the likeliest, these first, as [`crate::Step::sample`] draws among them.
pub fn sample(logits: &[f32], choice: Choice) -> Vec<(u32, f64)> {
    let mut tokens: Vec<(u32, f64)> = (0..)
        .zip(logits.iter().copied().map(f64::from))
        .filter(|(_, logit)| *logit > f64::NEG_INFINITY)
        .collect();
    tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    tokens.truncate(usize::try_from(choice.k).unwrap_or(usize::MAX).max(1));
    let largest = tokens.first().map_or(0.0, |(_, logit)| *logit);
    for (_, logit) in &mut tokens {
        *logit = ((*logit - largest) * f64::from(choice.inverse_temperature)).exp();
    }
    let sum: f64 = tokens.iter().map(|(_, share)| share).sum();
    tokens.iter_mut().for_each(|(_, share)| *share /= sum);
    tokens
}
