//! One `f32` to text: what PostgreSQL prints for a `real`.
//!
//! Invariant: the text reads back bit for bit. Sources: R. Giulietti, "The Schubfach way to render doubles" (shortest
//! digits); the layout and the treatment of midpoints are those observed in PostgreSQL's output.

/// Appends `value` as PostgreSQL prints a `real` with its default `extra_float_digits`.
pub(crate) fn print(value: f32, out: &mut Vec<u8>) {
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
        return out.extend_from_slice(Digits::of(whole).as_bytes());
    }
    print_decimal(shortest_decimal(magnitude), out);
}

/// A positive number as `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    digits: u32,
    exponent: i32,
}

/// The smallest power of ten in [`POWERS_OF_TEN`].
const FIRST_POWER: i32 = -31;
/// `10^k`, for k from [`FIRST_POWER`] on, as the 64 highest bits of its mantissa, rounded up.
#[rustfmt::skip]
const POWERS_OF_TEN: [u64; 77] = [
    0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
    0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
    0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
    0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
    0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
    0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
    0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
    0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000000,
    0xa000000000000000, 0xc800000000000000, 0xfa00000000000000, 0x9c40000000000000,
    0xc350000000000000, 0xf424000000000000, 0x9896800000000000, 0xbebc200000000000,
    0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000, 0xe8d4a51000000000,
    0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000, 0x8e1bc9bf04000000,
    0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000, 0xad78ebc5ac620000,
    0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400, 0xd3c21bcecceda100,
    0x84595161401484a0, 0xa56fa5b99019a5c8, 0xcecb8f27f4200f3a, 0x813f3978f8940985,
    0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
    0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
    0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
    0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
    0xb35dbf821ae4f38c,
];

/// The decimal that PostgreSQL prints for the finite, positive `magnitude`: of those strictly between the midpoints to
/// its neighbours the one with the fewest digits, and of these the nearest.
///
/// A midpoint itself would read back, too, when `magnitude` is even, but PostgreSQL does not rely on the reader for that.
/// R. Giulietti, "The Schubfach way to render doubles", with open intervals and the constants for 24-bit mantissas.
fn shortest_decimal(magnitude: f32) -> Decimal {
    const FRACTION_BITS: u32 = 23;
    const HIDDEN_BIT: u32 = 1 << FRACTION_BITS;
    const BIAS: i32 = 127 + 23;
    let fraction = magnitude.to_bits() & (HIDDEN_BIT - 1);
    let exponent_field = (magnitude.to_bits() >> FRACTION_BITS).cast_signed();
    // magnitude = mantissa * 2^exponent
    let (mantissa, exponent) = if exponent_field == 0 {
        (fraction, 1 - BIAS)
    } else {
        (HIDDEN_BIT | fraction, exponent_field - BIAS)
    };
    // Below a power of two the neighbours lie twice as dense.
    let is_power_of_two = fraction == 0 && exponent_field > 1;
    let below = 4 * mantissa - 2 + u32::from(is_power_of_two);
    let above = 4 * mantissa + 2;
    // floor(log10(2^exponent)), or of three quarters of it: the power of ten to count in.
    let scale = (exponent * 1_262_611 - if is_power_of_two { 524_031 } else { 0 }) >> 22;
    let shift = exponent + ((-scale * 1_741_647) >> 19) + 1;
    let power = POWERS_OF_TEN[usize::try_from(-scale - FIRST_POWER).expect("a power of ten for every f32")];
    // Everything below is in quarters of 10^scale.
    let scaled = |quarters: u32| round_to_odd(power, quarters << shift);
    let (lowest, value, highest) = (scaled(below) + 1, scaled(4 * mantissa), scaled(above) - 1);
    let floor = value / 4;
    if floor >= 10 {
        let tens = floor / 10;
        let down_inside = lowest <= 40 * tens;
        let up_inside = 40 * tens + 40 <= highest;
        if down_inside != up_inside {
            return Decimal {
                digits: tens + u32::from(up_inside),
                exponent: scale + 1,
            };
        }
    }
    let down_inside = lowest <= 4 * floor;
    let up_inside = 4 * floor + 4 <= highest;
    let round_up = if down_inside == up_inside {
        let middle = 4 * floor + 2;
        value > middle || (value == middle && floor % 2 == 1)
    } else {
        up_inside
    };
    Decimal {
        digits: floor + u32::from(round_up),
        exponent: scale,
    }
}

/// The 32 highest bits of the 96-bit product, with the lowest bit set when they are not all of it.
#[inline]
fn round_to_odd(power: u64, factor: u32) -> u32 {
    let product = u128::from(power) * u128::from(factor);
    let [high, middle] =
        [product >> 64, product >> 32].map(|bits| u32::try_from(bits & 0xffff_ffff).unwrap_or(0));
    high | u32::from(middle > 1)
}

/// Appends the number, with an exponent of at least two digits outside `1e-4 <= number < 1e6`.
fn print_decimal(decimal: Decimal, out: &mut Vec<u8>) {
    let digits = Digits::of(decimal.digits);
    let bytes = digits.as_bytes();
    // The number is 0.d1d2d3... * 10^point.
    let point = i32::try_from(bytes.len()).unwrap_or(0) + decimal.exponent;
    let zeros = bytes.iter().rev().take_while(|&&digit| digit == b'0').count();
    let significant = &bytes[..bytes.len() - zeros];
    match usize::try_from(point) {
        _ if !(-3..=6).contains(&point) => {
            let (first, rest) = significant.split_at(1);
            out.extend_from_slice(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            let exponent = point - 1;
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            out.extend_from_slice(&pair(exponent.unsigned_abs()));
        }
        Ok(point) if point > 0 => {
            let whole = point.min(significant.len());
            out.extend_from_slice(&significant[..whole]);
            out.resize(out.len() + point - whole, b'0');
            if whole < significant.len() {
                out.push(b'.');
                out.extend_from_slice(&significant[whole..]);
            }
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.extend((point..0).map(|_| b'0'));
            out.extend_from_slice(significant);
        }
    }
}

/// The last two decimal digits.
#[inline]
fn pair(number: u32) -> [u8; 2] {
    let number = u8::try_from(number % 100).expect("below 100");
    [b'0' + number / 10, b'0' + number % 10]
}

/// The decimal digits of a number.
struct Digits {
    bytes: [u8; 10],
    start: usize,
}

impl Digits {
    fn of(mut number: u32) -> Self {
        let mut digits = Self {
            bytes: [b'0'; 10],
            start: 10,
        };
        while number >= 10 {
            digits.start -= 2;
            digits.bytes[digits.start..digits.start + 2].copy_from_slice(&pair(number));
            number /= 100;
        }
        // A last pair may have brought a leading zero, a number of odd length has one digit left.
        if number > 0 || digits.start == 10 {
            digits.start -= 1;
            digits.bytes[digits.start] = pair(number)[1];
        } else if digits.bytes[digits.start] == b'0' {
            digits.start += 1;
        }
        digits
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::property::cases;

    #[test]
    fn powers_of_ten_are_rounded_up_to_64_bits() {
        // 10^k in units of 2^-200, exact for k >= 0 and rounded down below, in words of 32 bits.
        let mut power = [0u64; 12];
        power[6] = 1 << 8;
        let times = |words: [u64; 12], factor: u64| {
            let mut carry = 0;
            words.map(|word| {
                let product = word * factor + carry;
                carry = product >> 32;
                product & 0xffff_ffff
            })
        };
        for k in 0..=45 {
            let top = power.iter().rposition(|&word| word != 0).expect("positive");
            let zeros = power[top].leading_zeros() - 32;
            let high = power[top - 2..=top]
                .iter()
                .rev()
                .fold(0u128, |sum, &word| sum << 32 | u128::from(word))
                << zeros
                >> 32;
            let rest =
                power[..top - 2].iter().any(|&word| word != 0) || power[top - 2] << zeros & 0xffff_ffff != 0;
            assert_eq!(
                u128::from(POWERS_OF_TEN[31 + k]),
                high + u128::from(rest),
                "10^{k}"
            );
            power = times(power, 10);
        }
        for k in 1..=31u32 {
            // g is the least integer with g * 10^k >= 2^n, for the n that gives it 64 bits.
            let g = u128::from(POWERS_OF_TEN[31 - usize::try_from(k).expect("small")]);
            let product = |g: u128| {
                let words = [g & 0xffff_ffff, g >> 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
                    .map(|word| u64::try_from(word).expect("32 bits"));
                (0..k).fold(words, |words, _| times(words, 10))
            };
            let bits = |words: [u64; 12]| {
                words
                    .iter()
                    .zip(0u32..)
                    .map(|(word, at)| {
                        if *word == 0 {
                            0
                        } else {
                            32 * at + 64 - word.leading_zeros()
                        }
                    })
                    .max()
            };
            assert!(bits(product(g)) > bits(product(g - 1)), "10^-{k}");
        }
    }

    #[test]
    fn digits_of_every_length() {
        for number in [
            0,
            1,
            9,
            10,
            11,
            99,
            100,
            101,
            999,
            1000,
            12_345,
            123_456,
            1_000_000,
            987_654_321,
            u32::MAX,
        ] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_midpoint_is_never_printed() {
        // 9e9 and 3e10 lie exactly between two f32, to the even one of which they read.
        for magnitude in [9e9f32, 3e10, 1e15, 8.589_935e9, 33_554_432.0, 67_108_864.0, 9.5e7] {
            let mut out = Vec::new();
            print(magnitude, &mut out);
            let text = String::from_utf8(out).expect("ASCII");
            assert_eq!(text.parse(), Ok(magnitude));
            let printed: f64 = text.parse().expect("a number");
            for neighbour in [magnitude.next_down(), magnitude.next_up()] {
                assert!(
                    printed != (f64::from(magnitude) + f64::from(neighbour)) / 2.0,
                    "{text}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn printed_numbers_are_shortest_and_read_back(bits in 1u32..0x7f80_0000) {
            let number = f32::from_bits(bits);
            let mut out = Vec::new();
            print(number, &mut out);
            let text = String::from_utf8(out).expect("ASCII");
            prop_assert_eq!(text.parse(), Ok(number));
            let decimal = shortest_decimal(number);
            let digits = decimal.digits.to_string().trim_end_matches('0').len();
            prop_assert!(digits <= 9);
            if digits > 1 {
                // One digit fewer, rounded to nearest, is another number or a midpoint.
                let shorter: f64 = format!("{number:.*e}", digits - 2).parse().expect("a number");
                let middles = [number.next_down(), number.next_up()].map(|n| (f64::from(number) + f64::from(n)) / 2.0);
                #[expect(clippy::cast_possible_truncation, reason = "the rounding under test")]
                let reads_back = shorter as f32 == number;
                prop_assert!(!reads_back || middles.contains(&shorter), "{} for {}", text, shorter);
            }
        }
    }
}
