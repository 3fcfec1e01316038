//! Where the iterations start: k-means++, two levels of it, or the rows themselves.

use std::cmp::Ordering;

use super::{FLAT_LISTS, KmeansTask, Run, buffer, normalise, rounded};
use crate::backend::{Backend, NearestBy, RowBlock};
use crate::cpu::CpuBackend;
use crate::error::Result;
use crate::metric::{Element, Score};
use crate::random::Random;

/// Rows of a subsample for each seed that k-means++ draws from it.
const ROWS_PER_SEED: usize = 8;
/// Rows that the upper of two levels looks at, for each of its lists.
const ROWS_PER_UPPER_LIST: usize = 64;
/// The lower level takes at most this part of the samples at a time.
pub(super) const GATHER_SHARE: usize = 4;
/// How far a made-up centroid lies from its row, relative to the largest element.
const PERTURBATION: f64 = 1.0 / 128.0;

/// Most rows that [`plus_plus`] draws `lists` seeds from.
pub(super) fn subsample_rows(lists: usize) -> usize {
    lists.saturating_mul(ROWS_PER_SEED).max(1024)
}

/// The distinct rows, then rows moved a little, until there are enough; random directions when there is no row.
pub(super) fn distinct_rows(task: &KmeansTask<'_>, random: &mut Random) -> Result<Vec<f32>> {
    let rows: Vec<&[f32]> = {
        let mut rows = buffer(task.samples.len() / task.dims)?;
        rows.extend(task.samples.chunks_exact(task.dims));
        rows
    };
    let mut order: Vec<usize> = buffer(rows.len())?;
    order.extend(0..rows.len());
    let by_value = |a: &usize, b: &usize| -> Ordering {
        let different = rows[*a]
            .iter()
            .zip(rows[*b])
            .map(|(a, b)| a.total_cmp(b))
            .find(|order| order.is_ne());
        different.unwrap_or(Ordering::Equal)
    };
    order.sort_by(by_value);
    order.dedup_by(|a, b| by_value(a, b).is_eq());
    order.sort_unstable();
    let mut centroids = buffer(task.lists.saturating_mul(task.dims))?;
    for row in order {
        push(&mut centroids, rows[row], task.by);
    }
    fill(task, &mut centroids, random);
    Ok(centroids)
}

/// Seeds drawn one after the other, each with a chance in proportion to its squared distance from those before.
pub(super) fn plus_plus(
    run: &mut Run<'_, '_>,
    task: &KmeansTask<'_>,
    random: &mut Random,
) -> Result<Vec<f32>> {
    let n = task.samples.len() / task.dims;
    let subsample = subsample(task, n.min(subsample_rows(task.lists.min(FLAT_LISTS))), random)?;
    let rows = subsample.len() / task.dims;
    let block = RowBlock {
        codes: bytemuck::cast_slice(&subsample),
        element: Element::F32,
        dims: task.dims,
    };
    let mut centroids = buffer(task.lists.saturating_mul(task.dims))?;
    let mut nearest: Vec<f32> = buffer(rows)?;
    nearest.resize(rows, f32::INFINITY);
    let mut squares = buffer(rows)?;
    let mut cpu = CpuBackend::new();
    let mut next = random.below(rows);
    for _ in 0..task.lists.min(FLAT_LISTS) {
        let seed = &subsample[next * task.dims..][..task.dims];
        centroids.extend_from_slice(seed);
        squares.clear();
        run.poll()?;
        cpu.score(Score::SquaredL2, seed, block, &mut squares, run.keep_waiting)?;
        let mut total = 0.0;
        for (nearest, square) in nearest.iter_mut().zip(&squares) {
            *nearest = nearest.min(*square);
            total += f64::from(*nearest);
        }
        if total <= 0.0 {
            break;
        }
        next = draw(&nearest, random.unit() * total);
    }
    fill(task, &mut centroids, random);
    Ok(centroids)
}

/// The first index at which the running sum of `weights` exceeds `point`, or the last one with a weight.
fn draw(weights: &[f32], point: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (i, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        sum += f64::from(*weight);
        last = i;
        if sum > point {
            break;
        }
    }
    last
}

/// `count` rows drawn without replacement, in row order, as directions for `Dot`.
fn subsample(task: &KmeansTask<'_>, count: usize, random: &mut Random) -> Result<Vec<f32>> {
    let mut rows = buffer(count.saturating_mul(task.dims))?;
    let n = task.samples.len() / task.dims;
    let mut wanted = count;
    for (i, row) in task.samples.chunks_exact(task.dims).enumerate() {
        // Selection sampling: each row with the chance wanted / remaining.
        if random.below(n - i) < wanted {
            push(&mut rows, row, task.by);
            wanted -= 1;
        }
    }
    Ok(rows)
}

fn push(rows: &mut Vec<f32>, row: &[f32], by: NearestBy) {
    let start = rows.len();
    rows.extend_from_slice(row);
    if by == NearestBy::Dot {
        normalise(&mut rows[start..]);
    }
}

/// Appends centroids until there are `lists`: known ones moved a little, so that rows yet to come can tell them apart.
fn fill(task: &KmeansTask<'_>, centroids: &mut Vec<f32>, random: &mut Random) {
    let known = centroids.len() / task.dims;
    let largest = centroids.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let spread = if largest > 0.0 {
        f64::from(largest) * PERTURBATION
    } else {
        1.0
    };
    for _ in known..task.lists {
        let start = centroids.len();
        if known == 0 {
            centroids.extend((0..task.dims).map(|_| rounded(random.normal())));
            normalise(&mut centroids[start..]);
            continue;
        }
        let origin = random.below(known) * task.dims;
        for i in 0..task.dims {
            let moved = f64::from(centroids[origin + i]) + spread * random.normal();
            centroids.push(rounded(moved).clamp(f32::MIN, f32::MAX));
        }
        if task.by == NearestBy::Dot {
            normalise(&mut centroids[start..]);
        }
    }
}

/// Clusters a part of the rows into about the square root of `lists`, then the rows of each cluster into its share.
pub(super) fn two_levels(
    run: &mut Run<'_, '_>,
    task: &KmeansTask<'_>,
    random: &mut Random,
    level: usize,
    share: (f32, f32),
) -> Result<Vec<f32>> {
    let n = task.samples.len() / task.dims;
    let upper_lists = task.lists.isqrt();
    let (from, to) = share;
    let upper = {
        let rows = subsample(task, n.min(upper_lists * ROWS_PER_UPPER_LIST), random)?;
        let upper = KmeansTask {
            samples: &rows,
            lists: upper_lists,
            ..*task
        };
        run.cluster(&upper, random, level + 1, (from, from + 0.2 * (to - from)))?
    };
    let mut labels: Vec<u32> = buffer(n)?;
    labels.resize(n, 0);
    run.backend
        .nearest(&upper, task.dims, task.by, run.keep_waiting)?
        .assign(task.samples, &mut labels, run.keep_waiting)?;
    let mut sizes = vec![0usize; upper_lists];
    for label in &labels {
        sizes[index(*label)] += 1;
    }
    let shares = apportion(&sizes, task.lists);
    let mut centroids = buffer(task.lists.saturating_mul(task.dims))?;
    for (cluster, (size, lists)) in sizes.iter().zip(&shares).enumerate() {
        if *lists == 0 {
            continue;
        }
        let done =
            from + (to - from) * (0.2 + 0.8 * (centroids.len() / task.dims) as f32 / task.lists as f32);
        (run.progress)(done);
        let rows = gather(task, &labels, cluster, *size, n, random)?;
        let lower = KmeansTask {
            samples: &rows,
            lists: *lists,
            ..*task
        };
        centroids.extend(run.cluster(&lower, random, level + 1, (done, done))?);
    }
    Ok(centroids)
}

/// The rows of one cluster, or a random part of them when it holds an outsized part of the samples.
fn gather(
    task: &KmeansTask<'_>,
    labels: &[u32],
    cluster: usize,
    size: usize,
    n: usize,
    random: &mut Random,
) -> Result<Vec<f32>> {
    let mut wanted = size.min(n / GATHER_SHARE);
    let mut remaining = size;
    let mut rows = buffer(wanted.saturating_mul(task.dims))?;
    for (row, label) in task.samples.chunks_exact(task.dims).zip(labels) {
        if index(*label) != cluster {
            continue;
        }
        if random.below(remaining) < wanted {
            rows.extend_from_slice(row);
            wanted -= 1;
        }
        remaining -= 1;
    }
    Ok(rows)
}

/// Splits `seats` in proportion to `sizes` by largest remainders; the sum of the shares is `seats`.
pub(super) fn apportion(sizes: &[usize], seats: usize) -> Vec<usize> {
    let total = sizes.iter().map(|size| *size as u128).sum::<u128>().max(1);
    let quota = |size: &usize| {
        (
            *size as u128 * seats as u128 / total,
            *size as u128 * seats as u128 % total,
        )
    };
    let mut shares: Vec<usize> = sizes
        .iter()
        .map(|size| usize::try_from(quota(size).0).expect("at most seats"))
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(quota(&sizes[*i]).1), *i));
    let left = seats - shares.iter().sum::<usize>();
    for i in order.into_iter().cycle().take(left) {
        shares[i] += 1;
    }
    shares
}

pub(super) fn index(label: u32) -> usize {
    usize::try_from(label).expect("a label fits in memory's index type")
}
