//! Twin of shaders/vector/to_f16.wgsl.

use half::f16;

/// Exponent of the power of two that the largest magnitude of a row is brought to, at least; f16 ends at 65,504.
const TARGET_EXPONENT: i32 = 14;

/// Scales a row by a power of two and rounds it to f16; returns the codes, and the factor that undoes the scaling.
///
/// `row` is `[dims]`. The largest magnitude lands in [2^14, 2^15), unless that takes a scale outside [2^-126, 2^126].
/// NaN stays NaN and has no part in the scale; a row that holds an infinity is not scaled; a row of zeros gets some
/// factor. Rounding is to nearest, ties to even; the shader may differ in the last place where its device rounds
/// otherwise.
pub fn to_f16(row: &[f32]) -> (Vec<f16>, f32) {
    let largest = row
        .iter()
        .filter(|x| !x.is_nan())
        .fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let exponent = scale_exponent(largest);
    let scale = power_of_two(exponent);
    let codes = row.iter().map(|&x| f16::from_f32(x * scale)).collect();
    (codes, power_of_two(-exponent))
}

fn scale_exponent(largest: f32) -> i32 {
    if largest.is_infinite() {
        return 0;
    }
    let biased = i32::try_from(largest.to_bits() >> 23).unwrap_or(0);
    (TARGET_EXPONENT + 127 - biased).clamp(-126, 126)
}

fn power_of_two(exponent: i32) -> f32 {
    2.0_f32.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::{f16, to_f16};

    #[test]
    fn to_f16_undone_by_its_factor_gives_the_row_within_half_a_unit() {
        for magnitude in [1e-37_f32, 3e-9, 1.0, 65_504.0, 7e4, 3e38] {
            let row = [magnitude, -magnitude / 3.0, magnitude * 1e-4, 0.0];
            let (codes, factor) = to_f16(&row);
            for (code, x) in codes.iter().zip(row) {
                let back = f64::from(code.to_f32()) * f64::from(factor);
                assert!((back - f64::from(x)).abs() <= f64::from(x).abs() * 2.0_f64.powi(-11));
            }
        }
    }

    #[test]
    fn to_f16_keeps_nan_infinity_and_zero() {
        let (codes, factor) = to_f16(&[f32::NAN, f32::INFINITY, 2.0]);
        assert!(codes[0].is_nan());
        assert_eq!(
            (codes[1], codes[2], factor),
            (f16::INFINITY, f16::from_f32(2.0), 1.0)
        );
        assert_eq!(to_f16(&[0.0, -0.0]).0, [f16::ZERO, f16::NEG_ZERO]);
    }
}
