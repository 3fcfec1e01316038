//! The int8 and 1-bit encoders, which the compiler fits to each instruction set: a table wraps them in functions of its
//! own target features.
//!
//! Invariant: the formulas of `quantize::int8` and `quantize::bits`, in f32 operations of one rounding each, none of
//! them fused, so every machine writes the same codes.

use crate::quantize::int8::{CODE_MAX, NORMAL_MIN};

/// Adding it to a value of less than 2^22 rounds that to an integer, ties to even, and leaves the integer in the low
/// bits, in two's complement.
const ROUNDER: f32 = 12_582_912.0;

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
