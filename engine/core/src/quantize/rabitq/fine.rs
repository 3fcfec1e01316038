//! 4-bit codes of rotated residuals, beside the 1-bit codes: for the rows that those let pass, a bound that is six times
//! as close, from an eighth of the vector's bytes.
//!
//! The module above says how bounds follow from a code `b`; here `b_i` is one of the odd numbers from -15 to 15, whose step
//! suits a normal distribution. A code of `[dims]` elements lies in the row as three f32, the factors, and then bytes that
//! hold element `i` in the low nibble and element `i + ceil(dims / 2)` in the high one, filled up to whole words.

use super::RabitqFactors;

/// Bytes of the factors.
const FACTORS: usize = 12;
/// The step between two values of an element, relative to the root mean square of the elements: the best one for 16
/// steps and a normal distribution (J. Max, "Quantizing for minimum distortion", 1960).
const STEP: f64 = 0.3352;

/// Bytes of a row's factors and code.
pub const fn bytes(dims: usize) -> usize {
    FACTORS + digit_bytes(dims)
}

/// Bytes of a row's code without its factors.
pub const fn digit_bytes(dims: usize) -> usize {
    dims.div_ceil(2).next_multiple_of(4)
}

/// The digits of `w`, a rotated residual with `|w|^2 = square`: 0 to 15, for -15 to 15.
pub(super) fn digits<'a>(w: &'a [f32], square: f64) -> impl Iterator<Item = u8> + Clone + 'a {
    let unit = STEP * (square / w.len() as f64).sqrt();
    let per_unit = if unit > 0.0 { 1.0 / unit } else { 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped first; NaN becomes 0"
    )]
    w.iter()
        .map(move |w| (f64::from(*w) * per_unit + 8.0).clamp(0.0, 15.0) as u8)
}

/// The value of a digit.
pub(super) fn value(digit: u8) -> i8 {
    2 * digit.cast_signed() - 15
}

/// Appends factors and digits to `out`.
pub(super) fn pack(factors: RabitqFactors, digits: impl Iterator<Item = u8>, dims: usize, out: &mut Vec<u8>) {
    for factor in [factors.base, factors.step, factors.error] {
        out.extend_from_slice(&factor.to_le_bytes());
    }
    let start = out.len();
    let half = dims.div_ceil(2);
    out.resize(start + digit_bytes(dims), 0);
    for (i, digit) in digits.enumerate() {
        if i < half {
            out[start + i] = digit;
        } else {
            out[start + i - half] |= digit << 4;
        }
    }
}

/// The factors of a row's code, unless no encoder wrote them.
pub(super) fn factors(row: &[u8]) -> Option<RabitqFactors> {
    let (words, _) = row.as_chunks::<4>();
    let [base, step, error] = [0, 1, 2].map(|at| f32::from_le_bytes(words[at]));
    // NaN fails the comparisons, too.
    (base.abs() <= f32::MAX && step >= 0.0 && error >= 0.0).then_some(RabitqFactors { base, step, error })
}

/// The code behind the factors.
pub(super) fn code(row: &[u8]) -> &[u8] {
    &row[FACTORS..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_whatever_the_dimensions() {
        for dims in 1..40usize {
            let digits = (0..dims).map(|i| u8::try_from(i * 7 % 16).expect("below 16"));
            let factors_in = RabitqFactors {
                base: -1.5,
                step: 0.25,
                error: 3.0,
            };
            let mut row = Vec::new();
            pack(factors_in, digits.clone(), dims, &mut row);
            assert_eq!(row.len(), bytes(dims));
            assert_eq!(factors(&row), Some(factors_in));
            let code = &code(&row)[..dims.div_ceil(2)];
            let (low, high) = (
                code.iter().map(|byte| byte & 15),
                code.iter().map(|byte| byte >> 4),
            );
            let back: Vec<u8> = low.chain(high).take(dims).collect();
            assert_eq!(back, digits.collect::<Vec<_>>(), "{dims}");
        }
    }
}
