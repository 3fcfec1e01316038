//! One `f32` from text: what C's `strtof` reads in the C locale.
//!
//! Invariant: the result is correctly rounded. Source: W. D. Clinger, "How to read floating point numbers accurately"
//! (the exact fast path; the standard library reads the rest).

/// A number at the front of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    /// The nearest `f32`, ties to even.
    pub(crate) value: f32,
    /// How many bytes of the text it takes.
    pub(crate) bytes: usize,
    /// Whether digits (not the word "infinity") led to an infinite value.
    pub(crate) overflowed: bool,
}

/// Reads the longest prefix of `text` that `strtof` in the C locale accepts, without leading white space.
/// For `nan` and `infinity`, `bytes` may end before the word does: neither can be part of a vector.
pub(crate) fn scan(text: &[u8]) -> Option<Number> {
    let (negative, sign_bytes) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let rest = &text[sign_bytes..];
    let (magnitude, bytes, overflowed) = match rest.first()? {
        b'0' if matches!(rest.get(1), Some(b'x' | b'X')) => scan_hexadecimal(rest),
        b'0'..=b'9' | b'.' => scan_decimal(rest)?,
        _ => (scan_word(rest)?, 3, false),
    };
    let value = if negative { -magnitude } else { magnitude };
    Some(Number {
        value,
        bytes: sign_bytes + bytes,
        overflowed,
    })
}

fn scan_word(text: &[u8]) -> Option<f32> {
    let word = text.get(..3)?;
    if word.eq_ignore_ascii_case(b"nan") {
        Some(f32::NAN)
    } else if word.eq_ignore_ascii_case(b"inf") {
        Some(f32::INFINITY)
    } else {
        None
    }
}

/// Most decimal digits that always fit a `u64`.
const U64_DIGITS: usize = 19;
/// Powers of ten that an `f64` holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

fn scan_decimal(text: &[u8]) -> Option<(f32, usize, bool)> {
    let mut mantissa = 0;
    let whole_digits = scan_digits(text, &mut mantissa);
    let mut bytes = whole_digits;
    let mut fraction_digits = 0;
    if text.get(bytes) == Some(&b'.') {
        fraction_digits = scan_digits(&text[bytes + 1..], &mut mantissa);
        bytes += 1 + fraction_digits;
    }
    let digits = whole_digits + fraction_digits;
    if digits == 0 {
        return None;
    }
    let (exponent, exponent_bytes) = scan_exponent(&text[bytes..], *b"eE");
    bytes += exponent_bytes;
    if digits <= U64_DIGITS {
        let fraction_digits = i64::try_from(fraction_digits).unwrap_or(i64::MAX);
        if let Some(value) = exact_product(mantissa, exponent.saturating_sub(fraction_digits)) {
            return Some((value, bytes, false));
        }
    }
    let value: f32 = std::str::from_utf8(&text[..bytes]).ok()?.parse().ok()?;
    Some((value, bytes, value.is_infinite()))
}

/// Appends the decimal digits at the front of `text` to `mantissa`, wrapping, and returns their number.
#[inline]
fn scan_digits(text: &[u8], mantissa: &mut u64) -> usize {
    let mut digits = 0;
    while let Some(digit @ b'0'..=b'9') = text.get(digits) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        digits += 1;
    }
    digits
}

/// Reads `e-12` (or `p-12`, by `letters`) at the front of `text`: its value, saturating, and its length; `(0, 0)`
/// when there is no exponent with at least one digit.
fn scan_exponent(text: &[u8], letters: [u8; 2]) -> (i64, usize) {
    if !text.first().is_some_and(|byte| letters.contains(byte)) {
        return (0, 0);
    }
    let (negative, start) = match text.get(1) {
        Some(b'-') => (true, 2),
        Some(b'+') => (false, 2),
        _ => (false, 1),
    };
    let mut magnitude = 0i64;
    let mut at = start;
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        magnitude = magnitude
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'));
        at += 1;
    }
    if at == start {
        (0, 0)
    } else {
        (if negative { -magnitude } else { magnitude }, at)
    }
}

/// `mantissa * 10^exponent` when one correctly rounded `f64` operation decides its nearest `f32`.
///
/// Rounding twice is wrong only where the `f64` lies exactly between two `f32`: those are left to the slow path.
#[inline]
fn exact_product(mantissa: u64, exponent: i64) -> Option<f32> {
    const MIDPOINT_MASK: u64 = (1 << 29) - 1;
    const MIDPOINT: u64 = 1 << 28;
    if mantissa > 1 << 53 {
        return None;
    }
    let power = *EXACT_POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 2^53, which an f64 holds exactly"
    )]
    let mantissa = mantissa as f64;
    // At most 2^53 * 1e22 and, unless zero, at least 1e-22: a normal f32 or zero.
    let wide = if exponent < 0 {
        mantissa / power
    } else {
        mantissa * power
    };
    if wide.to_bits() & MIDPOINT_MASK == MIDPOINT {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounds to the nearest f32, as intended"
    )]
    let value = wide as f32;
    Some(value)
}

/// Reads a hexadecimal number at the front of `text`, which starts with `0x`; just the `0` when no digit follows.
fn scan_hexadecimal(text: &[u8]) -> (f32, usize, bool) {
    let mut mantissa = 0u64;
    let mut scale = 0i64;
    let mut inexact = false;
    let mut digits = 0usize;
    let mut past_point = false;
    let mut at = 2;
    loop {
        let digit = match text.get(at) {
            Some(byte @ b'0'..=b'9') => byte - b'0',
            Some(byte @ (b'a'..=b'f' | b'A'..=b'F')) => (byte | 0x20) - b'a' + 10,
            Some(b'.') if !past_point => {
                past_point = true;
                at += 1;
                continue;
            }
            _ => break,
        };
        digits += 1;
        at += 1;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            scale -= if past_point { 4 } else { 0 };
        } else {
            // Beyond 61 bits a digit can only tell whether the rest is zero.
            inexact |= digit != 0;
            scale += if past_point { 0 } else { 4 };
        }
    }
    if digits == 0 {
        return (0.0, 1, false);
    }
    let (exponent, exponent_bytes) = scan_exponent(&text[at..], *b"pP");
    let value = scaled(mantissa, inexact, scale.saturating_add(exponent));
    (value, at + exponent_bytes, value.is_infinite())
}

/// The `f32` nearest to `mantissa * 2^scale`, ties to even; `inexact` says that the true mantissa is a little larger.
fn scaled(mantissa: u64, inexact: bool, scale: i64) -> f32 {
    const FRACTION_BITS: i64 = 23;
    const BIAS: i64 = 127;
    if mantissa == 0 {
        return 0.0;
    }
    let shift = mantissa.leading_zeros();
    let mantissa = mantissa << shift;
    // value = mantissa * 2^(exponent - 63), with the highest bit of mantissa set.
    let exponent = scale.saturating_add(63 - i64::from(shift));
    if exponent > BIAS {
        return f32::INFINITY;
    }
    let subnormal_bits = (1 - BIAS - exponent).max(0);
    let dropped_bits = 63 - FRACTION_BITS + subnormal_bits;
    if dropped_bits > 64 {
        return 0.0;
    }
    // In 128 bits, so that dropping all 64 is an ordinary shift.
    let wide = u128::from(mantissa);
    let kept = wide >> dropped_bits;
    let dropped = wide - (kept << dropped_bits);
    let half = 1u128 << (dropped_bits - 1);
    let round_up = dropped > half || (dropped == half && (inexact || kept & 1 == 1));
    let kept = u32::try_from(kept).unwrap_or(u32::MAX) + u32::from(round_up);
    // A carry out of the fraction moves into the exponent field, up to infinity, as it should.
    let exponent_field = if subnormal_bits > 0 {
        0
    } else {
        u32::try_from(exponent + BIAS - 1).unwrap_or(0)
    };
    f32::from_bits((exponent_field << FRACTION_BITS) + kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::property::cases;

    fn value(text: &str) -> Option<f32> {
        scan(text.as_bytes()).map(|number| number.value)
    }

    #[test]
    fn a_number_ends_where_strtof_ends_it() {
        for (text, bytes) in [
            ("1", 1),
            ("-1.5e3,", 6),
            ("1e", 1),
            ("1e+", 1),
            ("1.e5x", 4),
            (".5.5", 2),
            ("0x", 1),
            ("0x.p1", 1),
            ("0x1p", 3),
            ("0x1.8p+1]", 8),
            ("1_0", 1),
        ] {
            assert_eq!(
                scan(text.as_bytes()).map(|number| number.bytes),
                Some(bytes),
                "{text}"
            );
        }
        for text in ["", "-", ".", "+.", "e5", "n", "in", "--1", " 1"] {
            assert_eq!(scan(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn hexadecimal_numbers_round_to_even_at_every_scale() {
        for (text, expected) in [
            ("0x1p-149", f32::from_bits(1)),
            ("0x1p-150", 0.0),
            ("0x1.00000001p-150", f32::from_bits(1)),
            ("0x3p-150", f32::from_bits(2)),
            ("0x1p-151", 0.0),
            ("0x1.fffffep127", f32::MAX),
            ("0x1.fffffefp127", f32::MAX),
            ("0x1.ffffffp127", f32::INFINITY),
            ("0x1.fffffcp-127", f32::from_bits(0x007f_ffff)),
            ("0x1.fffffep-127", f32::MIN_POSITIVE),
            ("0x1000001", 16_777_216.0),
            ("0x1000003", 16_777_220.0),
            ("0x1000001.0000000000000000001", 16_777_218.0),
            ("0x0.0000000000000000000000001p100", 1.0),
            ("0x1p99999999999999999999", f32::INFINITY),
            ("0x1p-99999999999999999999", 0.0),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn decimal_numbers_round_as_std_rounds(text in "[-+]?[0-9]{0,25}\\.?[0-9]{1,25}(e[-+]?[0-9]{1,3})?") {
            prop_assert_eq!(value(&text).map(f32::to_bits), text.parse::<f32>().ok().map(f32::to_bits));
        }

        #[test]
        fn numbers_near_a_midpoint_round_as_std_rounds(bits in 0u32..0x7f7f_ffff, digits in 1usize..25) {
            let midpoint = (f64::from(f32::from_bits(bits)) + f64::from(f32::from_bits(bits + 1))) / 2.0;
            for text in [format!("{midpoint:e}"), format!("{midpoint:.digits$e}"), format!("{midpoint}")] {
                prop_assert_eq!(value(&text).map(f32::to_bits), text.parse::<f32>().ok().map(f32::to_bits), "{}", text);
            }
        }

        #[test]
        fn whole_hexadecimal_numbers_round_as_an_integer_cast(whole in any::<u64>()) {
            #[expect(clippy::cast_precision_loss, reason = "the rounding under test")]
            let expected = whole as f32;
            prop_assert_eq!(value(&format!("0x{whole:x}")), Some(expected));
        }

        #[test]
        fn every_f32_survives_hexadecimal(bits in 0u32..0x7f80_0000) {
            let number = f32::from_bits(bits);
            let wide = f64::from(number).to_bits();
            let text = if number == 0.0 {
                "0x0".to_owned()
            } else {
                format!("0x1.{:013x}p{}", wide & ((1 << 52) - 1), i64::try_from(wide >> 52).unwrap_or(0) - 1023)
            };
            prop_assert_eq!(value(&text), Some(number));
        }
    }
}
