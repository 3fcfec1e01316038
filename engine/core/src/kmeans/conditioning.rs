//! Samples as k-means computes with them: in a range where f32 squares and products neither overflow nor vanish.

use std::borrow::Cow;

use super::{KmeansTask, POLL_ELEMENTS, buffer, rounded};
use crate::backend::{KeepWaiting, NearestBy};
use crate::crew::Crew;
use crate::distance::norm;
use crate::error::Result;

/// Norms outside these bounds are scaled before their squares and products leave f32.
const NORMS: std::ops::RangeInclusive<f64> = 1e-9..=1e15;

/// Samples in that range; rows that cannot be clustered are left out.
pub(super) struct Conditioned<'a> {
    pub(super) samples: Cow<'a, [f32]>,
    /// Of these samples.
    pub(super) norms: Vec<f64>,
    /// The power of two that they were multiplied by.
    scale: i32,
}

impl<'a> Conditioned<'a> {
    /// Conditions the samples; copies them only where that is needed.
    ///
    /// # Errors
    /// `OutOfMemory` or `Cancelled`.
    pub(super) fn new(task: &KmeansTask<'a>, crew: Crew, keep_waiting: &mut KeepWaiting<'_>) -> Result<Self> {
        let mut norms = norms_of(task.samples, task.dims, crew, keep_waiting)?;
        let finite = norms.iter().copied().filter(|norm| norm.is_finite());
        let largest = finite.fold(0.0, f64::max);
        let usable = norms.iter().all(|norm| match task.by {
            NearestBy::L2 => norm.is_finite(),
            NearestBy::Dot => NORMS.contains(norm),
        });
        let in_range = largest == 0.0 || NORMS.contains(&largest);
        if usable && (in_range || task.by == NearestBy::Dot) {
            return Ok(Self {
                samples: Cow::Borrowed(task.samples),
                norms,
                scale: 0,
            });
        }
        let scale = if in_range || task.by == NearestBy::Dot {
            0
        } else {
            -exponent(largest)
        };
        let mut rows = buffer(task.samples.len())?;
        for (row, norm) in task.samples.chunks_exact(task.dims).zip(&norms) {
            if !norm.is_finite() || (task.by == NearestBy::Dot && *norm == 0.0) {
                continue;
            }
            let factor = if task.by == NearestBy::Dot {
                1.0 / norm
            } else {
                2f64.powi(scale)
            };
            rows.extend(row.iter().map(|x| rounded(f64::from(*x) * factor)));
        }
        drop(norms);
        norms = norms_of(&rows, task.dims, crew, keep_waiting)?;
        Ok(Self {
            samples: Cow::Owned(rows),
            norms,
            scale,
        })
    }

    /// A number of a centroid as it is where the samples came from.
    pub(super) fn unscaled(&self, x: f32) -> f32 {
        if self.scale == 0 {
            return x;
        }
        rounded(f64::from(x) * 2f64.powi(-self.scale)).clamp(f32::MIN, f32::MAX)
    }
}

fn norms_of(rows: &[f32], dims: usize, crew: Crew, keep_waiting: &mut KeepWaiting<'_>) -> Result<Vec<f64>> {
    let mut norms = buffer(rows.len() / dims)?;
    norms.resize(rows.len() / dims, 0.0);
    let together = (POLL_ELEMENTS / dims).max(1);
    let parts = norms.chunks_mut(together).zip(rows.chunks(together * dims));
    crew.for_each(parts, keep_waiting, |(norms, rows)| {
        let rows = rows.chunks_exact(dims);
        norms.iter_mut().zip(rows).for_each(|(to, row)| *to = norm(row));
        Ok(())
    })?;
    Ok(norms)
}

/// The power of two of a positive finite number: its logarithm, rounded down.
fn exponent(value: f64) -> i32 {
    let biased = (value.to_bits() >> 52) & 0x7ff;
    i32::try_from(biased).expect("11 bits") - 1023
}
