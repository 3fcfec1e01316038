//! int8 codes with one scale for each row.
//!
//! With `max = max |x_i|`, every operation in f32, rounded once: `scale = max / 127`, `inverse = 127 / max`,
//! `code_i = round_ties_even(x_i * inverse)`, which lies in -127..=127 (a device whose division is less exact clamps).
//! A vector with `max < 2^-119` counts as zero, scale 0 and codes 0: so neither scale nor inverse is ever subnormal or
//! infinite, and a device that flushes subnormals uses the same ones. The code stands for `x'_i = scale * code_i`;
//! `x.y` is about `scale_x * scale_y * code_row(CodeScore::DotI8, ...)`. A row of `[d]` elements takes `d` bytes.

use super::bound_of_squares;
use crate::cpu::kernels;
use crate::error::{Error, ErrorKind, Result};

/// The largest code.
pub const CODE_MAX: f32 = 127.0;
/// 2^-119: a vector whose largest magnitude lies below it counts as zero.
pub const NORMAL_MIN: f32 = f32::from_bits((127 - 119) << 23);
const _: () = assert!(NORMAL_MIN / CODE_MAX >= f32::MIN_POSITIVE);
const _: () = assert!(CODE_MAX / NORMAL_MIN <= f32::MAX);

/// Appends the codes of `x` (a byte an element, two's complement) to `out` and returns their scale, at least 0.
///
/// ```
/// use vectorgpu_core::quantize::int8;
///
/// let (mut codes, mut back) = (Vec::new(), Vec::new());
/// let scale = int8::encode(&[2.54, -1.27, 0.0], &mut codes)?;
/// assert_eq!((scale, &codes[..]), (0.02, &[127, -64i8 as u8, 0][..]));
/// int8::decode(&codes, scale, &mut back)?;
/// assert_eq!(back, [2.54, -1.28, 0.0]);
/// assert!(int8::encode(&[f32::NAN], &mut codes).is_err());
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `DataException` when `x` holds NaN or an infinity; `OutOfMemory`. `out` is then as it was.
pub fn encode(x: &[f32], out: &mut Vec<u8>) -> Result<f32> {
    out.try_reserve(x.len())
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
    let start = out.len();
    out.resize(start + x.len(), 0);
    let scale = kernels().encode_i8(x, &mut out[start..]);
    if scale.is_nan() {
        out.truncate(start);
        return Err(Error::new(
            ErrorKind::DataException,
            "cannot quantise a vector that holds NaN or infinity",
        ));
    }
    Ok(scale)
}

/// Appends the vector that the codes of one row stand for to `out`: `scale * code_i`, rounded to f32 and clamped to
/// finite values.
///
/// # Errors
/// `OutOfMemory`.
pub fn decode(codes: &[u8], scale: f32, out: &mut Vec<f32>) -> Result<()> {
    out.try_reserve(codes.len())
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while decoding a row"))?;
    let start = out.len();
    out.resize(start + codes.len(), 0.0);
    kernels().decode_i8(codes, scale, &mut out[start..]);
    Ok(())
}

/// What one code stands for.
#[inline(always)]
pub(crate) fn decoded(code: u8, scale: f32) -> f32 {
    (scale * f32::from(code.cast_signed())).clamp(-f32::MAX, f32::MAX)
}

/// An upper bound of `|x - x'|`, where `x'` is what any `codes` and `scale` stand for: the exact products, or those
/// that [`decode`] rounds. Infinite when it leaves f32 or something is not finite, NaN never; 0 means that the codes
/// are exact.
///
/// # Panics
/// When `codes` is not `x.len()` bytes long.
pub fn residual_bound(x: &[f32], codes: &[u8], scale: f32) -> f32 {
    assert_eq!(codes.len(), x.len(), "code length");
    let squares = x.iter().zip(codes).map(|(x, code)| {
        let x = f64::from(*x);
        // 24 bits by 7 are exact in 53.
        let exact = f64::from(scale) * f64::from(code.cast_signed());
        let rounded = f64::from(decoded(*code, scale));
        (x - exact).powi(2).max((x - rounded).powi(2))
    });
    bound_of_squares(squares.sum(), x.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::Kernels;
    use crate::property::cases;

    const DIMS: &[usize] = if cfg!(miri) {
        &[1, 3, 4, 31, 100]
    } else {
        &[1, 3, 4, 31, 768, 1536, 16_000]
    };

    /// The definition, step by step, with std's own rounding.
    fn defined(x: &[f32]) -> (f32, Vec<u8>) {
        let max = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        if x.iter().any(|x| !x.is_finite()) {
            return (f32::NAN, vec![0; x.len()]);
        }
        if max < NORMAL_MIN {
            return (0.0, vec![0; x.len()]);
        }
        let inverse = 127.0 / max;
        let codes = x.iter().map(|x| {
            let code = (x * inverse).round_ties_even();
            assert!(code.abs() <= 127.0, "{x} {max}");
            format!("{code}")
                .parse::<i8>()
                .expect("an integer of one byte")
                .cast_unsigned()
        });
        (max / 127.0, codes.collect())
    }

    fn check(x: &[f32]) {
        let (scale, codes) = defined(x);
        for table in Kernels::all_supported() {
            let mut got = vec![0xaa; x.len()];
            let got_scale = table.encode_i8(x, &mut got);
            assert!(got_scale.to_bits() == scale.to_bits() || scale.is_nan() && got_scale.is_nan());
            assert_eq!(got, codes, "{} {}", table.name(), x.len());
            let mut back = vec![f32::NAN; x.len()];
            table.decode_i8(&codes, scale, &mut back);
            let same = |(x, code): (&f32, &u8)| {
                x.to_bits() == decoded(*code, scale).to_bits() || x.is_nan() && scale.is_nan()
            };
            assert!(back.iter().zip(&codes).all(same), "{} {}", table.name(), x.len());
        }
        let bound = f64::from(residual_bound(x, &codes, scale));
        let mut back = Vec::new();
        decode(&codes, scale, &mut back).expect("decode");
        if scale.is_nan() {
            assert_eq!(bound, f64::INFINITY);
            return;
        }
        let exact = |x: &f32, code: &u8| f64::from(*x) - f64::from(scale) * f64::from(code.cast_signed());
        let error = x
            .iter()
            .zip(&codes)
            .map(|(x, c)| exact(x, c).powi(2))
            .sum::<f64>()
            .sqrt();
        let decoded = x
            .iter()
            .zip(&back)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
        assert!(
            error <= bound && decoded.sum::<f64>().sqrt() <= bound,
            "{error:e} {bound:e}"
        );
        // Half a step for each element, and three roundings of values of at most 127 steps.
        let step = f64::from(if scale == 0.0 { NORMAL_MIN } else { scale });
        assert!(
            bound <= step * 0.5001 * (x.len() as f64).sqrt()
                || scale == 0.0 && bound <= step * (x.len() as f64).sqrt()
        );
    }

    /// Values around `kind`'s magnitude, from `bits`.
    fn value(kind: u8, bits: u32) -> f32 {
        let unit = (bits >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
        match kind {
            0 => unit,
            1 => (bits % 255) as f32 - 127.0,
            2 => (bits % 255) as f32 / 2.0 - 63.5,
            3 => unit * f32::MIN_POSITIVE,
            4 => unit * f32::MAX,
            5 => unit * NORMAL_MIN * 2.0,
            6 if bits.is_multiple_of(100) => unit * 1e4,
            7 => f32::from_bits(bits),
            _ => unit * 1e-3,
        }
    }

    #[test]
    fn codes_are_the_defined_ones_in_every_table_and_shape() {
        for dims in DIMS {
            for kind in 0..9 {
                let mut state = 7u32 + u32::from(kind);
                let x: Vec<f32> = (0..*dims)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        value(kind, state)
                    })
                    .collect();
                check(&x);
            }
        }
    }

    proptest! {
        #![proptest_config(cases(2_000))]

        #[test]
        fn codes_are_the_defined_ones_and_the_bound_covers_them(
            kind in 0u8..9, bits in prop::collection::vec(any::<u32>(), 0..70),
        ) {
            check(&bits.iter().map(|bits| value(kind, *bits)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn special_vectors_have_the_stated_codes() {
        for x in [
            &[f32::NAN, 1.0][..],
            &[f32::INFINITY],
            &[1.0, -f32::INFINITY, f32::NAN],
        ] {
            let mut out = vec![9];
            let kind = encode(x, &mut out).map_err(|error| error.kind());
            assert_eq!((kind, &out[..]), (Err(ErrorKind::DataException), &[9][..]));
            check(x);
        }
        let encoded = |x: &[f32]| {
            let mut out = Vec::new();
            let scale = encode(x, &mut out).expect("finite");
            (scale, out)
        };
        assert_eq!(encoded(&[]), (0.0, vec![]));
        assert_eq!(encoded(&[0.0, -0.0]), (0.0, vec![0, 0]));
        assert_eq!(
            encoded(&[f32::from_bits(1), -f32::MIN_POSITIVE]),
            (0.0, vec![0, 0])
        );
        assert_eq!(encoded(&[NORMAL_MIN.next_down()]), (0.0, vec![0]));
        assert_eq!(encoded(&[NORMAL_MIN]), (NORMAL_MIN / 127.0, vec![127]));
        assert_eq!(
            encoded(&[f32::MAX, f32::MIN]),
            (f32::MAX / 127.0, vec![127, 0x81])
        );
        assert_eq!(
            encoded(&[127.0, 0.5, 1.5, -0.5, -1.5, 2.5]),
            (1.0, vec![127, 0, 2, 0, 0xfe, 2])
        );
        assert_eq!(residual_bound(&[127.0, -3.0, 0.0], &[127, 0xfd, 0], 1.0), 0.0);
        assert_eq!(residual_bound(&[1.0], &[1], f32::INFINITY), f32::INFINITY);
        assert_eq!(residual_bound(&[1.0, 0.0], &[1, 0], f32::INFINITY), f32::INFINITY);
    }
}
