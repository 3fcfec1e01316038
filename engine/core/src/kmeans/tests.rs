//! Quality, determinism and the awkward inputs of k-means.

use super::seeding::{apportion, plus_plus};
use super::sums::Sums;
use super::*;
use crate::backend::holding::Holding;
use crate::cpu::{CpuBackend, Kernels};
use crate::distance;

fn run(task: &KmeansTask<'_>) -> Vec<f32> {
    let mut last = 0.0;
    let mut progress = |share: f32| {
        assert!((last..=1.0).contains(&share), "{last} {share}");
        last = share;
    };
    let centroids = kmeans(
        &mut CpuBackend::new(),
        Crew::ALONE,
        task,
        &mut progress,
        &mut || true,
    )
    .expect("kmeans");
    assert_eq!(last, 1.0);
    assert_eq!(centroids.len(), task.lists * task.dims);
    assert!(centroids.iter().all(|x| x.is_finite()));
    if task.by == NearestBy::Dot {
        for centroid in centroids.chunks(task.dims) {
            assert!((norm(centroid) - 1.0).abs() < 1e-6);
        }
    }
    centroids
}

fn task(samples: &[f32], dims: usize, lists: usize, by: NearestBy) -> KmeansTask<'_> {
    KmeansTask {
        samples,
        dims,
        lists,
        by,
        seed: 42,
        max_iterations: 20,
    }
}

/// `count` rows around each of `clusters` random centres, in turn.
fn clustered(clusters: usize, count: usize, dims: usize, spread: f64) -> (Vec<f32>, Vec<f32>) {
    let mut random = Random::new(9);
    let centres: Vec<f32> = (0..clusters * dims).map(|_| rounded(random.normal())).collect();
    let rows = (0..count * clusters * dims)
        .map(|i| rounded(f64::from(centres[i % (clusters * dims)]) + spread * random.normal()))
        .collect();
    (centres, rows)
}

fn labels(centroids: &[f32], task: &KmeansTask<'_>) -> Vec<usize> {
    let mut labels = vec![0; task.samples.len() / task.dims];
    let mut nearest = CpuBackend::new()
        .nearest(centroids, task.dims, task.by, &mut || true)
        .expect("nearest");
    nearest
        .assign(task.samples, &mut labels, &mut || true)
        .expect("assign");
    labels.into_iter().map(index).collect()
}

fn sizes(centroids: &[f32], task: &KmeansTask<'_>) -> Vec<usize> {
    let mut sizes = vec![0; task.lists];
    for label in labels(centroids, task) {
        sizes[label] += 1;
    }
    sizes
}

fn inertia(centroids: &[f32], task: &KmeansTask<'_>) -> f64 {
    let rows = task.samples.chunks(task.dims).zip(labels(centroids, task));
    rows.map(|(row, label)| distance::l2(row, &centroids[label * task.dims..][..task.dims]).powi(2))
        .sum()
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn separate_clusters_are_found() {
    for by in [NearestBy::L2, NearestBy::Dot] {
        let (centres, rows) = clustered(30, 40, 16, 0.05);
        let task = task(&rows, 16, 30, by);
        let centroids = run(&task);
        for centre in centres.chunks(16) {
            let mut centre = centre.to_vec();
            if by == NearestBy::Dot {
                normalise(&mut centre);
            }
            let near = centroids
                .chunks(16)
                .map(|c| distance::l2(&centre, c))
                .fold(f64::INFINITY, f64::min);
            assert!(near < 0.1, "{by:?} {near}");
        }
        assert!(sizes(&centroids, &task).iter().all(|size| *size == 40));
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn a_seed_determines_the_centroids_on_every_instruction_set_with_fused_kernels() {
    let (_, rows) = clustered(7, 100, 20, 1.0);
    let task = task(&rows, 20, 25, NearestBy::L2);
    let first = run(&task);
    assert_eq!(first, run(&task));
    assert_ne!(first, run(&KmeansTask { seed: 43, ..task }));
    for kernels in Kernels::all_supported() {
        if kernels.name() != "scalar" {
            let mut backend = CpuBackend::with_kernels(kernels);
            let other = kmeans(&mut backend, Crew::ALONE, &task, &mut |_| (), &mut || true).expect("kmeans");
            assert_eq!(first, other, "{}", kernels.name());
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn iterations_lower_the_inertia_and_no_list_is_empty_or_huge() {
    let (_, rows) = clustered(300, 20, 8, 0.7);
    let start = KmeansTask {
        max_iterations: 0,
        ..task(&rows, 8, 100, NearestBy::L2)
    };
    let before = inertia(&run(&start), &start);
    let task = KmeansTask {
        max_iterations: 20,
        ..start
    };
    let centroids = run(&task);
    assert!(inertia(&centroids, &task) < 0.9 * before);
    let sizes = sizes(&centroids, &task);
    assert!(sizes.iter().all(|size| (1..60 * 4).contains(size)), "{sizes:?}");
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn lists_of_very_uneven_samples_stay_balanced() {
    // Most rows in one cloud, a few far away: k-means alone would spend lists on the few.
    let mut random = Random::new(3);
    let mut rows: Vec<f32> = (0..4000 * 4).map(|_| rounded(random.normal())).collect();
    rows.extend((0..40 * 4).map(|i| 100.0 * (i % 40 + 1) as f32));
    let task = task(&rows, 4, 40, NearestBy::L2);
    let sizes = sizes(&run(&task), &task);
    assert!(sizes.iter().max() <= Some(&600), "{sizes:?}");
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn many_lists_are_found_in_two_levels() {
    for by in [NearestBy::L2, NearestBy::Dot] {
        let (_, rows) = clustered(1500, 8, 12, 0.1);
        let task = task(&rows, 12, 1500, by);
        let centroids = run(&task);
        let sizes = sizes(&centroids, &task);
        let empty = sizes.iter().filter(|size| **size == 0).count();
        assert!(
            empty < 30 && sizes.iter().max() <= Some(&80),
            "{by:?} {empty} {:?}",
            sizes.iter().max()
        );
        if by == NearestBy::L2 {
            // 12,000 rows whose squared distance from their centre is 12 * 0.01 on average.
            let inertia = inertia(&centroids, &task);
            assert!(inertia < 3.0 * 12_000.0 * 0.12, "{inertia}");
        }
    }
}

#[test]
fn fewer_rows_than_lists_become_centroids_themselves() {
    let rows = [1.0, 0.0, 0.0, 2.0, 1.0, 0.0, -3.0, 0.0];
    let centroids = run(&task(&rows, 2, 9, NearestBy::L2));
    assert_eq!(centroids[..6], [1.0, 0.0, 0.0, 2.0, -3.0, 0.0]);
    let mut distinct: Vec<&[f32]> = centroids.chunks(2).collect();
    distinct.sort_by(|a, b| a.partial_cmp(b).expect("finite"));
    distinct.dedup();
    assert_eq!(distinct.len(), 9);
    let directions = run(&task(&rows, 2, 9, NearestBy::Dot));
    assert_eq!(directions[..6], [1.0, 0.0, 0.0, 1.0, -1.0, 0.0]);
}

#[test]
fn no_rows_give_random_directions() {
    for by in [NearestBy::L2, NearestBy::Dot] {
        let centroids = run(&task(&[], 5, 4, by));
        assert!(centroids.chunks(5).all(|c| (norm(c) - 1.0).abs() < 1e-6));
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn equal_rows_and_zero_rows_are_clustered() {
    for by in [NearestBy::L2, NearestBy::Dot] {
        for value in [3.5, 0.0] {
            let rows = vec![value; 6 * 500];
            let centroids = run(&task(&rows, 6, 10, by));
            let exact = run(&task(&rows[..6], 6, 1, by));
            assert!(
                value == 0.0 && by == NearestBy::Dot || centroids.chunks(6).any(|c| c == exact),
                "{by:?} {value}"
            );
        }
        let few: Vec<f32> = (0..1000 * 3).map(|i| f32::from((i / 3) % 4 == i % 3)).collect();
        run(&task(&few, 3, 20, by));
    }
    let many: Vec<f32> = vec![1.0; 3000 * 2];
    run(&task(&many, 2, 1100, NearestBy::L2));
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn values_whose_squares_leave_f32_are_clustered_like_any_other() {
    let (_, rows) = clustered(5, 30, 4, 0.01);
    let expected = run(&task(&rows, 4, 5, NearestBy::L2));
    for power in [100, -100, 120, -120] {
        let factor = 2f32.powi(power);
        let scaled: Vec<f32> = rows.iter().map(|x| x * factor).collect();
        let got = run(&task(&scaled, 4, 5, NearestBy::L2));
        for (got, expected) in got.iter().zip(&expected) {
            assert!(
                (got / factor - expected).abs() < 1e-4,
                "{power}: {got} {expected}"
            );
        }
        run(&task(&scaled, 4, 5, NearestBy::Dot));
    }
    run(&task(&[f32::MAX; 40], 2, 3, NearestBy::L2));
    let mixed: Vec<f32> = (0..200)
        .map(|i| {
            if i % 3 == 0 {
                f32::MAX
            } else {
                f32::MIN_POSITIVE / 8.0
            }
        })
        .collect();
    run(&task(&mixed, 2, 7, NearestBy::L2));
    run(&task(&mixed, 2, 7, NearestBy::Dot));
}

#[test]
fn rows_that_are_not_finite_are_left_out() {
    let mut rows: Vec<f32> = (0..100).map(|i| i as f32).collect();
    rows[11] = f32::NAN;
    rows[20] = f32::INFINITY;
    run(&task(&rows, 2, 5, NearestBy::L2));
    run(&task(&rows, 2, 5, NearestBy::Dot));
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn shapes_that_do_not_fit_are_refused_and_work_stops_on_request() {
    for (samples, dims, lists) in [
        (&[1.0; 3][..], 2, 1),
        (&[1.0; 4][..], 0, 1),
        (&[1.0; 4][..], 2, 0),
    ] {
        let refused = kmeans(
            &mut CpuBackend::new(),
            Crew::ALONE,
            &task(samples, dims, lists, NearestBy::L2),
            &mut |_| (),
            &mut || true,
        );
        assert_eq!(refused.expect_err("shape").kind(), ErrorKind::InvalidArgument);
    }
    let (_, rows) = clustered(5, 100, 4, 0.5);
    for allowed in [0, 1, 8, 15] {
        let mut calls = 0;
        let stopped = kmeans(
            &mut CpuBackend::new(),
            Crew::ALONE,
            &task(&rows, 4, 20, NearestBy::L2),
            &mut |_| (),
            &mut || {
                calls += 1;
                calls <= allowed
            },
        );
        assert_eq!(stopped.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn memory_is_told_or_refused() {
    let bytes = kmeans_memory_bytes(12_250, 784, 245).expect("fits");
    assert!(
        (12_250 * 784 * 4..12_250 * 784 * 4 * 2).contains(&bytes),
        "{bytes}"
    );
    assert_eq!(kmeans_memory_bytes(usize::MAX / 8, 16_000, 100), None);
}

#[test]
fn seats_are_apportioned_in_full() {
    assert_eq!(apportion(&[10, 20, 70], 10), [1, 2, 7]);
    assert_eq!(apportion(&[1, 1, 1], 4).iter().sum::<usize>(), 4);
    assert_eq!(apportion(&[0, 5], 3), [0, 3]);
    assert_eq!(apportion(&[0, 0], 3).iter().sum::<usize>(), 3);
}

#[test]
#[cfg_attr(miri, ignore = "millions of multiply-adds of kernels that other tests check")]
fn rows_that_a_device_holds_or_loses_are_clustered_as_rows_that_are_sent_by_however_many_threads() {
    let (_, rows) = clustered(900, 8, 12, 0.5);
    for (by, lists) in [(NearestBy::L2, 40), (NearestBy::L2, 700), (NearestBy::Dot, 700)] {
        let task = task(&rows, 12, lists, by);
        let sent = run(&task);
        for assignments in [0, 1, 3, 12, usize::MAX] {
            let fails_with = ErrorKind::OutOfMemory;
            let mut backend = Holding {
                assignments,
                fails_with,
            };
            let crew = Crew::new(assignments.clamp(1, 5), || Box::new(()));
            let held = kmeans(&mut backend, crew, &task, &mut |_| (), &mut || true).expect("kmeans");
            assert_eq!(held, sent, "{by:?} {lists} {assignments}");
        }
        let mut backend = Holding {
            assignments: 2,
            fails_with: ErrorKind::Cancelled,
        };
        let stopped = kmeans(&mut backend, Crew::ALONE, &task, &mut |_| (), &mut || true);
        assert_eq!(stopped.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    }
}

#[test]
#[cfg_attr(miri, ignore = "draws many times")]
fn seeds_drawn_together_have_the_chances_of_seeds_drawn_one_after_the_other() {
    const DRAWS: u64 = 40_000;
    let samples = [0.0f32, 1.0, 3.0, 7.0, 7.5];
    let mut counts = std::collections::BTreeMap::new();
    let clustered = Samples {
        values: &samples,
        norms: &samples.map(f64::from),
        dims: 1,
        by: NearestBy::L2,
    };
    for seed in 0..DRAWS {
        let mut job = Job {
            rows: &[0, 1, 2, 3, 4],
            lists: 3,
            random: Random::new(seed),
        };
        let seeds = plus_plus(clustered, &mut job, &mut || true).expect("seeds");
        let place = |x: &f32| samples.iter().position(|y| x == y).expect("a row");
        let places: Vec<usize> = seeds.iter().map(place).collect();
        *counts.entry(places).or_insert(0.0) += 1.0;
    }
    let chances = |before: &[f32]| -> Vec<f64> {
        let square = |x: &f32| {
            before
                .iter()
                .map(|y| (x - y).powi(2))
                .fold(f32::INFINITY, f32::min)
        };
        let squares: Vec<f64> = samples.iter().map(|x| f64::from(square(x))).collect();
        let total: f64 = squares.iter().sum();
        squares.iter().map(|square| square / total).collect()
    };
    let mut seen = 0.0;
    for a in 0..5 {
        for (b, chance_b) in chances(&[samples[a]]).into_iter().enumerate() {
            for (c, chance_c) in chances(&[samples[a], samples[b]]).into_iter().enumerate() {
                let expected = DRAWS as f64 * 0.2 * chance_b * chance_c;
                let count: f64 = counts.get(&vec![a, b, c]).copied().unwrap_or(0.0);
                // Five standard deviations.
                assert!(
                    (count - expected).abs() <= 5.0 * expected.sqrt(),
                    "{a} {b} {c}: {count} {expected}"
                );
                seen += count;
            }
        }
    }
    assert_eq!(seen, DRAWS as f64);
}

#[test]
fn sums_that_follow_the_labels_are_those_of_the_rows() {
    let (dims, n, lists) = (5, 60, 4);
    let mut random = Random::new(11);
    let mut samples: Vec<f32> = (0..n * dims).map(|_| rounded(random.normal())).collect();
    // What it leaves behind when it goes would drown the others.
    samples[..dims].fill(1e15);
    let norms: Vec<f64> = samples.chunks_exact(dims).map(norm).collect();
    let samples = Samples {
        values: &samples,
        norms: &norms,
        dims,
        by: NearestBy::L2,
    };
    let rows: Vec<u32> = (0u32..).take(n).collect();
    let mut now: Vec<u32> = (0..4).cycle().take(n).collect();
    let mut before: [Vec<u32>; 4] = Default::default();
    let mut sums = Sums::new(lists, dims).expect("memory");
    for step in 0..50 {
        for (first, mut part) in (0..).step_by(3).zip(sums.parts_mut(3)) {
            for (i, list) in (first..lists).take(3).enumerate() {
                let of_list = |place: &u32| now[index(*place)] as usize == list;
                let members: Vec<u32> = rows.iter().copied().filter(of_list).collect();
                let came = part.follow(i, samples, &rows, [&before[list], &members]);
                let new = members.iter().filter(|place| !before[list].contains(place));
                assert_eq!(came, new.count());
                let (got, square) = part.of(i);
                let mut mass = 0.0;
                let mut want = vec![0.0; dims];
                for place in &members {
                    mass += norms[index(*place)];
                    add_row(&mut want, samples.row(*place));
                }
                for (got, want) in got.iter().zip(&want) {
                    assert!((got - want).abs() <= 1e-12 * mass, "{step} {list}: {got} {want}");
                }
                let exact: f64 = want.iter().map(|sum| sum * sum).sum();
                assert!((square - exact).abs() <= 1e-11 * mass * mass);
                before[list] = members;
            }
        }
        for _ in 0..random.below(6) {
            now[random.below(n)] = [0, 1, 2, 3][random.below(if step < 40 { 4 } else { 2 })];
        }
    }
}

fn add_row(sums: &mut [f64], row: &[f32]) {
    sums.iter_mut()
        .zip(row)
        .for_each(|(sum, x)| *sum += f64::from(*x));
}
