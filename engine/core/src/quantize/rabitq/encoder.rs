//! Rows become codes and factors.

use super::super::bits;
use super::super::rotation::Rotation;
use super::turned::TurnedCentroids;
use super::{ORDINARY_SQUARES, Products, RabitqFactors, fine, point, products};
use crate::cpu::{CodeProducts, kernels};
use crate::distance::norm_squared;
use crate::error::Result;
use crate::metric::Metric;

/// How many standard deviations an estimate may be off. The paper's 1.9 loses one row in some hundreds.
const EPSILON: f64 = 5.5;

/// Encodes rows; memory is kept.
#[derive(Debug)]
pub struct RabitqEncoder {
    spherical: bool,
    rotation: Rotation,
    row: Vec<f32>,
    digits: Vec<u8>,
    centroids: TurnedCentroids,
}

impl RabitqEncoder {
    /// An encoder of rows of `dims` elements.
    pub fn new(metric: Metric, dims: usize, seed: u64) -> Self {
        Self {
            spherical: metric.is_spherical(),
            rotation: Rotation::new(dims, seed),
            row: Vec::new(),
            digits: Vec::new(),
            centroids: TurnedCentroids::new(dims),
        }
    }

    /// Appends the 1-bit code of `x`, a row of list `list`, to `code`, and the 4-bit one with its head, which says that it is
    /// that of `id`, to `fine_code`; returns the factors of the first. `centroid` is that of the list: the same whenever this
    /// encoder is given the list, because what follows from it is kept.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn encode(
        &mut self,
        id: u64,
        x: &[f32],
        list: u32,
        centroid: &[f32],
        code: &mut Vec<u8>,
        fine_code: &mut Vec<u8>,
    ) -> Result<RabitqFactors> {
        let norm = point(self.spherical, x, &mut self.row);
        let along = if self.spherical {
            products(&self.row, centroid)
        } else {
            Products::default()
        };
        #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
        let share = if self.spherical { along.share() as f32 } else { 1.0 };
        kernels().subtract(&mut self.row, centroid, share);
        self.rotation.apply(&mut self.row);
        bits::encode(&self.row, code)?;
        let turned = self.centroids.of(list, centroid, &self.rotation)?;
        // A last zero fills an odd number up.
        self.digits.resize(x.len().next_multiple_of(2), 0);
        let digits = &mut self.digits[..x.len()];
        let products = kernels().encode_residual(&self.row, turned, digits);
        let ordinary = norm.is_none_or(|norm| ORDINARY_SQUARES.contains(&norm.powi(2)));
        let head = fine::Head {
            id,
            norm_sq: if self.spherical { norm_squared(x) } else { 0.0 },
            factors: self.factors(products.square, products.digits, along.dot, ordinary),
        };
        fine::pack(head, &self.digits, fine_code)?;
        Ok(self.factors(products.square, products.signs, along.dot, ordinary))
    }

    /// The factors of a code of the rotated residual, `|w|^2 = square`; `dot` is `<y, c>`.
    #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
    fn factors(&self, square: f64, code: CodeProducts, dot: f64, ordinary: bool) -> RabitqFactors {
        let CodeProducts { along, own, centre } = code;
        let t = if along > 0.0 { square / along } else { 0.0 };
        // |b - w / t|^2 = |b|^2 - |w|^2 / t^2, since <b, w> = |w|^2 / t.
        let across = if square > 0.0 {
            (own - along * along / square).max(0.0).sqrt()
        } else {
            0.0
        };
        let certain = (EPSILON / (self.row.len() as f64 - 1.0).sqrt()).min(1.0);
        let factors = if self.spherical {
            RabitqFactors {
                base: (dot - t * centre) as f32,
                step: t as f32,
                error: (t * across * certain) as f32,
            }
        } else {
            RabitqFactors {
                base: (square + 2.0 * t * centre) as f32,
                step: (2.0 * t) as f32,
                error: (2.0 * t * across * certain) as f32,
            }
        };
        let finite = factors.base.is_finite() && factors.step.is_finite() && factors.error.is_finite();
        if ordinary && finite {
            factors
        } else {
            RabitqFactors::UNKNOWN
        }
    }
}
