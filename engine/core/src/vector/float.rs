//! One `f32` as text: reading what C's `strtof` reads, printing what PostgreSQL prints for a `real`.
//!
//! Invariant: both directions are correctly rounded. Sources: W. D. Clinger, "How to read floating point numbers
//! accurately" (the exact fast path); PostgreSQL's documentation of `extra_float_digits` and the thresholds of its
//! `%g`-like layout; U. Adams, "Ryu: fast float-to-string conversion" (shortest digits, by the `ryu` crate).

/// A number at the front of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// The nearest `f32`, ties to even.
    pub(super) value: f32,
    /// How many bytes of the text it takes.
    pub(super) bytes: usize,
    /// Whether digits (not the word "infinity") led to an infinite value.
    pub(super) overflowed: bool,
}

/// Reads the longest prefix of `text` that `strtof` in the C locale accepts, without leading white space.
/// For `nan` and `infinity`, `bytes` may end before the word does: neither can be part of a vector.
pub(super) fn scan(text: &[u8]) -> Option<Number> {
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

/// Appends `value` as PostgreSQL prints a `real` with its default `extra_float_digits`.
pub(super) fn print(value: f32, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        return out.extend_from_slice(b"Infinity");
    }
    // Whole numbers below a million are common (pixels, counts) and print without an exponent.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating, and compared below"
    )]
    let whole = magnitude as u32;
    #[expect(clippy::cast_precision_loss, reason = "below 2^24 by the first condition")]
    if whole < 1_000_000 && whole as f32 == magnitude {
        return print_whole(whole, out);
    }
    let shortest = Decimal::shortest(magnitude);
    shortest.print(out);
}

fn print_whole(mut whole: u32, out: &mut Vec<u8>) {
    let mut digits = [0; 7];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = last_digit(whole);
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn last_digit(number: u32) -> u8 {
    b'0' + u8::try_from(number % 10).expect("below 10")
}

/// A positive number as `0.d1d2d3... * 10^point`, without trailing zeros.
struct Decimal {
    digits: [u8; Decimal::MAX_DIGITS],
    count: usize,
    point: i32,
}

impl Decimal {
    /// No `f32` needs more to be told from its neighbours.
    const MAX_DIGITS: usize = 9;

    /// The digits that PostgreSQL prints: the shortest decimal strictly between the midpoints to the neighbours.
    ///
    /// Ryu as published also accepts a midpoint itself when rounding to even would bring it back; PostgreSQL does not
    /// rely on the reader's rounding there and prints one more digit.
    fn shortest(magnitude: f32) -> Self {
        let mut buffer = ryu::Buffer::new();
        let shortest = Self::read(buffer.format_finite(magnitude).as_bytes());
        if shortest.is_midpoint_beside(magnitude) {
            Self::next_shortest(magnitude, shortest.count)
        } else {
            shortest
        }
    }

    /// Reads digits, an optional point and an optional exponent, as `ryu` and `format!("{:e}")` write them.
    fn read(text: &[u8]) -> Self {
        let mut decimal = Self {
            digits: [b'0'; Self::MAX_DIGITS],
            count: 0,
            point: 0,
        };
        let mut past_point = false;
        let mut pending_zeros = 0;
        for (index, &byte) in text.iter().enumerate() {
            match byte {
                b'.' => past_point = true,
                b'e' => {
                    let (exponent, _) = scan_exponent(&text[index..], *b"ee");
                    decimal.point += i32::try_from(exponent).unwrap_or(0);
                    break;
                }
                _ => {
                    if byte == b'0' && decimal.count == 0 {
                        decimal.point -= i32::from(past_point);
                        continue;
                    }
                    decimal.point += i32::from(!past_point);
                    if byte == b'0' {
                        pending_zeros += 1;
                        continue;
                    }
                    decimal.count += pending_zeros;
                    pending_zeros = 0;
                    decimal.digits[decimal.count] = byte;
                    decimal.count += 1;
                }
            }
        }
        decimal
    }

    /// Whether this decimal lies exactly in the middle between `magnitude` and one of its neighbours.
    fn is_midpoint_beside(&self, magnitude: f32) -> bool {
        // As digits * 10^scale. A midpoint is an odd multiple, above 2^24, of a power of two: with scale below -2 it
        // would need more than nine digits, and above 11 its power of five would not fit the 26 bits of that multiple.
        let scale = self.point - i32::try_from(self.count).unwrap_or(i32::MAX);
        if !(-2..=11).contains(&scale) {
            return false;
        }
        let digits = self.digits[..self.count]
            .iter()
            .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let (digits, divisor) = match scale {
            -2 => (u128::from(digits), 100.0),
            -1 => (u128::from(digits), 10.0),
            _ => (u128::from(digits) * 10u128.pow(scale.unsigned_abs()), 1.0),
        };
        [magnitude.next_down(), magnitude.next_up()]
            .into_iter()
            .any(|neighbour| {
                // 26 bits, and 7 more for the divisor: exact.
                let midpoint = (f64::from(magnitude) + f64::from(neighbour)) / 2.0 * divisor;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a whole number below 2^70"
                )]
                let whole = midpoint as u128;
                midpoint.fract() == 0.0 && whole == digits
            })
    }

    /// The shortest decimal of more than `count` digits that reads back as `magnitude` and is no midpoint.
    #[cold]
    fn next_shortest(magnitude: f32, count: usize) -> Self {
        let mut decimal = Self::read(format!("{magnitude:.8e}").as_bytes());
        for digits in count + 1..Self::MAX_DIGITS {
            let text = format!("{magnitude:.*e}", digits - 1);
            let candidate = Self::read(text.as_bytes());
            if text.parse() == Ok(magnitude) && !candidate.is_midpoint_beside(magnitude) {
                decimal = candidate;
                break;
            }
        }
        decimal
    }

    /// Appends the number, with an exponent of at least two digits outside `1e-4 <= number < 1e6`.
    fn print(&self, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.count];
        let exponent = self.point - 1;
        match usize::try_from(self.point) {
            _ if !(-4..6).contains(&exponent) => {
                out.push(digits[0]);
                if self.count > 1 {
                    out.push(b'.');
                    out.extend_from_slice(&digits[1..]);
                }
                out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
                let exponent = exponent.unsigned_abs();
                out.extend_from_slice(&[last_digit(exponent / 10), last_digit(exponent)]);
            }
            Ok(point) if point > 0 => {
                let whole = point.min(self.count);
                out.extend_from_slice(&digits[..whole]);
                out.resize(out.len() + point - whole, b'0');
                if whole < self.count {
                    out.push(b'.');
                    out.extend_from_slice(&digits[whole..]);
                }
            }
            _ => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + usize::try_from(-self.point).unwrap_or(0), b'0');
                out.extend_from_slice(digits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_midpoint_is_printed_with_one_digit_more() {
        // 9e9 and 3e10 lie exactly between two f32, to the even one of which they read.
        for magnitude in [9e9f32, 3e10, 1e15, 8.589_935e9, 33_554_432.0, 67_108_864.0, 9.5e7] {
            let mut out = Vec::new();
            print(magnitude, &mut out);
            let text = String::from_utf8(out).expect("ASCII");
            assert_eq!(text.parse(), Ok(magnitude));
            let decimal = Decimal::read(text.as_bytes());
            assert!(!decimal.is_midpoint_beside(magnitude), "{text}");
        }
    }

    proptest! {
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
