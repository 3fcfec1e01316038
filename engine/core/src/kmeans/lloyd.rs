//! Lloyd's iterations, with lists kept from becoming empty or far larger than the others.

use std::collections::BinaryHeap;

use super::sums::Sums;
use super::{Job, POLL_ELEMENTS, Run, Samples, buffer, index, normalise, poll, rounded};
use crate::backend::{KeepWaiting, NearestBy, Part};
use crate::crew::Crew;
use crate::distance::norm;
use crate::error::Result;

/// Stop when fewer rows than this share changed their list.
const MOVED_SHARE: f64 = 0.002;
/// Stop when the inertia fell by less than this share of itself.
const INERTIA_GAIN: f64 = 0.002;
/// A list larger than this many times the average is split, at the cost of a list smaller than `SMALL` averages.
const LARGE: f64 = 4.0;
const SMALL: f64 = 0.25;
/// Iterations that may split large lists; empty lists are refilled in all but the last.
const BALANCING: usize = 6;
/// Rows of a list that a split looks at for one far from the centroid.
const SPLIT_TRIES: usize = 8;

/// Improves the centroids of all clusterings, whose rows are assigned together; reports progress inside `share` of the whole.
pub(super) fn iterate(
    run: &mut Run<'_, '_>,
    clusterings: &mut [&mut Clustering<'_>],
    share: (f32, f32),
) -> Result<()> {
    let most = clusterings.iter().map(|clustering| clustering.iterations_left);
    let most = most.max().unwrap_or(0);
    for iteration in 0..most {
        poll(run.keep_waiting)?;
        (run.progress)(share.0 + (share.1 - share.0) * iteration as f32 / most as f32);
        let mut going: Vec<_> = clusterings
            .iter_mut()
            .filter(|clustering| clustering.iterations_left > 0)
            .collect();
        if going.is_empty() {
            break;
        }
        let mut parts: Vec<_> = going.iter_mut().map(|clustering| clustering.part()).collect();
        run.assign(&mut parts)?;
        drop(parts);
        if let [clustering] = &mut going[..] {
            clustering.improve(run.crew, iteration, run.keep_waiting)?;
            continue;
        }
        run.crew
            .for_each(going.iter_mut(), run.keep_waiting, |clustering| {
                clustering.improve(Crew::ALONE, iteration, &mut || true)
            })?;
    }
    Ok(())
}

/// Rows, their centroids, and which row belongs to which.
pub(super) struct Clustering<'r> {
    samples: Samples<'r>,
    job: Job<'r>,
    /// `[lists, dims]`.
    centroids: Vec<f32>,
    /// Of the job's rows, in their order; so are all places of rows below.
    labels: Vec<u32>,
    by_list: ByList,
    /// As it was an assignment before.
    previous: ByList,
    sums: Sums,
    /// What the last iteration did to each list.
    changes: Vec<Change>,
    inertia: f64,
    iterations_left: usize,
}

impl<'r> Clustering<'r> {
    /// The clustering of `job` that starts from `centroids`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(
        samples: Samples<'r>,
        job: Job<'r>,
        centroids: Vec<f32>,
        max_iterations: usize,
    ) -> Result<Self> {
        let mut labels = buffer(job.rows.len())?;
        labels.resize(job.rows.len(), 0);
        let mut changes = buffer(job.lists)?;
        changes.resize(job.lists, Change::default());
        Ok(Self {
            samples,
            centroids,
            labels,
            by_list: ByList::new(job.rows.len(), job.lists)?,
            previous: ByList::new(job.rows.len(), job.lists)?,
            sums: Sums::new(job.lists, samples.dims)?,
            changes,
            inertia: f64::INFINITY,
            iterations_left: max_iterations,
            job,
        })
    }

    /// The centroids, `[lists, dims]`.
    pub(super) fn into_centroids(self) -> Vec<f32> {
        self.centroids
    }

    fn size(&self, list: usize) -> usize {
        self.by_list.of(list).len()
    }

    /// What is to be assigned next.
    fn part(&mut self) -> Part<'_> {
        Part {
            rows: self.job.rows,
            centroids: &self.centroids,
            labels: &mut self.labels,
        }
    }

    /// Moves the centroids, after iteration number `iteration` has assigned the rows.
    fn improve(&mut self, crew: Crew, iteration: usize, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.iterations_left -= 1;
        std::mem::swap(&mut self.by_list, &mut self.previous);
        self.by_list.sort(&self.labels);
        let now = self.update(crew, keep_waiting)?;
        let moved: usize = self.changes.iter().map(|change| change.came).sum();
        let repaired = if self.iterations_left == 0 {
            0
        } else {
            self.repair(iteration < BALANCING)
        };
        let still = moved as f64 <= MOVED_SHARE * self.labels.len() as f64;
        let flat = self.inertia - now <= INERTIA_GAIN * self.inertia.min(f64::MAX);
        self.inertia = now;
        if repaired == 0 && iteration > 0 && (still || flat) {
            self.iterations_left = 0;
        }
        Ok(())
    }

    /// Moves every centroid to the mean of its rows, and returns the inertia: the sum of squared distances from it
    /// (of directions from their mean, for `Dot`). An empty list keeps its centroid.
    fn update(&mut self, crew: Crew, keep_waiting: &mut KeepWaiting<'_>) -> Result<f64> {
        let (samples, rows) = (self.samples, self.job.rows);
        let dims = samples.dims;
        let elements = rows.len().saturating_mul(dims).max(1);
        let together = (self.job.lists.saturating_mul(POLL_ELEMENTS) / elements).clamp(1, self.job.lists);
        let sums = self.sums.parts_mut(together);
        let (centroids, changes) = (
            self.centroids.chunks_mut(together * dims),
            self.changes.chunks_mut(together),
        );
        let parts = sums.zip(centroids.zip(changes)).enumerate();
        let (before, now) = (&self.previous, &self.by_list);
        crew.for_each(parts, keep_waiting, |(part, (mut sums, (centroids, changes)))| {
            let first = part * together;
            for (i, (centroid, change)) in centroids.chunks_exact_mut(dims).zip(changes).enumerate() {
                let [before, now] = [before.of(first + i), now.of(first + i)];
                change.came = sums.follow(i, samples, rows, [before, now]);
                let (sum, square) = sums.of(i);
                change.gain = move_to_mean(centroid, samples.by, sum, square, now.len());
            }
            Ok(())
        })?;
        let all = match samples.by {
            NearestBy::L2 => {
                let norms = rows.iter().map(|number| samples.norms[index(*number)]);
                norms.map(|norm| norm * norm).sum()
            }
            NearestBy::Dot => rows.len() as f64,
        };
        let inertia = self
            .changes
            .iter()
            .fold(all, |left: f64, change| left - change.gain);
        Ok(inertia.max(0.0))
    }

    /// Gives each empty list, and, when `balance` is set, small lists while there are large ones, half of the largest
    /// list. Returns how many it gave.
    fn repair(&mut self, balance: bool) -> usize {
        let lists = self.job.lists;
        let average = self.labels.len() as f64 / lists as f64;
        let small = if balance { average * SMALL } else { 0.0 };
        let mut takers: Vec<usize> = (0..lists)
            .filter(|list| self.size(*list) as f64 <= small)
            .collect();
        takers.sort_by_key(|list| (self.size(*list), *list));
        let mut largest: BinaryHeap<(usize, std::cmp::Reverse<usize>)> = (0..lists)
            .map(|list| (self.size(list), std::cmp::Reverse(list)))
            .collect();
        let mut given = 0;
        for taker in takers {
            let wanted = if self.size(taker) == 0 {
                1.0
            } else {
                average * LARGE
            };
            let split = loop {
                match largest.pop() {
                    Some((size, _)) if size < 2 || (size as f64) <= wanted => break None,
                    Some((size, list)) if self.split(list.0, taker) => {
                        break Some((size, list));
                    }
                    // Its rows are all alike: no use in trying it again.
                    Some(_) => {}
                    None => break None,
                }
            };
            let Some((size, list)) = split else { break };
            // The taker's half is not offered again: which rows it took is only known after the next assignment.
            largest.push((size / 2, list));
            given += 1;
        }
        given
    }

    /// Moves the centroids of `list` and `taker` to either side of `list`'s, along the way to one of its rows; false
    /// when all rows tried lie on the centroid.
    fn split(&mut self, list: usize, taker: usize) -> bool {
        let (dims, by) = (self.samples.dims, self.samples.by);
        let members = self.by_list.of(list);
        let centre = self.centroids[list * dims..][..dims].to_vec();
        let direction = |row: &[f32]| -> Vec<f64> {
            let scale = match by {
                NearestBy::L2 => 1.0,
                NearestBy::Dot => 1.0 / norm(row),
            };
            row.iter()
                .zip(&centre)
                .map(|(x, c)| f64::from(*x) * scale - f64::from(*c))
                .collect()
        };
        let length = |way: &[f64]| way.iter().map(|x| x * x).sum::<f64>();
        let random = &mut self.job.random;
        let mut member = || {
            self.samples
                .row(self.job.rows[index(members[random.below(members.len())])])
        };
        let farthest = (0..SPLIT_TRIES)
            .map(|_| direction(member()))
            .max_by(|a, b| length(a).total_cmp(&length(b)))
            .unwrap_or_default();
        let size = length(&farthest);
        let apart = size.is_finite() && size > 1e-12 * norm(&centre).powi(2);
        if !apart {
            return false;
        }
        for (target, side) in [(list, -0.5), (taker, 0.5)] {
            let target = &mut self.centroids[target * dims..][..dims];
            for ((x, c), way) in target.iter_mut().zip(&centre).zip(&farthest) {
                *x = rounded(f64::from(*c) + side * way);
            }
            if by == NearestBy::Dot && !normalise(target) {
                target.copy_from_slice(&centre);
            }
        }
        true
    }
}

/// Moves a centroid to the mean of its `count` rows, whose sum is `sum`, its squared length `square`; returns what that takes off the
/// inertia.
fn move_to_mean(centroid: &mut [f32], by: NearestBy, sum: &[f64], square: f64, count: usize) -> f64 {
    let divisor = match by {
        _ if count == 0 => return 0.0,
        NearestBy::L2 => count as f64,
        NearestBy::Dot if square > 0.0 => square.sqrt(),
        // Directions that cancel have no mean direction: keep the centroid.
        NearestBy::Dot => return 0.0,
    };
    for (x, sum) in centroid.iter_mut().zip(sum) {
        *x = rounded(sum / divisor);
    }
    square / divisor
}

/// What an iteration did to a list.
#[derive(Clone, Copy, Default)]
struct Change {
    /// Rows that were in another one.
    came: usize,
    /// What a centroid at the mean of its rows takes off the inertia.
    gain: f64,
}

/// Places of rows by list, ascending inside each.
struct ByList {
    order: Vec<u32>,
    /// List `i` holds `order[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
}

impl ByList {
    /// Lists without rows, with room for `rows`.
    fn new(rows: usize, lists: usize) -> Result<Self> {
        let mut order = buffer(rows)?;
        order.resize(rows, 0);
        let mut starts = buffer(lists + 1)?;
        starts.resize(lists + 1, 0);
        Ok(Self { order, starts })
    }

    fn of(&self, list: usize) -> &[u32] {
        &self.order[self.starts[list]..self.starts[list + 1]]
    }

    /// Sorts all rows by their labels.
    fn sort(&mut self, labels: &[u32]) {
        self.starts.fill(0);
        for label in labels {
            self.starts[index(*label) + 1] += 1;
        }
        for list in 1..self.starts.len() {
            self.starts[list] += self.starts[list - 1];
        }
        let mut ends = self.starts.clone();
        for (place, label) in (0u32..).zip(labels) {
            let end = &mut ends[index(*label)];
            self.order[*end] = place;
            *end += 1;
        }
    }
}
