//! Kernels for two vectors of halves: f16 elements widened to f32 in registers.
//!
//! Invariant: each value is bit for bit that of the f32 kernel for the widened elements, because the order of summation
//! is the module's (see `cpu`) and widening is exact; so an index of halves orders as one of their f32 values would.
#![expect(
    unsafe_code,
    reason = "calls functions compiled for an instruction set that was detected at run time"
)]

use super::table::{CosineParts, Kernels};
use crate::metric::Score;

pub(super) mod scalar;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

/// Bytes of an element.
const WIDTH: usize = 2;

/// `fn(a, b)`: equally long codes, two bytes an element.
type PairKernel = unsafe fn(&[u8], &[u8]) -> f32;

/// The kernels of one instruction set for two vectors of halves.
#[derive(Clone, Copy)]
pub(super) struct HalfKernels {
    squared_l2: PairKernel,
    dot: PairKernel,
    l1: PairKernel,
    cosine_parts: unsafe fn(&[u8], &[u8]) -> CosineParts,
}

impl Kernels {
    /// Computes the score of two vectors of little-endian f16 codes, of any alignment, in f32: what [`Self::row`]
    /// returns for the same values in f32.
    ///
    /// # Panics
    /// When the lengths differ or are odd.
    pub fn half_pair(&self, score: Score, a: &[u8], b: &[u8]) -> f32 {
        check_lengths(a, b);
        let kernel = match score {
            Score::SquaredL2 => self.halves.squared_l2,
            Score::Dot => self.halves.dot,
            Score::L1 => self.halves.l1,
        };
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { kernel(a, b) }
    }

    /// Computes the three sums of a cosine of two vectors of little-endian f16 codes: what [`Self::cosine_parts`]
    /// returns for the same values in f32.
    ///
    /// # Panics
    /// When the lengths differ or are odd.
    pub fn half_cosine_parts(&self, a: &[u8], b: &[u8]) -> CosineParts {
        check_lengths(a, b);
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { (self.halves.cosine_parts)(a, b) }
    }
}

fn check_lengths(a: &[u8], b: &[u8]) {
    assert!(
        a.len() == b.len() && a.len().is_multiple_of(WIDTH),
        "vector length"
    );
}

#[cfg(test)]
mod tests;
