//! In which order an operator sums: what its value may differ by from a sum of the kernels.
//!
//! An operator of this library calls the kernels of `cpu`. One of another library, on types with the same layout, sums f32 terms
//! too, but in an order that its compiler has chosen. Must not know where an operator comes from.

use std::ops::Range;

use super::{kernel_rounding_bound, rounding_bound};

/// In which order an operator sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Summation {
    /// As the kernels of `cpu` do: it is they that compute the operator's value.
    #[default]
    Kernels = 0,
    /// In any order, with or without fused multiply-adds. Only bounds of the operator's value are known.
    Any = 1,
}

/// Squares of norms for which the quotient of a cosine is bounded in every order: far above every flush to zero (some 1e-33 for the
/// longest vectors), and nowhere near the end of f32.
const ORDINARY_SQUARES: Range<f64> = 1e-21..1e31;

impl Summation {
    /// A number that stands for it.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The one that [`Self::code`] made a number of.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Kernels),
            1 => Some(Self::Any),
            _ => None,
        }
    }

    /// The relative error bound of a sum of `dims` terms in this order.
    pub fn rounding_bound(self, dims: usize) -> f64 {
        match self {
            Self::Kernels => kernel_rounding_bound(dims),
            Self::Any => rounding_bound(dims),
        }
    }

    /// By how much a cosine may be above `dot / (|q| |x|)` because the operator's own norms are not those of the kernels, whatever
    /// its `dot`; none where the norms are so small or large (`query_sq`, `row_sq`: their squares by the kernels) that nothing is known.
    ///
    /// Both squares are within `e = gamma + gamma'` of the operator's, so is the root of their product, and the quotient, where it
    /// counts, is no larger than 1: beyond it is cut off, and below -1 it comes only by rounding. `1 / (1 - e) - 1 <= 2 e`.
    pub(super) fn quotient_slack(self, dims: usize, query_sq: f64, row_sq: f64) -> Option<f64> {
        if self == Self::Kernels {
            return Some(0.0);
        }
        let known = ORDINARY_SQUARES.contains(&query_sq) && ORDINARY_SQUARES.contains(&row_sq);
        known.then(|| self.quotient_rounding(dims))
    }

    /// [`Self::quotient_slack`] where the norms are ordinary.
    pub(super) fn quotient_rounding(self, dims: usize) -> f64 {
        match self {
            Self::Kernels => 0.0,
            Self::Any => 2.0 * (rounding_bound(dims) + kernel_rounding_bound(dims)),
        }
    }

    /// What a bound in f32 of `quantize::rabitq` has to leave for the operator besides what it leaves for the kernels, relative to the
    /// largest of its terms: enough that it is no closer than the bounds of [`super::QueryNorms`], for which a row goes back.
    pub(super) fn code_slack(self, dims: usize) -> f64 {
        match self {
            Self::Kernels => 0.0,
            Self::Any => 8.0 * rounding_bound(dims),
        }
    }
}
