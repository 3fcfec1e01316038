//! Lloyd's iterations, with lists kept from becoming empty or far larger than the others.

use std::collections::BinaryHeap;

use super::seeding::index;
use super::{KmeansTask, Run, buffer, normalise, rounded};
use crate::backend::NearestBy;
use crate::distance::norm;
use crate::error::Result;
use crate::random::Random;

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

/// Elements summed between two calls of the keep-waiting closure: about a millisecond.
const POLL_ELEMENTS: usize = 1 << 20;

/// Improves `centroids` in at most `max_iterations` iterations; reports progress inside `share` of the whole.
pub(super) fn iterate(
    run: &mut Run<'_, '_>,
    task: &KmeansTask<'_>,
    centroids: Vec<f32>,
    random: &mut Random,
    max_iterations: usize,
    share: (f32, f32),
) -> Result<Vec<f32>> {
    let mut state = State::new(task, centroids)?;
    let mut inertia = f64::INFINITY;
    for iteration in 0..max_iterations {
        run.poll()?;
        let done = iteration as f32 / max_iterations as f32;
        (run.progress)(share.0 + (share.1 - share.0) * done);
        let moved = state.assign(run)?;
        let now = state.update(run)?;
        let last = iteration + 1 == max_iterations;
        let repaired = if last {
            0
        } else {
            state.repair(random, iteration < BALANCING)
        };
        let still = moved as f64 <= MOVED_SHARE * state.rows() as f64;
        let flat = inertia - now <= INERTIA_GAIN * inertia.min(f64::MAX);
        inertia = now;
        if repaired == 0 && iteration > 0 && (still || flat) {
            break;
        }
    }
    Ok(state.centroids)
}

struct State<'a> {
    task: KmeansTask<'a>,
    /// `[lists, dims]`.
    centroids: Vec<f32>,
    labels: Vec<u32>,
    previous: Vec<u32>,
    /// Of the rows, which every iteration asks for.
    norms: Vec<f64>,
    /// Row numbers by list, ascending inside each; list `i` holds `order[starts[i]..starts[i + 1]]`.
    order: Vec<u32>,
    starts: Vec<usize>,
}

impl<'a> State<'a> {
    fn new(task: &KmeansTask<'a>, centroids: Vec<f32>) -> Result<Self> {
        let n = task.samples.len() / task.dims;
        let filled = |value: u32| -> Result<Vec<u32>> {
            let mut rows = buffer(n)?;
            rows.resize(n, value);
            Ok(rows)
        };
        let mut starts = buffer(task.lists + 1)?;
        starts.resize(task.lists + 1, 0);
        let mut norms = buffer(n)?;
        norms.extend(task.samples.chunks_exact(task.dims).map(norm));
        Ok(Self {
            task: *task,
            centroids,
            labels: filled(0)?,
            previous: filled(u32::MAX)?,
            norms,
            order: filled(0)?,
            starts,
        })
    }

    fn rows(&self) -> usize {
        self.labels.len()
    }

    fn row(&self, number: u32) -> &'a [f32] {
        &self.task.samples[index(number) * self.task.dims..][..self.task.dims]
    }

    fn size(&self, list: usize) -> usize {
        self.starts[list + 1] - self.starts[list]
    }

    /// Labels every row, and returns how many changed.
    fn assign(&mut self, run: &mut Run<'_, '_>) -> Result<usize> {
        std::mem::swap(&mut self.labels, &mut self.previous);
        let mut nearest =
            run.backend
                .nearest(&self.centroids, self.task.dims, self.task.by, run.keep_waiting)?;
        nearest.assign(self.task.samples, &mut self.labels, run.keep_waiting)?;
        drop(nearest);
        self.sort_by_list();
        Ok(self
            .labels
            .iter()
            .zip(&self.previous)
            .filter(|(now, before)| now != before)
            .count())
    }

    fn sort_by_list(&mut self) {
        self.starts.fill(0);
        for label in &self.labels {
            self.starts[index(*label) + 1] += 1;
        }
        for list in 0..self.task.lists {
            self.starts[list + 1] += self.starts[list];
        }
        let mut ends = self.starts.clone();
        for (row, label) in (0u32..).zip(&self.labels) {
            let end = &mut ends[index(*label)];
            self.order[*end] = row;
            *end += 1;
        }
    }

    /// Moves every centroid to the mean of its rows, and returns the inertia: the sum of squared distances from it
    /// (of directions from their mean, for `Dot`). An empty list keeps its centroid.
    fn update(&mut self, run: &mut Run<'_, '_>) -> Result<f64> {
        let dims = self.task.dims;
        let mut sums = vec![0.0f64; dims];
        let mut inertia = 0.0;
        let mut elements = 0;
        for list in 0..self.task.lists {
            let members = &self.order[self.starts[list]..self.starts[list + 1]];
            if members.is_empty() {
                continue;
            }
            sums.fill(0.0);
            for number in members {
                let row = self.row(*number);
                let norm = self.norms[index(*number)];
                inertia += match self.task.by {
                    NearestBy::L2 => norm * norm,
                    NearestBy::Dot => 1.0,
                };
                let weight = match self.task.by {
                    NearestBy::Dot if norm > 0.0 => 1.0 / norm,
                    _ => 1.0,
                };
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*x) * weight;
                }
                elements += dims;
                if elements >= POLL_ELEMENTS {
                    elements = 0;
                    run.poll()?;
                }
            }
            let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
            let count = members.len() as f64;
            let divisor = match self.task.by {
                NearestBy::L2 => count,
                NearestBy::Dot if length > 0.0 => length,
                // Directions that cancel have no mean direction: keep the centroid.
                NearestBy::Dot => continue,
            };
            inertia -= length * length
                / if self.task.by == NearestBy::L2 {
                    count
                } else {
                    length
                };
            for (x, sum) in self.centroids[list * dims..][..dims].iter_mut().zip(&sums) {
                *x = rounded(sum / divisor);
            }
        }
        Ok(inertia.max(0.0))
    }

    /// Gives each empty list, and, when `balance` is set, small lists while there are large ones, half of the largest
    /// list. Returns how many it gave.
    fn repair(&mut self, random: &mut Random, balance: bool) -> usize {
        let lists = self.task.lists;
        let average = self.rows() as f64 / lists as f64;
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
                    Some((size, list)) if self.split(list.0, taker, random) => break Some((size, list)),
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
    fn split(&mut self, list: usize, taker: usize, random: &mut Random) -> bool {
        let dims = self.task.dims;
        let members = &self.order[self.starts[list]..self.starts[list + 1]];
        let centre = self.centroids[list * dims..][..dims].to_vec();
        let direction = |row: &[f32]| -> Vec<f64> {
            let scale = match self.task.by {
                NearestBy::L2 => 1.0,
                NearestBy::Dot => 1.0 / norm(row),
            };
            row.iter()
                .zip(&centre)
                .map(|(x, c)| f64::from(*x) * scale - f64::from(*c))
                .collect()
        };
        let length = |way: &[f64]| way.iter().map(|x| x * x).sum::<f64>();
        let farthest = (0..SPLIT_TRIES)
            .map(|_| direction(self.row(members[random.below(members.len())])))
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
            if self.task.by == NearestBy::Dot && !normalise(target) {
                target.copy_from_slice(&centre);
            }
        }
        true
    }
}
