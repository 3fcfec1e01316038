//! Twin of shaders/select/argmax.wgsl.

/// The largest of `values` and its index, or the smallest if `minimum`; ties go to the lower index, 0.0 and -0.0 are
/// equal. NaN counts only where there is nothing else: then it is (NaN, 0). `None` for no values.
pub fn argmax(values: &[f32], minimum: bool) -> Option<(f32, usize)> {
    let better = |a: f32, b: f32| if minimum { a < b } else { a > b };
    let mut best = (*values.first()?, 0);
    for (index, &value) in values.iter().enumerate() {
        if better(value, best.0) || (best.0.is_nan() && !value.is_nan()) {
            best = (value, index);
        }
    }
    Some(best)
}
