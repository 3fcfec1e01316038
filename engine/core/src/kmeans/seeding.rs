//! Where the iterations start: k-means++, two levels of it, or the rows themselves.

use std::cmp::Ordering;

use super::{FLAT_LISTS, Job, Run, Samples, buffer, index, normalise, poll, rounded};
use crate::backend::{KeepWaiting, NearestBy, Part};
use crate::cpu::kernels;
use crate::distance::l2_squared;
use crate::error::Result;
use crate::metric::{Element, Score};
use crate::random::Random;

/// Rows of a subsample for each seed that k-means++ draws from it.
const ROWS_PER_SEED: usize = 8;
/// Rows that the upper of two levels looks at, for each of its lists.
const ROWS_PER_UPPER_LIST: usize = 64;
/// Of all rows, the part that a cluster of the upper level has to exceed to be clustered by some of its rows: a few clusters that hold
/// nearly all would take as long as one level does.
const OUTSIZED_PART: usize = 4;
/// Seeds that are drawn at a time.
const TOGETHER: usize = 8;
/// Bytes of rows, and rows, that are compared with all of those while they are in the first-level cache.
const CACHED_BYTES: usize = 24 << 10;
const CACHED_ROWS: usize = 64;
/// How far a made-up centroid lies from its row, relative to the largest element.
const PERTURBATION: f64 = 1.0 / 128.0;

/// Most rows that [`plus_plus`] draws `lists` seeds from.
pub(super) fn subsample_rows(lists: usize) -> usize {
    lists.saturating_mul(ROWS_PER_SEED).max(1024)
}

/// The distinct rows, then rows moved a little, until there are enough; random directions when there is no row.
pub(super) fn distinct_rows(samples: Samples<'_>, job: &mut Job<'_>) -> Result<Vec<f32>> {
    let rows: Vec<&[f32]> = {
        let mut rows = buffer(job.rows.len())?;
        rows.extend(job.rows.iter().map(|number| samples.row(*number)));
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
    let mut centroids = buffer(job.lists.saturating_mul(samples.dims))?;
    for row in order {
        push(&mut centroids, rows[row], samples.by);
    }
    fill(samples, job, &mut centroids);
    Ok(centroids)
}

/// Seeds drawn one after the other, each with a chance in proportion to its squared distance from those before.
///
/// Several are drawn from the same chances, and compared with the rows in one pass. Each is then kept with the share of its chance that
/// those kept before it in the pass have left it: so it has the chance that it would have if it had been drawn after them.
pub(super) fn plus_plus(
    samples: Samples<'_>,
    job: &mut Job<'_>,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<f32>> {
    let (wanted, dims) = (job.lists.min(FLAT_LISTS), samples.dims);
    let count = job.rows.len().min(subsample_rows(wanted));
    let subsample = subsample(job.rows, count, &mut job.random)?;
    let mut rows = buffer(subsample.len().saturating_mul(dims))?;
    for number in &subsample {
        push(&mut rows, samples.row(*number), samples.by);
    }
    let row = |number: usize| &rows[number * dims..][..dims];
    let mut centroids = buffer(job.lists.saturating_mul(dims))?;
    let mut nearest: Vec<f32> = buffer(subsample.len())?;
    nearest.resize(subsample.len(), f32::INFINITY);
    let mut kept = vec![row(job.random.below(subsample.len()))];
    let mut found = 0;
    loop {
        found += kept.len();
        centroids.extend(kept.iter().copied().flatten());
        if found == wanted {
            break;
        }
        poll(keep_waiting)?;
        approach(&mut nearest, &rows, &kept);
        let total: f64 = nearest.iter().copied().map(f64::from).sum();
        if total <= 0.0 {
            break;
        }
        kept.clear();
        for _ in 0..TOGETHER.min(wanted - found) {
            let drawn = draw(&nearest, job.random.unit() * total);
            let squares = kept.iter().map(|seed| l2_squared(seed, row(drawn)));
            let left = squares.fold(nearest[drawn], f32::min);
            if job.random.unit() * f64::from(nearest[drawn]) < f64::from(left) {
                kept.push(row(drawn));
            }
        }
    }
    fill(samples, job, &mut centroids);
    Ok(centroids)
}

/// Lowers the squared distance of each row from its nearest seed to those from `seeds`; a few rows at a time, which stay in the cache.
fn approach(nearest: &mut [f32], rows: &[f32], seeds: &[&[f32]]) {
    let dims = rows.len() / nearest.len();
    let together = (CACHED_BYTES / (dims * size_of::<f32>())).clamp(1, CACHED_ROWS);
    let mut squares = [0.0; CACHED_ROWS];
    for (nearest, rows) in nearest.chunks_mut(together).zip(rows.chunks(together * dims)) {
        let squares = &mut squares[..nearest.len()];
        for seed in seeds {
            let rows = bytemuck::cast_slice(rows);
            kernels().block(Score::SquaredL2, Element::F32, seed, rows, squares);
            for (nearest, square) in nearest.iter_mut().zip(&*squares) {
                *nearest = nearest.min(*square);
            }
        }
    }
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

/// `count` of `rows` drawn without replacement, in their order.
fn subsample(rows: &[u32], count: usize, random: &mut Random) -> Result<Vec<u32>> {
    let mut drawn = buffer(count)?;
    for (i, row) in rows.iter().enumerate() {
        // Selection sampling: each row with the chance wanted / remaining.
        if random.below(rows.len() - i) < count - drawn.len() {
            drawn.push(*row);
        }
    }
    Ok(drawn)
}

fn push(rows: &mut Vec<f32>, row: &[f32], by: NearestBy) {
    let start = rows.len();
    rows.extend_from_slice(row);
    if by == NearestBy::Dot {
        normalise(&mut rows[start..]);
    }
}

/// Appends centroids until there are `lists`: known ones moved a little, so that rows yet to come can tell them apart.
fn fill(samples: Samples<'_>, job: &mut Job<'_>, centroids: &mut Vec<f32>) {
    let (dims, random) = (samples.dims, &mut job.random);
    let known = centroids.len() / dims;
    let largest = centroids.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let spread = if largest > 0.0 {
        f64::from(largest) * PERTURBATION
    } else {
        1.0
    };
    for _ in known..job.lists {
        let start = centroids.len();
        if known == 0 {
            centroids.extend((0..dims).map(|_| rounded(random.normal())));
            normalise(&mut centroids[start..]);
            continue;
        }
        let origin = random.below(known) * dims;
        for i in 0..dims {
            let moved = f64::from(centroids[origin + i]) + spread * random.normal();
            centroids.push(rounded(moved).clamp(f32::MIN, f32::MAX));
        }
        if samples.by == NearestBy::Dot {
            normalise(&mut centroids[start..]);
        }
    }
}

/// Clusters a part of the rows into about the square root of `lists`, then the rows of each cluster into its share.
pub(super) fn two_levels(
    run: &mut Run<'_, '_>,
    job: &mut Job<'_>,
    level: usize,
    share: (f32, f32),
) -> Result<Vec<f32>> {
    let rows = job.rows;
    let upper_lists = job.lists.isqrt();
    let (from, to) = share;
    let middle = from + 0.2 * (to - from);
    let upper_rows = subsample(
        rows,
        rows.len().min(upper_lists * ROWS_PER_UPPER_LIST),
        &mut job.random,
    )?;
    let upper = Job {
        rows: &upper_rows,
        lists: upper_lists,
        random: job.random.fork(),
    };
    let upper = run.cluster(vec![upper], level + 1, (from, middle))?.concat();
    let mut labels: Vec<u32> = buffer(rows.len())?;
    labels.resize(rows.len(), 0);
    run.assign(&mut [Part {
        rows,
        centroids: &upper,
        labels: &mut labels,
    }])?;
    let clusters = by_label(rows, &labels, upper_lists, &mut job.random)?;
    let sizes: Vec<usize> = clusters.iter().map(Vec::len).collect();
    let jobs = clusters.iter().zip(apportion(&sizes, job.lists));
    let jobs = jobs.filter(|(_, lists)| *lists > 0).map(|(rows, lists)| Job {
        rows,
        lists,
        random: job.random.fork(),
    });
    let jobs = jobs.collect();
    Ok(run.cluster(jobs, level + 1, (middle, to))?.concat())
}

/// The rows of each cluster, or a random part of them where it holds an outsized part of all rows.
fn by_label(rows: &[u32], labels: &[u32], clusters: usize, random: &mut Random) -> Result<Vec<Vec<u32>>> {
    let mut sizes = vec![0; clusters];
    for label in labels {
        sizes[index(*label)] += 1;
    }
    let mut found = sizes
        .iter()
        .map(|size| buffer(*size))
        .collect::<Result<Vec<_>>>()?;
    for (row, label) in rows.iter().zip(labels) {
        found[index(*label)].push(*row);
    }
    let most = (rows.len() / OUTSIZED_PART).max(1);
    for rows in found.iter_mut().filter(|rows| rows.len() > most) {
        *rows = subsample(rows, most, random)?;
    }
    Ok(found)
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
