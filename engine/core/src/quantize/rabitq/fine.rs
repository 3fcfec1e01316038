//! 4-bit codes of rotated residuals, beside the 1-bit codes: for the rows that those let pass, a bound that is six times
//! as close, from an eighth of the vector's bytes.
//!
//! The module above says how bounds follow from a code `b`; here `b_i` is one of the odd numbers from -15 to 15, whose step
//! suits a normal distribution. A code of `[dims]` elements lies in the row as a head, which with the code is all that a bound
//! needs (a number that tells whose code it is, u64; `|x|^2` for spherical metrics and the three factors, f32), and then bytes that
//! hold element `i` in the low nibble and element `i + ceil(dims / 2)` in the high one, filled up to whole words.

use super::RabitqFactors;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the head.
pub const HEAD_BYTES: usize = 24;

/// What a row's code begins with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head {
    /// Whose code it is.
    pub id: u64,
    /// `|x|^2` of the vector behind it, for spherical metrics; else 0.
    pub norm_sq: f32,
    /// What bounds it.
    pub factors: RabitqFactors,
}

impl Head {
    /// The head of a row, if an encoder wrote it.
    ///
    /// # Panics
    /// When `row` is shorter than that.
    pub fn read(row: &[u8]) -> Option<Self> {
        let (words, _) = row.as_chunks::<4>();
        let [norm_sq, base, step, error] = [2, 3, 4, 5].map(|at| f32::from_le_bytes(words[at]));
        // NaN fails the comparisons, too.
        let sound = norm_sq >= 0.0 && base.abs() <= f32::MAX && step >= 0.0 && error >= 0.0;
        sound.then_some(Self {
            id: id(row),
            norm_sq,
            factors: RabitqFactors { base, step, error },
        })
    }
}

/// Whose code a row is, whether the rest of the head is sound or not.
///
/// # Panics
/// When `row` is shorter than a head.
pub fn id(row: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&row[..8]);
    u64::from_le_bytes(bytes)
}

/// The step between two values of an element, relative to the root mean square of the elements: the best one for 16
/// steps and a normal distribution (J. Max, "Quantizing for minimum distortion", 1960).
const STEP: f64 = 0.3352;

/// Bytes of a row's head and code.
pub const fn bytes(dims: usize) -> usize {
    HEAD_BYTES + digit_bytes(dims)
}

/// Bytes of a row's code without its head.
pub const fn digit_bytes(dims: usize) -> usize {
    dims.div_ceil(2).next_multiple_of(4)
}

/// What an element of a rotated residual `w` of `dims` elements, `|w|^2 = square`, is multiplied by: its digit, 0 to 15 for
/// -15 to 15, is that and 8, rounded down, and the nearest of them where it lies outside.
#[inline(always)]
pub(crate) fn digits_per_unit(square: f64, dims: usize) -> f64 {
    let unit = STEP * (square / dims as f64).sqrt();
    if unit > 0.0 { 1.0 / unit } else { 0.0 }
}

/// Appends head and digits to `out`; there are `2 * ceil(dims / 2)` digits, the last one 0 where `dims` is odd.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn pack(head: Head, digits: &[u8], out: &mut Vec<u8>) -> Result<()> {
    debug_assert!(digits.len().is_multiple_of(2));
    out.try_reserve(bytes(digits.len()))
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
    out.extend_from_slice(&head.id.to_le_bytes());
    let RabitqFactors { base, step, error } = head.factors;
    for number in [head.norm_sq, base, step, error] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let (low, high) = digits.split_at(digits.len() / 2);
    let start = out.len();
    out.resize(start + digit_bytes(digits.len()), 0);
    for (byte, (low, high)) in out[start..].iter_mut().zip(low.iter().zip(high)) {
        *byte = low | high << 4;
    }
    Ok(())
}

/// The code behind the head.
pub(super) fn code(row: &[u8]) -> &[u8] {
    &row[HEAD_BYTES..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_whatever_the_dimensions() {
        for dims in 1..40usize {
            let digit = |i: usize| u8::try_from(i * 7 % 16).expect("below 16");
            let mut digits: Vec<u8> = (0..dims).map(digit).collect();
            digits.resize(dims.next_multiple_of(2), 0);
            let factors = RabitqFactors {
                base: -1.5,
                step: 0.25,
                error: 3.0,
            };
            let (id, norm_sq) = (u64::MAX - 7, 2.5);
            let head = Head { id, norm_sq, factors };
            let mut row = Vec::new();
            pack(head, &digits, &mut row).expect("memory");
            assert_eq!(row.len(), bytes(dims));
            assert_eq!(Head::read(&row), Some(head));
            row[HEAD_BYTES - 1] = 0xff;
            assert_eq!(
                (Head::read(&row), super::id(&row)),
                (None, id),
                "an error below 0"
            );
            let code = &code(&row)[..dims.div_ceil(2)];
            let (low, high) = (
                code.iter().map(|byte| byte & 15),
                code.iter().map(|byte| byte >> 4),
            );
            let back: Vec<u8> = low.chain(high).take(dims).collect();
            assert_eq!(back, digits[..dims], "{dims}");
        }
    }
}
