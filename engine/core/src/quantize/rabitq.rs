//! 1-bit codes of rotated residuals, and bounds of distances from them: RaBitQ (J. Gao and C. Long, "RaBitQ: quantizing
//! high-dimensional vectors with a theoretical error bound for approximate nearest neighbor search", SIGMOD 2024,
//! arXiv 2405.12497), written from the paper.
//!
//! With a vector `y`, its list's centroid `c`, the residual `r`, the rotation `P`, `w = P r` and `b` the signs of `w`, each
//! ±1, `t = |w|^2 / <b, w>`: the product `<r, v>` with any `v` is estimated as `t <b, P v>`, without a bias. `t b - w` is
//! orthogonal to `w`, and `P v` is a vector of random direction to it, so the estimate is off by more than
//! `t |b - w / t| |v| EPSILON / sqrt(d - 1)` with a chance of some 1e-8; never by more than `t |b - w / t| |v|`.
//!
//! - L2: `y` is the row and `r = y - c`. `|q - y|^2 = |q - c|^2 + |r|^2 - 2 <r, q - c>`.
//! - Spherical metrics: `y` is the row's direction and `r` what of it is at right angles to `c`. With the query's direction
//!   `u`, the share `a = <u, c> / <c, c>` and `u' = u - a c`, `<u, y> = a <y, c> + <r, u'>`.
//!
//! In both cases the bound is `start + slope * base - step <b, P q> - error * reach`, where `start`, `slope` and `reach` (`|q - c|` or
//! `|u'|`) follow from query and list ([`Place`]), and `base`, `step` and `error` are stored with the row: `|r|^2 + 2 t <b, P c>` or
//! `<y, c> - t <b, P c>`; `2 t` or `t`; and the estimate's error for a `v` of length 1.
//!
//! A bound only decides which rows are compared exactly, so one that does not hold can lose a row, never misplace one.

use std::ops::Range;

use super::bits;
use crate::cpu::kernels;

mod encoder;
pub mod fine;
mod query;
mod turned;

pub use encoder::RabitqEncoder;
pub use query::{Place, RabitqQuery, RabitqRuns};

/// Squares of norms whose f32 arithmetic the slack covers: it neither underflows nor comes near the end of f32.
const ORDINARY_SQUARES: Range<f64> = 1e-20..1e30;
/// Relative slack for f32 arithmetic: some dozens of roundings of 2^-24.
const SLACK: f32 = 4e-6;

/// Bytes of a row's code: whole quads, as the kernel takes them.
pub const fn code_bytes(dims: usize) -> usize {
    bits::code_bytes(dims)
}

/// What is stored with a row besides its code; the module says what it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RabitqFactors {
    /// Any sign.
    pub base: f32,
    /// At least 0.
    pub step: f32,
    /// At least 0.
    pub error: f32,
}

impl RabitqFactors {
    /// Says nothing: for rows whose numbers leave f32.
    pub(super) const UNKNOWN: Self = Self {
        base: 0.0,
        step: 0.0,
        error: f32::MAX,
    };
}

/// Of a point with a centroid, and of that with itself.
#[derive(Debug, Clone, Copy)]
struct Products {
    dot: f64,
    square: f64,
}

impl Default for Products {
    /// As if they were at right angles.
    fn default() -> Self {
        Self {
            dot: 0.0,
            square: 1.0,
        }
    }
}

impl Products {
    /// How much of the centroid is in the point.
    fn share(self) -> f64 {
        self.dot / self.square
    }
}

fn products(point: &[f32], centroid: &[f32]) -> Products {
    let parts = kernels().cosine_parts(point, centroid);
    let (dot, square) = (f64::from(parts.dot), f64::from(parts.norm_sq_b));
    // Centroids have unit length, or none: a list without rows may keep zeroes.
    if ORDINARY_SQUARES.contains(&square) {
        Products { dot, square }
    } else {
        Products::default()
    }
}

/// Writes `x`, or its direction, and returns the norm that took.
fn point(spherical: bool, x: &[f32], out: &mut Vec<f32>) -> Option<f64> {
    out.clear();
    out.extend_from_slice(x);
    if !spherical {
        return None;
    }
    let norm = crate::distance::norm(x);
    if norm > 0.0 {
        // A division takes several times as long, for a last bit of f64 that rounding to f32 hardly ever leaves.
        kernels().scale(out, 1.0 / norm);
    }
    Some(norm)
}

#[cfg(test)]
mod tests;
