//! Seeded, deterministic k-means.
//!
//! Seeds come from k-means++ on a part of the samples (D. Arthur and S. Vassilvitskii, 2007), for many lists from a
//! two-level clustering; then Lloyd's iterations find labels on whatever device, which holds the samples meanwhile if it can. Sums
//! are kept in f64, in an order that follows from labels alone, so devices differ in the result only where they differ in a label.
//! Must not know where samples come from. Invariant: `lists` finite centroids come back for every input, however few,
//! equal, huge or tiny the samples are.

use crate::backend::{Backend, HeldRows, KeepWaiting, NearestBy, Part, is_device_failure};
use crate::crew::Crew;
use crate::distance::norm;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

mod conditioning;
mod lloyd;
mod seeding;
mod sums;

use conditioning::Conditioned;

/// Most lists that are seeded in one level.
const FLAT_LISTS: usize = 512;
/// Most iterations over all lists after a two-level seeding, which already found its clusters.
const REFINEMENTS: usize = 3;
/// Two-level seedings inside each other; further ones would mean samples that do not separate.
const LEVELS: usize = 3;
/// Bytes of rows that are gathered for a backend that does not hold them: for the CPU few enough to stay in its cache.
const CACHED_BYTES: usize = 512 << 10;
const GATHER_BYTES: usize = 32 << 20;

/// Elements read between two calls of the keep-waiting closure, and in one part of a crew's work: about a millisecond.
const POLL_ELEMENTS: usize = 1 << 20;

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

/// Finds centroids, `[lists, dims]` row-major. `backend` finds labels, `crew` does the rest; `progress` is told the share of the work
/// done, from 0 to 1.
///
/// ```
/// use vectorgpu_core::backend::NearestBy;
/// use vectorgpu_core::cpu::CpuBackend;
/// use vectorgpu_core::crew::Crew;
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
/// let mut centroids = kmeans(&mut CpuBackend::new(), Crew::ALONE, &task, &mut |_| (), &mut || true)?;
/// centroids.sort_by(f32::total_cmp);
/// assert_eq!(centroids, [0.25, 10.25]);
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for a shape that does not fit, `OutOfMemory`, `Cancelled`, or what the backend reports.
pub fn kmeans(
    backend: &mut dyn Backend,
    crew: Crew,
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
    let conditioned = Conditioned::new(task, crew, keep_waiting)?;
    let rows = conditioned.norms.len();
    let mut run = Run {
        held: None,
        gathered: Vec::new(),
        samples: Samples {
            values: &conditioned.samples,
            norms: &conditioned.norms,
            dims: task.dims,
            by: task.by,
        },
        max_iterations: task.max_iterations,
        backend,
        crew,
        progress,
        keep_waiting,
    };
    if rows > task.lists {
        run.held = run
            .backend
            .hold(run.samples.values, task.dims, run.keep_waiting)?;
    }
    let mut all = buffer(rows)?;
    all.extend((0u32..).take(rows));
    let job = Job {
        rows: &all,
        lists: task.lists,
        random: Random::new(task.seed),
    };
    let mut centroids = run.cluster(vec![job], 0, (0.0, 1.0))?.concat();
    for x in &mut centroids {
        *x = conditioned.unscaled(*x);
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
    // Labels, the order by list, the order before, row numbers, those of the level above and its labels, and norms.
    let labels = n.checked_mul(32)?;
    // The centroids, those of the level below, the backend's packed copy, and sums of twice the width.
    let centroids = lists.checked_mul(row)?.checked_mul(5)?;
    let seeding = n
        .min(seeding::subsample_rows(lists.min(FLAT_LISTS)))
        .checked_mul(row.checked_add(16)?)?;
    let gathered = if lists > FLAT_LISTS {
        n.checked_mul(row)?.min(GATHER_BYTES.max(row))
    } else {
        0
    };
    samples
        .checked_add(labels)?
        .checked_add(centroids)?
        .checked_add(seeding)?
        .checked_add(gathered)
}

/// What is clustered.
#[derive(Clone, Copy)]
struct Samples<'a> {
    /// `[n, dims]`, conditioned.
    values: &'a [f32],
    /// Of the rows.
    norms: &'a [f64],
    dims: usize,
    by: NearestBy,
}

impl<'a> Samples<'a> {
    fn row(&self, number: u32) -> &'a [f32] {
        &self.values[index(number) * self.dims..][..self.dims]
    }
}

/// One call's surroundings, and what it clusters.
struct Run<'a, 'b> {
    backend: &'a mut dyn Backend,
    crew: Crew,
    /// The samples on the backend's device, while it keeps them.
    held: Option<Box<dyn HeldRows>>,
    /// Rows on the way to a device that does not; memory is kept.
    gathered: Vec<f32>,
    samples: Samples<'a>,
    max_iterations: usize,
    progress: &'a mut dyn FnMut(f32),
    keep_waiting: &'a mut KeepWaiting<'b>,
}

/// A job and its seeds, once they are drawn.
struct Seeded<'r> {
    job: Job<'r>,
    /// `[lists, dims]`.
    seeds: Vec<f32>,
}

impl<'r> From<Job<'r>> for Seeded<'r> {
    fn from(job: Job<'r>) -> Self {
        let seeds = Vec::new();
        Self { job, seeds }
    }
}

/// Samples to cluster by themselves.
struct Job<'r> {
    /// Their numbers, ascending.
    rows: &'r [u32],
    lists: usize,
    random: Random,
}

impl Run<'_, '_> {
    /// Centroids of each job; reports progress inside `share` of the whole.
    ///
    /// Where a device holds the samples, the iterations of all jobs go there together: few rows leave it idle. Else one job comes after
    /// the other, whose rows stay in the cache. What comes out is the same.
    fn cluster(&mut self, jobs: Vec<Job<'_>>, level: usize, share: (f32, f32)) -> Result<Vec<Vec<f32>>> {
        let count = jobs.len();
        let together = if self.held.is_some() { count } else { 1 };
        let mut found = Vec::with_capacity(count);
        let mut jobs = jobs.into_iter().peekable();
        while jobs.peek().is_some() {
            let at = |done: usize| share.0 + (share.1 - share.0) * done as f32 / count as f32;
            let share = (at(found.len()), at((found.len() + together).min(count)));
            let jobs: Vec<Job<'_>> = jobs.by_ref().take(together).collect();
            found.extend(self.cluster_together(jobs, level, share)?);
        }
        Ok(found)
    }

    fn cluster_together(
        &mut self,
        jobs: Vec<Job<'_>>,
        level: usize,
        share: (f32, f32),
    ) -> Result<Vec<Vec<f32>>> {
        let (mut from, to) = share;
        let flat = |job: &Job<'_>| job.lists <= FLAT_LISTS || level == LEVELS;
        let mut seeded: Vec<Seeded<'_>> = jobs.into_iter().map(Seeded::from).collect();
        self.seed(seeded.iter_mut().filter(|seeded| flat(&seeded.job)).collect())?;
        let mut found = Vec::with_capacity(seeded.len());
        let mut clusterings = Vec::new();
        for Seeded { mut job, mut seeds } in seeded {
            if job.rows.len() <= job.lists {
                found.push(seeding::distinct_rows(self.samples, &mut job)?);
                continue;
            }
            let mut most = self.max_iterations;
            if !flat(&job) {
                let middle = from + 0.6 * (to - from);
                seeds = seeding::two_levels(self, &mut job, level, (from, middle))?;
                from = middle;
                most = most.min(REFINEMENTS);
            }
            clusterings.push((
                found.len(),
                lloyd::Clustering::new(self.samples, job, seeds, most)?,
            ));
            found.push(Vec::new());
        }
        let mut running: Vec<&mut lloyd::Clustering<'_>> =
            clusterings.iter_mut().map(|(_, clustering)| clustering).collect();
        lloyd::iterate(self, &mut running, (from, to))?;
        for (place, clustering) in clusterings {
            found[place] = clustering.into_centroids();
        }
        Ok(found)
    }

    /// Draws the seeds of jobs that are seeded in one level and have more rows than lists.
    fn seed(&mut self, mut jobs: Vec<&mut Seeded<'_>>) -> Result<()> {
        jobs.retain(|seeded| seeded.job.rows.len() > seeded.job.lists);
        if let [seeded] = &mut jobs[..] {
            seeded.seeds = seeding::plus_plus(self.samples, &mut seeded.job, self.keep_waiting)?;
            return Ok(());
        }
        // Several jobs come where a device holds the samples: none are gathered meanwhile.
        let lists = jobs.iter().map(|seeded| seeded.job.lists).max().unwrap_or(1);
        let row_bytes = self.samples.dims * size_of::<f32>();
        let together = GATHER_BYTES / (seeding::subsample_rows(lists.min(FLAT_LISTS)) * row_bytes);
        for jobs in jobs.chunks_mut(together.max(1)) {
            self.crew.for_each(jobs.iter_mut(), self.keep_waiting, |seeded| {
                seeded.seeds = seeding::plus_plus(self.samples, &mut seeded.job, &mut || true)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Labels the rows of every part.
    fn assign(&mut self, parts: &mut [Part<'_>]) -> Result<()> {
        if let Some(held) = &mut self.held {
            match held.assign(parts, self.samples.by, self.keep_waiting) {
                // Sending the rows instead needs less memory there; where the device is lost, that tells.
                Err(error) if is_device_failure(&error) => self.held = None,
                done => return done,
            }
        }
        parts.iter_mut().try_for_each(|part| self.send(part))
    }

    /// Labels the rows of a part, which the backend does not hold.
    fn send(&mut self, part: &mut Part<'_>) -> Result<()> {
        let Samples { values, dims, by, .. } = self.samples;
        let mut nearest = self
            .backend
            .nearest(part.centroids, dims, by, self.keep_waiting)?;
        let (Some(first), Some(last)) = (part.rows.first(), part.rows.last()) else {
            return Ok(());
        };
        if index(last - first) + 1 == part.rows.len() {
            let rows = &values[index(*first) * dims..][..part.rows.len() * dims];
            return nearest.assign(rows, part.labels, self.keep_waiting);
        }
        let bytes = self.backend.batch_bytes().clamp(CACHED_BYTES, GATHER_BYTES);
        let together = (bytes / (dims * size_of::<f32>())).max(1);
        for (numbers, labels) in part.rows.chunks(together).zip(part.labels.chunks_mut(together)) {
            self.gathered.clear();
            let room = self.gathered.try_reserve(numbers.len() * dims);
            room.map_err(|_| out_of_memory())?;
            for number in numbers {
                self.gathered.extend_from_slice(self.samples.row(*number));
            }
            nearest.assign(&self.gathered, labels, self.keep_waiting)?;
        }
        Ok(())
    }
}

fn poll(keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
    if keep_waiting() {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Cancelled, "cancelled on request"))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the element type")]
fn rounded(x: f64) -> f32 {
    x as f32
}

/// An empty vector with room for `len` elements.
fn buffer<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| out_of_memory())?;
    Ok(values)
}

fn out_of_memory() -> Error {
    Error::new(ErrorKind::OutOfMemory, "out of memory while computing k-means")
}

/// A row or list number as an index.
fn index(number: u32) -> usize {
    usize::try_from(number).expect("a number fits in memory's index type")
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
