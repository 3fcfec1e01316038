//! Lloyd's iterations, with lists kept from becoming empty or far larger than the others.

use std::collections::BinaryHeap;

use super::sums::Sums;
use super::{Job, Run, buffer, index, normalise, rounded};
use crate::backend::{NearestBy, Part};
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
        run.poll()?;
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
        for clustering in going {
            clustering.improve(run, iteration)?;
        }
    }
    Ok(())
}

/// Rows, their centroids, and which row belongs to which.
pub(super) struct Clustering<'r> {
    job: Job<'r>,
    by: NearestBy,
    dims: usize,
    /// `[lists, dims]`.
    centroids: Vec<f32>,
    /// Of the job's rows, in their order; so are all places of rows below.
    labels: Vec<u32>,
    previous: Vec<u32>,
    /// Places of rows by list, ascending inside each; list `i` holds `order[starts[i]..starts[i + 1]]`.
    order: Vec<u32>,
    starts: Vec<usize>,
    sums: Sums,
    inertia: f64,
    iterations_left: usize,
}

impl<'r> Clustering<'r> {
    /// The clustering of `job` that starts from `centroids`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(
        run: &Run<'_, '_>,
        job: Job<'r>,
        centroids: Vec<f32>,
        max_iterations: usize,
    ) -> Result<Self> {
        let filled = |value: u32| -> Result<Vec<u32>> {
            let mut rows = buffer(job.rows.len())?;
            rows.resize(job.rows.len(), value);
            Ok(rows)
        };
        let mut starts = buffer(job.lists + 1)?;
        starts.resize(job.lists + 1, 0);
        Ok(Self {
            by: run.by,
            dims: run.dims,
            centroids,
            // Of no list: each assignment swaps the two first.
            labels: filled(u32::MAX)?,
            previous: filled(0)?,
            order: filled(0)?,
            starts,
            sums: Sums::new(job.lists, run.dims)?,
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
        self.starts[list + 1] - self.starts[list]
    }

    /// What is to be assigned next.
    fn part(&mut self) -> Part<'_> {
        std::mem::swap(&mut self.labels, &mut self.previous);
        Part {
            rows: self.job.rows,
            centroids: &self.centroids,
            labels: &mut self.labels,
        }
    }

    /// Moves the centroids, after iteration number `iteration` has assigned the rows.
    fn improve(&mut self, run: &mut Run<'_, '_>, iteration: usize) -> Result<()> {
        self.iterations_left -= 1;
        self.sort_by_list();
        let changes = self.labels.iter().zip(&self.previous);
        let moved = changes.filter(|(now, before)| now != before).count();
        let now = self.update(run)?;
        let repaired = if self.iterations_left == 0 {
            0
        } else {
            self.repair(run, iteration < BALANCING)
        };
        let still = moved as f64 <= MOVED_SHARE * self.labels.len() as f64;
        let flat = self.inertia - now <= INERTIA_GAIN * self.inertia.min(f64::MAX);
        self.inertia = now;
        if repaired == 0 && iteration > 0 && (still || flat) {
            self.iterations_left = 0;
        }
        Ok(())
    }

    fn sort_by_list(&mut self) {
        self.starts.fill(0);
        for label in &self.labels {
            self.starts[index(*label) + 1] += 1;
        }
        for list in 0..self.job.lists {
            self.starts[list + 1] += self.starts[list];
        }
        let mut ends = self.starts.clone();
        for (place, label) in (0u32..).zip(&self.labels) {
            let end = &mut ends[index(*label)];
            self.order[*end] = place;
            *end += 1;
        }
    }

    /// Moves every centroid to the mean of its rows, and returns the inertia: the sum of squared distances from it
    /// (of directions from their mean, for `Dot`). An empty list keeps its centroid.
    fn update(&mut self, run: &mut Run<'_, '_>) -> Result<f64> {
        let dims = self.dims;
        self.sums.follow(
            run,
            self.job.rows,
            [&self.previous, &self.labels],
            &self.starts,
            &self.order,
        )?;
        let mut inertia = match self.by {
            NearestBy::L2 => {
                let norms = self.job.rows.iter().map(|number| run.norms[index(*number)]);
                norms.map(|norm| norm * norm).sum()
            }
            NearestBy::Dot => self.job.rows.len() as f64,
        };
        for (list, centroid) in self.centroids.chunks_exact_mut(dims).enumerate() {
            let count = (self.starts[list + 1] - self.starts[list]) as f64;
            if count == 0.0 {
                continue;
            }
            let (sums, square) = self.sums.of(list);
            let divisor = match self.by {
                NearestBy::L2 => count,
                NearestBy::Dot if square > 0.0 => square.sqrt(),
                // Directions that cancel have no mean direction: keep the centroid.
                NearestBy::Dot => continue,
            };
            inertia -= square / divisor;
            for (x, sum) in centroid.iter_mut().zip(sums) {
                *x = rounded(sum / divisor);
            }
        }
        Ok(inertia.max(0.0))
    }

    /// Gives each empty list, and, when `balance` is set, small lists while there are large ones, half of the largest
    /// list. Returns how many it gave.
    fn repair(&mut self, run: &Run<'_, '_>, balance: bool) -> usize {
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
                    Some((size, list)) if self.split(run, list.0, taker) => {
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
    fn split(&mut self, run: &Run<'_, '_>, list: usize, taker: usize) -> bool {
        let dims = self.dims;
        let members = &self.order[self.starts[list]..self.starts[list + 1]];
        let centre = self.centroids[list * dims..][..dims].to_vec();
        let direction = |row: &[f32]| -> Vec<f64> {
            let scale = match self.by {
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
        let mut member = || run.row(self.job.rows[index(members[random.below(members.len())])]);
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
            if self.by == NearestBy::Dot && !normalise(target) {
                target.copy_from_slice(&centre);
            }
        }
        true
    }
}
