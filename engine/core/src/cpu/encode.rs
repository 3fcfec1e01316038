//! The int8, 1-bit and 4-bit encoders and the int8 decoder, which the compiler fits to each instruction set: a table wraps them in
//! functions of its own target features.
//!
//! Invariant: the formulas of `quantize::int8`, `quantize::bits` and `quantize::rabitq`, in operations of one rounding each,
//! none of them fused but where that rounds once anyway, and sums in one order, so every machine writes the same codes and factors.

use crate::quantize::int8::{CODE_MAX, NORMAL_MIN, decoded};
use crate::quantize::rabitq::fine;

/// Adding it to a value of less than 2^22 rounds that to an integer, ties to even, and leaves the integer in the low
/// bits, in two's complement.
const ROUNDER: f32 = 12_582_912.0;
/// 2^52, with the same effect on f64 from 0 to that.
const WIDE_ROUNDER: f64 = 4_503_599_627_370_496.0;
/// Partial sums of the products of a residual: several registers on every machine, so that no sum waits for the one before.
/// Fewer are broken up by the compiler.
const LANES: usize = 16;

/// The products of a code `b`.
#[derive(Debug, Clone, Copy)]
pub struct CodeProducts {
    /// `<b, w>` with the rotated residual.
    pub along: f64,
    /// `<b, b>`.
    pub own: f64,
    /// `<b, c>` with the rotated centroid.
    pub centre: f64,
}

/// What the factors of a rotated residual `w` follow from.
#[derive(Debug, Clone, Copy)]
pub struct ResidualProducts {
    /// `<w, w>`.
    pub square: f64,
    /// Those of its signs, each 1 or -1.
    pub signs: CodeProducts,
    /// Those of its digits, odd numbers from -15 to 15.
    pub digits: CodeProducts,
}

/// Writes the codes of `x` and returns their scale.
#[inline(always)]
pub(super) fn int8(x: &[f32], codes: &mut [u8]) -> f32 {
    // Bits compare as magnitudes do, infinities and NaN above all numbers, which f32's own maximum would lose.
    let bits = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let max = f32::from_bits(bits);
    if !max.is_finite() {
        codes.fill(0);
        return f32::NAN;
    }
    if max < NORMAL_MIN {
        codes.fill(0);
        return 0.0;
    }
    let inverse = CODE_MAX / max;
    for (x, code) in x.iter().zip(codes) {
        // Two roundings leave at most 127.00003, which rounds to 127: there is nothing to clamp.
        *code = (x * inverse + ROUNDER).to_bits().to_le_bytes()[0];
    }
    max / CODE_MAX
}

/// Writes what `codes` and their scale stand for.
#[inline(always)]
pub(super) fn from_int8(codes: &[u8], scale: f32, x: &mut [f32]) {
    for (code, x) in codes.iter().zip(x) {
        *x = decoded(*code, scale);
    }
}

/// Writes the 1-bit code of `x`.
#[inline(always)]
pub(super) fn bits(x: &[f32], codes: &mut [u8]) {
    for (x, word) in x.chunks(32).zip(codes.as_chunks_mut::<4>().0) {
        let set = x
            .iter()
            .enumerate()
            .fold(0, |word, (i, x)| word | u32::from(*x > 0.0) << i);
        *word = set.to_le_bytes();
    }
}

/// Writes the 4-bit digits of the rotated residual `w` and returns the products of it and `c`, the rotated centroid, with
/// both codes. Element `i` is added into partial sum `i mod 16`; those are folded in halves.
///
/// `FUSES`: whether the instruction set has fused multiply-adds, and rounds down in one instruction. What is added is exact in f64, a product
/// of two f32 or of one and a small integer, so it does not matter whether it is fused.
#[inline(always)]
pub(super) fn residual<const FUSES: bool>(w: &[f32], c: &[f32], digits: &mut [u8]) -> ResidualProducts {
    let ((w_whole, w_rest), (c_whole, c_rest)) = (w.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    // Zeros add nothing but to `<b, b>`. Loops over lanes must not end early, or the compiler keeps sums one by one.
    let (w_last, c_last) = (padded(w_rest), padded(c_rest));
    let mut sums = [[0.0; LANES]; 3];
    for (w, c) in w_whole.iter().zip(c_whole) {
        add_signs::<FUSES>(w, c, &mut sums);
    }
    add_signs::<FUSES>(&w_last, &c_last, &mut sums);
    let [square, along, centre] = sums.each_ref().map(folded);
    let signs = CodeProducts {
        along,
        own: w.len() as f64,
        centre,
    };
    let per_unit = fine::digits_per_unit(square, w.len());
    let mut sums = [[0.0; LANES]; 3];
    let (digits_whole, digits_rest) = digits.as_chunks_mut::<LANES>();
    for ((w, c), digits) in w_whole.iter().zip(c_whole).zip(digits_whole) {
        *digits = add_digits::<FUSES>(w, c, per_unit, &mut sums);
    }
    let mut own_of_padding = 0.0;
    if !w_rest.is_empty() {
        let last = add_digits::<FUSES>(&w_last, &c_last, per_unit, &mut sums);
        digits_rest.copy_from_slice(&last[..w_rest.len()]);
        // The digit of zero stands for 1.
        own_of_padding = (LANES - w_rest.len()) as f64;
    }
    let [own, along, centre] = sums.each_ref().map(folded);
    let digits = CodeProducts {
        along,
        own: own - own_of_padding,
        centre,
    };
    ResidualProducts {
        square,
        signs,
        digits,
    }
}

#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut padded = [0.0; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// Adds to `<w, w>`, `<b, w>` and `<b, c>` of the signs.
#[inline(always)]
fn add_signs<const FUSES: bool>(
    w: &[f32; LANES],
    c: &[f32; LANES],
    [square, along, centre]: &mut [[f64; LANES]; 3],
) {
    for lane in 0..LANES {
        let (w, c) = (f64::from(w[lane]), f64::from(c[lane]));
        let b = if w > 0.0 { 1.0 } else { -1.0 };
        square[lane] = add_exact::<FUSES>(w, w, square[lane]);
        along[lane] = add_exact::<FUSES>(b, w, along[lane]);
        centre[lane] = add_exact::<FUSES>(b, c, centre[lane]);
    }
}

/// `a * b + sum`, where the product is exact.
#[inline(always)]
fn add_exact<const FUSES: bool>(a: f64, b: f64, sum: f64) -> f64 {
    if FUSES { a.mul_add(b, sum) } else { a * b + sum }
}

/// Returns the digits, and adds to their `<b, b>`, `<b, w>` and `<b, c>`.
#[inline(always)]
fn add_digits<const FUSES: bool>(
    w: &[f32; LANES],
    c: &[f32; LANES],
    per_unit: f64,
    [own, along, centre]: &mut [[f64; LANES]; 3],
) -> [u8; LANES] {
    let mut digits = [0; LANES];
    for lane in 0..LANES {
        let (w, c) = (f64::from(w[lane]), f64::from(c[lane]));
        let place = w * per_unit + 8.0;
        // Comparisons rather than `clamp`, so that NaN becomes 0.
        let place = if place > 0.0 { place } else { 0.0 };
        let place = if place < 15.0 { place } else { 15.0 };
        let whole = if FUSES { place.floor() } else { rounded_down(place) };
        digits[lane] = (whole + WIDE_ROUNDER).to_bits().to_le_bytes()[0];
        let b = 2.0 * whole - 15.0;
        own[lane] = add_exact::<FUSES>(b, b, own[lane]);
        along[lane] = add_exact::<FUSES>(b, w, along[lane]);
        centre[lane] = add_exact::<FUSES>(b, c, centre[lane]);
    }
    digits
}

/// Rounds down what lies from 0 to 15, without a call or a conversion that has to look at what does not fit.
#[inline(always)]
fn rounded_down(place: f64) -> f64 {
    let near = (place + WIDE_ROUNDER) - WIDE_ROUNDER;
    if near > place { near - 1.0 } else { near }
}

/// Not inlined: sums that lie in memory at last stay together in registers before, which they do not in sight of this.
#[inline(never)]
fn folded(sums: &[f64; LANES]) -> f64 {
    let mut sums = *sums;
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Kernels;
    use super::*;
    use crate::property::cases;

    /// The formulas written out: digits, and for each number its value and the sum of its terms' magnitudes.
    fn plain(w: &[f32], c: &[f32], square: f64) -> (Vec<u8>, [(f64, f64); 7]) {
        let per_unit = fine::digits_per_unit(square, w.len());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped first; NaN becomes 0"
        )]
        let digit = |w: &f32| (f64::from(*w) * per_unit + 8.0).clamp(0.0, 15.0) as u8;
        let digits: Vec<u8> = w.iter().map(digit).collect();
        let mut sums = [(0.0, 0.0); 7];
        for ((w, c), digit) in w.iter().zip(c).zip(&digits) {
            let (w, c) = (f64::from(*w), f64::from(*c));
            let sign = if w > 0.0 { 1.0 } else { -1.0 };
            let value = f64::from(2 * digit.cast_signed() - 15);
            let terms = [
                w * w,
                sign * w,
                sign * sign,
                sign * c,
                value * w,
                value * value,
                value * c,
            ];
            for ((sum, magnitude), term) in sums.iter_mut().zip(terms) {
                *sum += term;
                *magnitude += term.abs();
            }
        }
        (digits, sums)
    }

    fn numbers(products: ResidualProducts) -> [f64; 7] {
        let ResidualProducts {
            square,
            signs,
            digits,
        } = products;
        [
            square,
            signs.along,
            signs.own,
            signs.centre,
            digits.along,
            digits.own,
            digits.centre,
        ]
    }

    fn check_residual(w: &[f32], c: &[f32]) {
        let mut first = None;
        for table in Kernels::all_supported() {
            let mut digits = vec![0xaa; w.len()];
            let got = numbers(table.encode_residual(w, c, &mut digits));
            let (expected, sums) = plain(w, c, got[0]);
            assert_eq!(digits, expected, "{} {}", table.name(), w.len());
            for (i, (got, (sum, magnitude))) in got.into_iter().zip(sums).enumerate() {
                let near = (got - sum).abs() <= 1e-11 * magnitude || !magnitude.is_finite();
                assert!(near, "{} {} {i}: {got} {sum}", table.name(), w.len());
            }
            // Which NaN results does not matter: none is written.
            let bits = got.map(|x| if x.is_nan() { f64::NAN } else { x }.to_bits());
            assert_eq!(bits, *first.get_or_insert(bits), "{} {}", table.name(), w.len());
        }
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn residuals_of_any_bits_have_the_plain_digits_and_products_on_every_table(
            pairs in prop::collection::vec((any::<u32>(), any::<u32>()), 0..100),
        ) {
            let (w, c): (Vec<f32>, Vec<f32>) = pairs
                .into_iter()
                .map(|(w, c)| (f32::from_bits(w), f32::from_bits(c)))
                .unzip();
            check_residual(&w, &c);
        }

        #[test]
        fn residuals_have_the_plain_digits_and_products_on_every_table(
            pairs in prop::collection::vec((-4f32..4.0, -4f32..4.0), 1..300),
        ) {
            let (w, c): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            check_residual(&w, &c);
        }
    }

    #[test]
    fn special_and_long_residuals_have_the_plain_digits_and_products() {
        check_residual(&[], &[]);
        check_residual(&[0.0, -0.0, 0.0], &[1.0, -1.0, f32::NAN]);
        check_residual(&[1.0; 17], &[-1.0; 17]);
        check_residual(&[f32::NAN, 1.0, f32::INFINITY, -1.0], &[1.0; 4]);
        check_residual(&[3e38, -3e38, 1e-40], &[3e38, 3e38, 3e38]);
        let long = if cfg!(miri) { 300 } else { 16_000 };
        let values = |step: f32| (0..long).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        check_residual(&values(1.7), &values(0.9));
    }
}
