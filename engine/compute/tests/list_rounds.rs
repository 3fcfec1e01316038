//! Searches for many queries in two rounds: with enough rows, most are only compared with the nearest of the first ones.

mod many_hits;
mod support;

use std::rc::Rc;

use many_hits::compare_many;
use support::{Random, engine, engines_and_units, go_on};
use vectorgpu_compute::{CopiedIndex, Engine, EngineBuilder, Feature, IndexCopies, ListCache};
use vectorgpu_core::ivf::copy::{CopiesSearched, ListCopies, ManyHits, Probed};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows, RowCode};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
const DIMS: usize = 5;

/// Copies of lists of these vectors.
fn copies_of(cache: &Rc<ListCache>, metric: Metric, lists: &[Vec<f32>]) -> IndexCopies {
    cache.forget(1);
    let index = CopiedIndex {
        number: 1,
        metric,
        storage: Storage::F32,
        dims: DIMS,
        rows: 1,
        label: "vectorgpu.lists.test",
    };
    let mut copies = IndexCopies::open(cache, index, Box::new(|_| false), &mut go_on).unwrap();
    let mut tid = 0;
    for (number, vectors) in (0..).zip(lists) {
        let mut rows = ListRows::new(metric, Storage::F32, DIMS);
        for vector in vectors.chunks_exact(DIMS) {
            tid += 1;
            let norm_sq = vectorgpu_core::distance::norm_squared(vector);
            rows.push(tid, RowCode::F32(bytemuck::cast_slice(vector)), norm_sq);
        }
        // Room for half of them: the others make a second extent.
        copies.begin(number, rows.len() as u64 / 2, &mut go_on).unwrap();
        copies.append(number, &rows, &mut go_on).unwrap();
        copies.finish(number, Default::default());
    }
    copies
}

/// Checks a search for many queries against one for each.
fn check(copies: &mut IndexCopies, metric: Metric, queries: &[Vec<f32>], lists: Probed<'_>, slack: f32) {
    let queries: Vec<ListQuery<'_>> = queries
        .iter()
        .map(|query| ListQuery::new(metric, query).unwrap())
        .collect();
    let mut alone = ManyHits::default();
    for (number, query) in queries.iter().enumerate() {
        let searched = copies
            .nearest(
                query,
                lists.of(number),
                1 << 20,
                None,
                &mut alone.hits,
                &mut go_on,
            )
            .unwrap();
        alone.queries.push((alone.hits.len(), searched));
    }
    for wanted in [1, 18, 64, 100] {
        let mut found = ManyHits::default();
        copies
            .nearest_of_many(&queries, lists, wanted, &mut found, &mut go_on)
            .unwrap();
        compare_many(&found, &alone, wanted, slack);
    }
}

/// Lists of many sizes around centres of their own; far fewer rows in the first round than in all, and no more in all than are
/// kept.
fn scattered(random: &mut Random) -> Vec<Vec<f32>> {
    [600, 900, 40, 500, 1100, 600, 300]
        .into_iter()
        .map(|rows| {
            let centre = random.floats(DIMS);
            let row = |random: &mut Random| -> Vec<f32> {
                let apart = random.floats(DIMS);
                centre.iter().zip(apart).map(|(c, x)| c + 0.3 * x).collect()
            };
            (0..rows).flat_map(|_| row(random)).collect()
        })
        .collect()
}

/// Engines with and without matrix units, as far as the device has some: these kernels have no other variants.
fn engines(test: &str) -> Vec<(Engine, bool)> {
    let mut engines = engines_and_units(test);
    let with_units = engines.first().is_some_and(|(_, units)| *units);
    engines.truncate(1);
    if with_units {
        let builder = EngineBuilder::new().without(Feature::CooperativeMatrix);
        engines.extend(engine(&builder, test).map(|engine| (engine, false)));
    }
    engines
}

fn slack(matrix_units: bool) -> f32 {
    // From codes of the query, by 2^-11 of the lengths, of up to 3 each.
    if matrix_units { 2e-2 } else { 1e-3 }
}

#[test]
fn two_rounds_find_what_one_finds() {
    let engines = engines("two_rounds_find_what_one_finds").into_iter();
    for (number, (engine, units)) in engines.enumerate() {
        let mut random = Random(11);
        let cache = engine.list_cache();
        for metric in METRICS {
            let lists = scattered(&mut random);
            let mut copies = copies_of(&cache, metric, &lists);
            // More queries than a block has.
            let count = if metric == Metric::L2 && number == 0 {
                130
            } else {
                8
            };
            let queries: Vec<Vec<f32>> = (0..count).map(|_| random.floats(DIMS)).collect();
            let all: Vec<u32> = (0..7).collect();
            check(&mut copies, metric, &queries, Probed::Same(&all), slack(units));
            check(
                &mut copies,
                metric,
                &queries[..3],
                Probed::Same(&all[..1]),
                slack(units),
            );
        }
    }
}

#[test]
fn rows_that_tie_and_rows_without_a_cosine_are_found() {
    for (engine, units) in engines("rows_that_tie_and_rows_without_a_cosine_are_found") {
        let cache = engine.list_cache();
        for metric in METRICS {
            let mut random = Random(12);
            let row = random.floats(DIMS);
            let mut lists: Vec<Vec<f32>> = vec![row.repeat(600), row.repeat(2000)];
            lists[1][DIMS..100 * DIMS].fill(0.0);
            let mut copies = copies_of(&cache, metric, &lists);
            let queries: Vec<Vec<f32>> = (0..3).map(|_| random.floats(DIMS)).collect();
            check(&mut copies, metric, &queries, Probed::Same(&[0, 1]), slack(units));
            // Hardly a row that has a cosine.
            lists[0].fill(0.0);
            lists[1][2 * DIMS..].fill(0.0);
            let mut copies = copies_of(&cache, metric, &lists);
            if metric != Metric::Cosine {
                check(&mut copies, metric, &queries, Probed::Same(&[0, 1]), slack(units));
            }
        }
    }
}

#[test]
fn more_near_rows_than_are_kept_leave_a_query_undecided() {
    let name = "more_near_rows_than_are_kept_leave_a_query_undecided";
    for (engine, units) in engines(name) {
        let cache = engine.list_cache();
        let mut random = Random(13);
        // With 64 rows wanted the first round has every sixteenth tile of 128 rows. Those are far from one query, and all others
        // near it, too many for the second round; the other query is near those few.
        let row = |random: &mut Random, tile: usize| -> Vec<f32> {
            let far = if tile.is_multiple_of(16) { 9.0 } else { 0.0 };
            random.floats(DIMS).into_iter().map(|x| far + x).collect()
        };
        let rows = (0..640 * 128).flat_map(|place| row(&mut random, place / 128));
        let lists = [rows.collect::<Vec<f32>>()];
        let mut copies = copies_of(&cache, Metric::L2, &lists);
        let values = [random.floats(DIMS), vec![9.0; DIMS]];
        let queries: Vec<ListQuery<'_>> = values
            .iter()
            .map(|query| ListQuery::new(Metric::L2, query).unwrap())
            .collect();
        let mut found = ManyHits::default();
        copies
            .nearest_of_many(&queries, Probed::Same(&[0]), 64, &mut found, &mut go_on)
            .unwrap();
        let undecided = CopiesSearched {
            rows: 640 * 128,
            cut: Some(f32::NEG_INFINITY),
        };
        assert_eq!(found.queries[0], (0, undecided));
        let (hits, searched) = found.queries[1];
        assert_eq!(hits, 64);
        // TIDs count from 1.
        assert!(
            found
                .hits
                .iter()
                .all(|hit| ((hit.tid - 1) / 128).is_multiple_of(16))
        );
        assert!(searched.cut.is_some_and(f32::is_finite));
        if !units {
            check(
                &mut copies,
                Metric::L2,
                &values[1..],
                Probed::Same(&[0]),
                slack(units) * 9.0,
            );
        }
    }
}
