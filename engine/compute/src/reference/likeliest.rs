/// The likeliest token of each row of `n` logits, as [`crate::Step::likeliest`] finds it.
pub fn likeliest(logits: &[f32], n: usize) -> Vec<u32> {
    let of_row = |row: &[f32]| {
        let mut best = (f32::NEG_INFINITY, u32::MAX);
        for (token, &logit) in (0..).zip(row) {
            if logit > best.0 {
                best = (logit, token);
            }
        }
        best.1
    };
    logits.chunks_exact(n).map(of_row).collect()
}
