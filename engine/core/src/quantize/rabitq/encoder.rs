//! Rows become codes and factors.

use super::super::bits;
use super::super::rotation::Rotation;
use super::{ORDINARY_SQUARES, Products, RabitqFactors, fine, point, products};
use crate::distance::norm_squared;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Metric;

/// How many standard deviations an estimate may be off. The paper's 1.9 loses one row in some hundreds.
const EPSILON: f64 = 5.5;

/// Encodes rows; memory is kept.
#[derive(Debug)]
pub struct RabitqEncoder {
    spherical: bool,
    rotation: Rotation,
    row: Vec<f32>,
    centroid: Vec<f32>,
}

impl RabitqEncoder {
    /// An encoder of rows of `dims` elements.
    pub fn new(metric: Metric, dims: usize, seed: u64) -> Self {
        Self {
            spherical: metric.is_spherical(),
            rotation: Rotation::new(dims, seed),
            row: Vec::new(),
            centroid: Vec::new(),
        }
    }

    /// Appends the 1-bit code of `x`, a row of the list of `centroid`, to `code`, and the 4-bit one with its head, which says
    /// that it is that of `id`, to `fine_code`; returns the factors of the first.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn encode(
        &mut self,
        id: u64,
        x: &[f32],
        centroid: &[f32],
        code: &mut Vec<u8>,
        fine_code: &mut Vec<u8>,
    ) -> Result<RabitqFactors> {
        point(self.spherical, x, &mut self.row);
        let along = if self.spherical {
            products(&self.row, centroid)
        } else {
            Products::default()
        };
        #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
        let share = if self.spherical { along.share() as f32 } else { 1.0 };
        for (x, c) in self.row.iter_mut().zip(centroid) {
            *x -= share * c;
        }
        self.centroid.clear();
        self.centroid.extend_from_slice(centroid);
        self.rotation.apply(&mut self.row);
        self.rotation.apply(&mut self.centroid);
        bits::encode(&self.row, code)?;
        fine_code
            .try_reserve(fine::bytes(x.len()))
            .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
        let ordinary = !self.spherical || ORDINARY_SQUARES.contains(&crate::distance::norm(x).powi(2));
        let signs = self.row.iter().map(|w| if *w > 0.0 { 1 } else { -1 });
        let coarse = self.factors(signs, along.dot, ordinary);
        let square = self.row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
        let digits = fine::digits(&self.row, square);
        let factors = self.factors(digits.clone().map(fine::value), along.dot, ordinary);
        let norm_sq = if self.spherical { norm_squared(x) } else { 0.0 };
        let head = fine::Head { id, norm_sq, factors };
        fine::pack(head, digits, x.len(), fine_code);
        Ok(coarse)
    }

    /// The factors of code `b` of the rotated residual; `dot` is `<y, c>`.
    #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
    fn factors(&self, b: impl Iterator<Item = i8>, dot: f64, ordinary: bool) -> RabitqFactors {
        let (mut square, mut along, mut own, mut centre) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for ((w, c), b) in self.row.iter().zip(&self.centroid).zip(b) {
            let (w, c, b) = (f64::from(*w), f64::from(*c), f64::from(b));
            square += w * w;
            along += b * w;
            own += b * b;
            centre += b * c;
        }
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
