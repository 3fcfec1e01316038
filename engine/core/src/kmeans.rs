//! Seeded, deterministic k-means.
//!
//! Seeds come from k-means++ on a part of the samples (D. Arthur and S. Vassilvitskii, 2007), for many lists from a
//! two-level clustering; then Lloyd's iterations run through `Nearest::assign`, on whatever device. Sums are kept in
//! f64 and taken list by list in row order, so that devices differ in the result only where they differ in a label.
//! Must not know where samples come from. Invariant: `lists` finite centroids come back for every input, however few,
//! equal, huge or tiny the samples are.

use std::borrow::Cow;

use crate::backend::{Backend, KeepWaiting, NearestBy};
use crate::distance::norm;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

mod lloyd;
mod seeding;

/// Most lists that are seeded in one level.
const FLAT_LISTS: usize = 512;
/// Most iterations over all lists after a two-level seeding, which already found its clusters.
const REFINEMENTS: usize = 3;
/// Two-level seedings inside each other; further ones would mean samples that do not separate.
const LEVELS: usize = 3;
/// Norms outside these bounds are scaled before their squares and products leave f32.
const NORMS: std::ops::RangeInclusive<f64> = 1e-9..=1e15;

/// What to cluster, and how.
#[derive(Debug, Clone, Copy)]
pub struct KmeansTask<'a> {
    /// `[n, dims]` row-major, n >= 0. Rows that are not finite are left out, and zero rows with `NearestBy::Dot`.
    pub samples: &'a [f32],
    /// Dimensions, at least 1.
    pub dims: usize,
    /// Centroids wanted, at least 1.
    pub lists: usize,
    /// `Dot`: spherical, every row counts as its direction and every centroid has length 1.
    pub by: NearestBy,
    /// Determines the result, with the other fields and the backend.
    pub seed: u64,
    /// Most of Lloyd's iterations; fewer when they stop paying.
    pub max_iterations: usize,
}

/// Finds centroids, `[lists, dims]` row-major. `progress` is told the share of the work done, from 0 to 1.
///
/// ```
/// use vectorgpu_core::backend::NearestBy;
/// use vectorgpu_core::cpu::CpuBackend;
/// use vectorgpu_core::kmeans::{KmeansTask, kmeans};
///
/// let task = KmeansTask {
///     samples: &[0.0, 0.5, 10.0, 10.5],
///     dims: 1,
///     lists: 2,
///     by: NearestBy::L2,
///     seed: 1,
///     max_iterations: 10,
/// };
/// let mut centroids = kmeans(&mut CpuBackend::new(), &task, &mut |_| (), &mut || true)?;
/// centroids.sort_by(f32::total_cmp);
/// assert_eq!(centroids, [0.25, 10.25]);
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for a shape that does not fit, `OutOfMemory`, `Cancelled`, or what the backend reports.
pub fn kmeans(
    backend: &mut dyn Backend,
    task: &KmeansTask<'_>,
    progress: &mut dyn FnMut(f32),
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<f32>> {
    if task.dims == 0 || task.lists == 0 || !task.samples.len().is_multiple_of(task.dims) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{} values do not make samples of {} dimensions for {} lists",
                task.samples.len(),
                task.dims,
                task.lists
            ),
        ));
    }
    if u32::try_from(task.samples.len() / task.dims).is_err() || u32::try_from(task.lists).is_err() {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "too many samples or lists for k-means",
        ));
    }
    progress(0.0);
    let (samples, scale) = conditioned(task)?;
    let mut random = Random::new(task.seed);
    let mut run = Run {
        backend,
        progress,
        keep_waiting,
    };
    let task = KmeansTask {
        samples: &samples,
        ..*task
    };
    let mut centroids = run.cluster(&task, &mut random, 0, (0.0, 1.0))?;
    for x in &mut centroids {
        *x = unscaled(*x, scale);
    }
    (run.progress)(1.0);
    Ok(centroids)
}

/// Lloyd's iterations at most that are worth asking for; the loop stops earlier when little moves.
pub const ITERATIONS: usize = 20;
/// Sampled rows for each list.
const SAMPLE_PER_LIST: usize = 50;
/// Sampled rows at least, if there are so many.
const SAMPLE_MIN: usize = 10_000;
/// Fewest sampled rows for each list with which k-means still makes sense.
const SAMPLE_PER_LIST_MIN: usize = 4;

/// Rows to sample for `lists` centroids: as many as pay and as [`kmeans_memory_bytes`] lets fit into `memory_bytes`, but never
/// fewer than make sense.
pub fn sample_rows(dims: usize, lists: usize, memory_bytes: usize) -> usize {
    let fits =
        |rows: usize| kmeans_memory_bytes(rows, dims, lists).is_some_and(|bytes| bytes <= memory_bytes);
    let least = lists.saturating_mul(SAMPLE_PER_LIST_MIN);
    let mut rows = lists.saturating_mul(SAMPLE_PER_LIST).max(SAMPLE_MIN);
    while rows > least && !fits(rows) {
        rows = (rows / 8 * 7).max(least);
    }
    rows
}

/// Bytes that [`kmeans`] needs at most for `n` samples, the samples and its result included; `None` when that is more
/// than the machine can address.
pub fn kmeans_memory_bytes(n: usize, dims: usize, lists: usize) -> Option<usize> {
    let row = dims.checked_mul(4)?;
    let samples = n.checked_mul(row)?;
    // Labels, the labels before, the order by list, and norms.
    let labels = n.checked_mul(20)?;
    // The centroids, those of the level below, and the backend's packed copy.
    let centroids = lists.checked_mul(row)?.checked_mul(3)?;
    let seeding = n
        .min(seeding::subsample_rows(lists.min(FLAT_LISTS)))
        .checked_mul(row.checked_add(16)?)?;
    let level = if lists > FLAT_LISTS {
        (n / seeding::GATHER_SHARE).checked_mul(row)?
    } else {
        0
    };
    samples
        .checked_add(labels)?
        .checked_add(centroids)?
        .checked_add(seeding)?
        .checked_add(level)
}

/// One call's surroundings.
struct Run<'a, 'b> {
    backend: &'a mut dyn Backend,
    progress: &'a mut dyn FnMut(f32),
    keep_waiting: &'a mut KeepWaiting<'b>,
}

impl Run<'_, '_> {
    /// Centroids of conditioned samples; reports progress inside `share` of the whole.
    fn cluster(
        &mut self,
        task: &KmeansTask<'_>,
        random: &mut Random,
        level: usize,
        share: (f32, f32),
    ) -> Result<Vec<f32>> {
        let n = task.samples.len() / task.dims;
        if n <= task.lists {
            return seeding::distinct_rows(task, random);
        }
        let (from, to) = share;
        if task.lists <= FLAT_LISTS || level == LEVELS {
            let seeds = seeding::plus_plus(self, task, random)?;
            return lloyd::iterate(
                self,
                task,
                seeds,
                random,
                task.max_iterations,
                (from + 0.1 * (to - from), to),
            );
        }
        let middle = from + 0.6 * (to - from);
        let seeds = seeding::two_levels(self, task, random, level, (from, middle))?;
        lloyd::iterate(
            self,
            task,
            seeds,
            random,
            task.max_iterations.min(REFINEMENTS),
            (middle, to),
        )
    }

    fn poll(&mut self) -> Result<()> {
        if (self.keep_waiting)() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Cancelled, "cancelled on request"))
        }
    }
}

/// The samples in a range where f32 squares and products neither overflow nor vanish, and the power of two they were
/// multiplied by; a copy only where one is needed.
fn conditioned<'a>(task: &KmeansTask<'a>) -> Result<(Cow<'a, [f32]>, i32)> {
    let mut largest = 0.0f64;
    let mut usable = true;
    for row in task.samples.chunks_exact(task.dims) {
        let norm = norm(row);
        largest = if norm.is_finite() {
            largest.max(norm)
        } else {
            largest
        };
        usable &= match task.by {
            NearestBy::L2 => norm.is_finite(),
            NearestBy::Dot => NORMS.contains(&norm),
        };
    }
    let in_range = largest == 0.0 || NORMS.contains(&largest);
    if usable && (in_range || task.by == NearestBy::Dot) {
        return Ok((Cow::Borrowed(task.samples), 0));
    }
    let scale = if in_range || task.by == NearestBy::Dot {
        0
    } else {
        -exponent(largest)
    };
    let mut rows = buffer(task.samples.len())?;
    for row in task.samples.chunks_exact(task.dims) {
        let norm = norm(row);
        if !norm.is_finite() || (task.by == NearestBy::Dot && norm == 0.0) {
            continue;
        }
        let factor = if task.by == NearestBy::Dot {
            1.0 / norm
        } else {
            2f64.powi(scale)
        };
        rows.extend(row.iter().map(|x| rounded(f64::from(*x) * factor)));
    }
    Ok((Cow::Owned(rows), scale))
}

/// The power of two of a positive finite number: its logarithm, rounded down.
fn exponent(value: f64) -> i32 {
    let biased = (value.to_bits() >> 52) & 0x7ff;
    i32::try_from(biased).expect("11 bits") - 1023
}

fn unscaled(x: f32, scale: i32) -> f32 {
    if scale == 0 {
        return x;
    }
    rounded(f64::from(x) * 2f64.powi(-scale)).clamp(f32::MIN, f32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the element type")]
fn rounded(x: f64) -> f32 {
    x as f32
}

/// An empty vector with room for `len` elements.
fn buffer<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(len)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while computing k-means"))?;
    Ok(values)
}

/// Scales to length 1; false, and unchanged, when the length is zero or not finite.
fn normalise(x: &mut [f32]) -> bool {
    let norm = norm(x);
    if !norm.is_finite() || norm == 0.0 {
        return false;
    }
    for x in x {
        *x = rounded(f64::from(*x) / norm);
    }
    true
}

#[cfg(test)]
mod tests;
