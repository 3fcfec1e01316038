//! Searches of copies of lists on the device, in every variant of their kernels, against the pages and against twins.

#[path = "../../core/tests/ivf_index/mod.rs"]
mod ivf_index;
mod many_hits;
mod support;

use std::rc::Rc;

use ivf_index::{Index, Random, brute_force};
use many_hits::compare_many;
use support::{engine, engines, engines_and_units, go_on};
use vectorgpu_compute::{CopiedIndex, Engine, EngineBuilder, Feature, IndexCopies, ListCache, reference};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::ivf::copy::{ListCopies, ManyHits, Probed, SentQueries, prewarm};
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::ivf::search::{Found, Iterate, Search};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::quantize::list_row::key::bound_of;
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows, RowCode};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

fn copies_of(cache: &Rc<ListCache>, index: &Index, number: u64) -> IndexCopies {
    let index = CopiedIndex {
        number,
        metric: index.meta.metric,
        storage: index.meta.storage,
        dims: index.meta.dims as usize,
        rows: index.rows.len() as u64,
        label: "vectorgpu.lists.test",
    };
    IndexCopies::open(cache, index, Box::new(|_| false), &mut go_on).unwrap()
}

fn search(cache: &Rc<ListCache>, index: &Index, query: &[f32], window_rows: usize) -> Vec<Found> {
    let lists = index.meta.lists;
    let mut search = Search::new(index.meta, index.options(lists, Iterate::Strict, window_rows));
    search.use_copies(Box::new(copies_of(cache, index, 1)));
    search.start(Some(query.into()), true).unwrap();
    index.drain(&index.store, &mut search)
}

fn in_order(index: &Index, found: &[Found], query: &[f32]) -> Vec<(f64, Tid)> {
    let mut last = f64::NEG_INFINITY;
    let mut rows: Vec<(f64, Tid)> = Vec::new();
    for found in found {
        let value = index.distance(found.tid, query);
        assert!(found.distance <= value && (!found.exact || found.distance == value));
        assert!(found.distance >= last, "bounds ascend");
        last = found.distance;
        rows.push((value, found.tid));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    rows
}

fn check(cache: &Rc<ListCache>, index: &Index, seed: u64) {
    let query = Random(seed).vector(index.meta.dims as usize);
    for window_rows in [1 << 20, 100] {
        let found = search(cache, index, &query, window_rows);
        let expected = brute_force(index.meta.metric, &index.rows, &query);
        assert_eq!(in_order(index, &found, &query), expected);
    }
}

#[test]
fn copies_give_the_rows_of_the_pages_in_every_variant() {
    for engine in engines("copies_give_the_rows_of_the_pages_in_every_variant") {
        for storage in Storage::DENSE
            .into_iter()
            .filter(|storage| Metric::L2.allows(*storage))
        {
            for metric in METRICS {
                let mut index = Index::build(metric, storage, 20, 300, 4, 3);
                let cache = engine.list_cache();
                check(&cache, &index, 1);
                let mut random = Random(4);
                for _ in 0..80 {
                    index.insert(random.vector(20));
                }
                check(&cache, &index, 5);
                index.delete(|tid| tid.0 % 3 == 0);
                for _ in 0..20 {
                    index.insert(random.vector(20));
                }
                check(&cache, &index, 7);
                let usage = cache.usage_of(1);
                assert_eq!((usage.lists, usage.rows), (4, index.rows.len() as u64));
            }
        }
    }
}

#[test]
fn rows_of_any_length_are_found() {
    let Some(engine) = engine(&EngineBuilder::new(), "rows_of_any_length_are_found") else {
        return;
    };
    for dims in [1, 2, 7, 8, 9, 31, 33, 100, 257, 768, 1536, 16_000] {
        for storage in [Storage::F32, Storage::Int8] {
            let index = Index::build(Metric::L2, storage, dims, 60, 2, 3);
            check(&engine.list_cache(), &index, 1);
        }
    }
}

/// Small segments.
const SMALL_LIMIT: u64 = 16 << 20;
const SMALL_SEGMENT_MAX: u64 = SMALL_LIMIT / 4;

#[test]
fn lists_in_several_segments_are_searched_as_those_in_one() {
    let test = "lists_in_several_segments_are_searched_as_those_in_one";
    let small = EngineBuilder::new().vram_limit(SMALL_LIMIT).staging(1 << 20);
    let weakened = small.clone().without(Feature::Subgroups);
    let (dims, lists, rows_each) = (250, 20, 550);
    let all: Vec<u32> = (0..lists).collect();
    let mut random = Random(11);
    let values = random.vector(dims);
    let vectors: Vec<f32> = (0..rows_each).flat_map(|_| random.vector(dims)).collect();
    for metric in METRICS {
        let query = ListQuery::new(metric, &values).unwrap();
        let mut answers = Vec::new();
        for builder in [EngineBuilder::new(), small.clone(), weakened.clone()] {
            let Some(engine) = engine(&builder, test) else {
                return;
            };
            let cache = engine.list_cache();
            let index = CopiedIndex {
                number: 9,
                metric,
                storage: Storage::F32,
                dims,
                // More than vectors are kept of.
                rows: 1 << 40,
                label: "vectorgpu.lists.test",
            };
            let mut copies = IndexCopies::open(&cache, index, Box::new(|_| false), &mut go_on).unwrap();
            for list in &all {
                let mut rows = ListRows::new(metric, Storage::F32, dims);
                let scale = 1.0 + 0.01 * f32::from(u16::try_from(*list).unwrap());
                for (tid, vector) in (u64::from(*list) << 32 | 1..).zip(vectors.chunks_exact(dims)) {
                    let vector: Vec<f32> = vector.iter().map(|x| x * scale).collect();
                    let norm_sq = vectorgpu_core::distance::norm_squared(&vector);
                    rows.push(tid, RowCode::F32(bytemuck::cast_slice(&vector)), norm_sq);
                }
                copies.begin(*list, rows_each, &mut go_on).unwrap();
                copies.append(*list, &rows, &mut go_on).unwrap();
                copies.finish(*list, Default::default());
            }
            assert!(cache.usage_of(9).bytes > SMALL_SEGMENT_MAX);
            let before = engine.counters().dispatches;
            let mut hits = Vec::new();
            copies
                .nearest(&query, &all, 50, None, &mut hits, &mut go_on)
                .unwrap();
            let dispatches = engine.counters().dispatches - before;
            let last = hits.last().map(|hit| (hit.key, hit.tid));
            // What comes after some row, too.
            copies
                .nearest(&query, &all, 50, last, &mut hits, &mut go_on)
                .unwrap();
            assert_eq!(hits.len(), 100);
            answers.push((dispatches, hits));
        }
        let [(dispatches, hits), small @ ..] = &answers[..] else {
            unreachable!("three engines")
        };
        for (place, (these_dispatches, these)) in small.iter().enumerate() {
            assert_eq!(
                these_dispatches, dispatches,
                "{metric:?}: one run for all segments"
            );
            for (hit, this) in hits.iter().zip(these) {
                // Without subgroups sums are of another order.
                let near = (hit.key - this.key).abs() <= 1e-4 * hit.key.abs();
                assert!(near && (place > 0 || hit == this), "{metric:?} {hit:?} {this:?}");
            }
        }
    }
}

/// Puts rows into one list, without pages.
fn one_list(cache: &Rc<ListCache>, metric: Metric, dims: usize, vectors: &[f32]) -> (IndexCopies, ListRows) {
    let mut rows = ListRows::new(metric, Storage::F32, dims);
    for (tid, vector) in (1..).zip(vectors.chunks_exact(dims)) {
        let norm_sq = vectorgpu_core::distance::norm_squared(vector);
        rows.push(tid, RowCode::F32(bytemuck::cast_slice(vector)), norm_sq);
    }
    cache.forget(9);
    let index = CopiedIndex {
        number: 9,
        metric,
        storage: Storage::F32,
        dims,
        rows: rows.len() as u64,
        label: "vectorgpu.lists.test",
    };
    let mut copies = IndexCopies::open(cache, index, Box::new(|_| false), &mut go_on).unwrap();
    copies.begin(0, 1, &mut go_on).unwrap();
    copies.append(0, &rows, &mut go_on).unwrap();
    copies.finish(0, Default::default());
    (copies, rows)
}

#[test]
fn hits_are_those_of_the_twins() {
    for (engine, matrix_units) in engines_and_units("hits_are_those_of_the_twins") {
        let cache = engine.list_cache();
        for metric in METRICS {
            let exact = cache.adds_exactly(metric, &mut go_on).unwrap();
            for (dims, count) in [(3, 5000), (100, 700), (770, 40)] {
                let mut random = Random(5);
                let mut vectors: Vec<f32> = (0..count).flat_map(|_| random.vector(dims)).collect();
                vectors[..dims].fill(0.0);
                let values = random.vector(dims);
                let query = ListQuery::new(metric, &values).unwrap();
                let (mut copies, rows) = one_list(&cache, metric, dims, &vectors);
                let keys = reference::list_scan(metric, &query, &rows);
                let mut sorted: Vec<f32> = keys.clone();
                sorted.sort_by(f32::total_cmp);
                // Matrix units multiply codes of the query.
                let products = if matrix_units {
                    reference::list_keys_of_codes(metric, std::slice::from_ref(&query), &rows)
                } else {
                    reference::list_keys(metric, std::slice::from_ref(&query), &rows)
                };
                let mut many = ManyHits::default();
                let asked = (std::slice::from_ref(&query), &[vec![0]]);
                copies
                    .nearest_of_many(asked.0, Probed::Each(asked.1), 64, &mut many, &mut go_on)
                    .unwrap();
                for hit in &many.hits {
                    let expected = products[usize::try_from(hit.tid).unwrap() - 1];
                    let near = (hit.key - expected).abs() < 1e-3 || hit.key.is_nan() && expected.is_nan();
                    assert!(near, "{} for {expected}", hit.key);
                }
                for wanted in [1, 10, 1024, 1025, count, 2 * count] {
                    let mut hits = Vec::new();
                    let searched = copies
                        .nearest(&query, &[0], wanted, None, &mut hits, &mut go_on)
                        .unwrap();
                    assert_eq!(searched.rows, count as u64);
                    // A place without a row may stand before the zero row, whose cosine is NaN.
                    let zero_row = usize::from(metric == Metric::Cosine);
                    assert!(
                        hits.len() >= wanted.min(count - zero_row) && hits.len() <= wanted,
                        "{wanted}"
                    );
                    let all = searched.cut.is_none_or(|cut| cut == f32::INFINITY);
                    assert!(
                        wanted < count || all,
                        "{metric:?} {wanted} of {count}: {searched:?}"
                    );
                    for (place, hit) in hits.iter().enumerate() {
                        let row = usize::try_from(hit.tid).unwrap() - 1;
                        let near = |a: f32, b: f32| a.is_nan() && b.is_nan() || (a - b).abs() < 1e-4;
                        assert!(near(hit.key, keys[row]), "{} for {}", hit.key, keys[row]);
                        assert!(near(hit.key, sorted[place]), "the smallest come first");
                        let fetched = reference::list_fetch(metric, query.values, &rows, &[row]);
                        if exact {
                            let (_, score, norm_sq) = fetched[0];
                            assert_eq!(
                                hit.exact.map(|(score, norm)| (score.to_bits(), norm)),
                                Some((score.to_bits(), norm_sq))
                            );
                        }
                        assert_eq!(hit.exact.is_some(), exact);
                    }
                    if let Some(cut) = searched.cut.filter(|cut| cut.is_finite()) {
                        assert!(hits.iter().all(|hit| bound_of(hit.key) <= bound_of(cut)));
                    }
                }
            }
        }
    }
}

/// Queries differ in the lists they probe, so in how much of everything they need.
#[test]
fn searches_of_lists_of_other_lengths_make_nothing_anew() {
    for engine in engines("searches_of_lists_of_other_lengths_make_nothing_anew") {
        let (cache, dims) = (engine.list_cache(), 8);
        let vectors = Random(5).vector(700 * dims);
        let (mut copies, rows) = one_list(&cache, Metric::L2, dims, &vectors);
        // With it, 22 to 24 tiles.
        for (list, count) in [(1, 1), (2, 60), (3, 33)] {
            let mut few = ListRows::new(Metric::L2, Storage::F32, dims);
            for (tid, vector) in (1..=count).zip(vectors.chunks_exact(dims)) {
                few.push(tid, RowCode::F32(bytemuck::cast_slice(vector)), 0.0);
            }
            copies.begin(list, count, &mut go_on).unwrap();
            copies.append(list, &few, &mut go_on).unwrap();
            copies.finish(list, Default::default());
        }
        let query = ListQuery::new(Metric::L2, &vectors[..dims]).unwrap();
        let mut search = |list: u32| {
            let mut hits = Vec::new();
            let searched = copies.nearest(&query, &[0, list], 20, None, &mut hits, &mut go_on);
            assert!(searched.unwrap().rows > rows.len() as u64 && hits.len() == 20);
        };
        // Buffers change places between two searches.
        (0..4).for_each(|_| search(1));
        let before = engine.counters();
        [2, 3, 1, 2].into_iter().for_each(&mut search);
        let after = engine.counters();
        let dispatches = after.dispatches - before.dispatches;
        assert!(dispatches >= 12);
        assert_eq!(after.bind_group_hits - before.bind_group_hits, dispatches);
        assert_eq!(after.allocations, before.allocations);
        assert_eq!(after.submissions - before.submissions, 4);
    }
}

#[test]
fn rows_up_to_one_are_left_out() {
    let Some(engine) = engine(&EngineBuilder::new(), "rows_up_to_one_are_left_out") else {
        return;
    };
    let cache = engine.list_cache();
    let dims = 12;
    for metric in METRICS {
        let mut random = Random(3);
        let mut vectors: Vec<f32> = (0..200).flat_map(|_| random.vector(dims)).collect();
        // Rows that tie, and rows without a cosine.
        let first = vectors[..dims].to_vec();
        vectors[dims..2 * dims].copy_from_slice(&first);
        vectors[5 * dims..9 * dims].fill(0.0);
        let query = ListQuery::new(metric, &first).unwrap();
        let (mut copies, _) = one_list(&cache, metric, dims, &vectors);
        let mut all = Vec::new();
        copies
            .nearest(&query, &[0], 1000, None, &mut all, &mut go_on)
            .unwrap();
        assert_eq!(all.len(), 200);
        all.sort_by(|a, b| a.key.total_cmp(&b.key).then(a.tid.cmp(&b.tid)));
        for after in [0, 1, 50, 197, 199] {
            let mut hits = Vec::new();
            let bound = Some((all[after].key, all[after].tid));
            copies
                .nearest(&query, &[0], 1000, bound, &mut hits, &mut go_on)
                .unwrap();
            let mut left: Vec<_> = hits.iter().filter(|hit| !hit.key.is_infinite()).collect();
            left.sort_by(|a, b| a.key.total_cmp(&b.key).then(a.tid.cmp(&b.tid)));
            let left: Vec<u64> = left.iter().map(|hit| hit.tid).collect();
            let expected: Vec<u64> = all[after + 1..].iter().map(|hit| hit.tid).collect();
            assert_eq!(left, expected, "{metric:?} {after}");
        }
    }
}

fn small(bytes: u64) -> Option<Engine> {
    engine(
        &EngineBuilder::new().vram_limit(bytes).staging(768 << 10),
        "lists in little memory",
    )
}

#[test]
fn the_copies_used_least_recently_make_room_and_the_limit_holds() {
    let Some(engine) = small(12 << 20) else { return };
    let cache = engine.list_cache();
    let index = Index::build(Metric::L2, Storage::F32, 64, 6000, 12, 3);
    let query = Random(1).vector(64);
    // Each list alone fits, all of them do not.
    let mut search = Search::new(index.meta, index.options(1, Iterate::Relaxed, 1 << 20));
    search.use_copies(Box::new(copies_of(&cache, &index, 1)));
    for round in 0..3 {
        let query = Random(round).vector(64);
        search.start(Some(query.as_slice().into()), true).unwrap();
        let found: Vec<Found> = index.drain(&index.store, &mut search);
        assert_eq!(found.len(), 6000);
    }
    let memory = engine.memory();
    assert!(memory.peak_bytes <= memory.limit_bytes, "{memory:?}");
    let fitting = cache.usage_of(1).lists;
    if cache.evicted() == 0 {
        assert_eq!(fitting, 12);
    }
    // All lists at once: an error where they do not fit, and the pages where those may be read.
    let mut all = Search::new(index.meta, index.options(12, Iterate::Strict, 1 << 20));
    all.use_copies(Box::new(copies_of(&cache, &index, 1)));
    all.start(Some(query.as_slice().into()), true).unwrap();
    match all.next(&index.store, &mut CpuBackend::new(), &mut go_on) {
        Ok(found) => assert!(found.is_some()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory),
    }
    drop((search, all));
    cache.forget(1);
    assert_eq!(cache.usage_of(1).lists, 0);
    drop(cache);
    engine.trim();
    let in_use: Vec<_> = engine
        .memory()
        .labels
        .into_iter()
        .filter(|usage| usage.label.contains("lists"))
        .collect();
    assert!(in_use.iter().all(|usage| usage.bytes == 0), "{in_use:?}");
}

#[test]
fn a_search_has_copies_that_fill_all_memory_make_room() {
    let Some(engine) = small(12 << 20) else { return };
    let cache = engine.list_cache();
    let mut random = Random(6);
    let dims = 64;
    let (mut copies, _) = one_list(&cache, Metric::L2, dims, &random.vector(dims));
    let mut rows = ListRows::new(Metric::L2, Storage::F32, dims);
    let mut copy = |copies: &mut IndexCopies, list, count| {
        rows.clear();
        for tid in 0..count {
            rows.push(tid, RowCode::F32(bytemuck::cast_slice(&random.vector(dims))), 0.0);
        }
        copies.begin(list, count, &mut go_on).unwrap();
        copies.append(list, &rows, &mut go_on).unwrap();
        copies.finish(list, Default::default());
        copies.release();
    };
    // Until others have to go, and then smaller ones into what is left.
    let mut list = 0;
    while cache.evicted() == 0 {
        list += 1;
        copy(&mut copies, list, 500);
    }
    for count in [100, 20, 1].into_iter().flat_map(|count| [count; 12]) {
        list += 1;
        copy(&mut copies, list, count);
    }
    let query = Random(7).vector(dims);
    let query = ListQuery::new(Metric::L2, &query).unwrap();
    let there: Vec<u32> = (0..=list).filter(|list| copies.mark(*list).is_some()).collect();
    copies.release();
    for lists in [&there[there.len() - 1..], &there[there.len() - 13..]] {
        let mut hits = Vec::new();
        copies
            .nearest(&query, lists, 1 << 20, None, &mut hits, &mut go_on)
            .unwrap();
        assert!(hits.len() >= lists.len());
    }
    let memory = engine.memory();
    assert!(memory.peak_bytes <= memory.limit_bytes, "{memory:?}");
}

#[test]
fn a_lost_device_ends_a_search_cleanly() {
    let Some(engine) = engine(&EngineBuilder::new(), "a_lost_device_ends_a_search_cleanly") else {
        return;
    };
    let cache = engine.list_cache();
    let index = Index::build(Metric::L2, Storage::F16, 8, 300, 3, 3);
    check(&cache, &index, 1);
    engine.simulate_loss().unwrap();
    let query = Random(1).vector(8);
    let mut search = Search::new(index.meta, index.options(3, Iterate::Strict, 1 << 20));
    search.use_copies(Box::new(copies_of(&cache, &index, 1)));
    search.start(Some(query.as_slice().into()), true).unwrap();
    let error = search
        .next(&index.store, &mut CpuBackend::new(), &mut go_on)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost);
}

#[test]
fn many_queries_at_once_find_what_each_finds_alone() {
    let engines = engines_and_units("many_queries_at_once_find_what_each_finds_alone");
    for (number, (engine, matrix_units)) in engines.iter().enumerate() {
        // Keys from products are a little lower; from codes of the query, by 2^-11 of the lengths, of up to 17 each.
        let slack = if *matrix_units { 0.15 } else { 2e-2 };
        for metric in METRICS {
            check_many(engine, metric, (3, 1200, 140), slack);
            // The longer rows are the same in every variant.
            if number == 0 {
                check_many(engine, metric, (40, 300, 5), slack);
                check_many(engine, metric, (770, 100, 5), slack);
            }
        }
        if number == 0 {
            // So many that a subgroup chooses the rows of each, if it has lanes for them.
            check_many(engine, Metric::L2, (3, 60, 520), slack);
        }
    }
}

fn check_many(engine: &Engine, metric: Metric, (dims, rows, count): (usize, usize, usize), slack: f32) {
    let mut index = Index::build(metric, Storage::F32, dims, rows, 6, 3);
    let cache = engine.list_cache();
    let mut copies = copies_of(&cache, &index, 1);
    prewarm(
        &index.store,
        &index.meta,
        Summation::Kernels,
        &mut copies,
        &mut go_on,
    )
    .unwrap();
    // More extents than one for a list.
    let mut random = Random(8);
    for _ in 0..rows / 4 {
        index.insert(random.vector(dims));
    }
    prewarm(
        &index.store,
        &index.meta,
        Summation::Kernels,
        &mut copies,
        &mut go_on,
    )
    .unwrap();
    let values: Vec<Vec<f32>> = (0..count).map(|_| random.vector(dims)).collect();
    let queries: Vec<ListQuery<'_>> = values
        .iter()
        .map(|query| ListQuery::new(metric, query).unwrap())
        .collect();
    let lists: Vec<Vec<u32>> = (0..count)
        .map(|query| {
            (0..6)
                .filter(|list| (query >> list) % 2 == 0 && query != 4)
                .collect()
        })
        .collect();
    let mut alone = ManyHits::default();
    for (query, lists) in queries.iter().zip(&lists) {
        let searched = copies
            .nearest(query, lists, 1 << 20, None, &mut alone.hits, &mut go_on)
            .unwrap();
        alone.queries.push((alone.hits.len(), searched));
    }
    for wanted in [1, 7, 18, 64, 100] {
        let mut found = ManyHits::default();
        copies
            .nearest_of_many(&queries, Probed::Each(&lists), wanted, &mut found, &mut go_on)
            .unwrap();
        compare_many(&found, &alone, wanted, slack);
    }
}

#[test]
fn what_was_begun_is_found_whatever_happens_meanwhile() {
    for (engine, _) in engines_and_units("what_was_begun_is_found_whatever_happens_meanwhile") {
        let index = Index::build(Metric::L2, Storage::F32, 20, 600, 6, 3);
        let cache = engine.list_cache();
        let mut copies = copies_of(&cache, &index, 1);
        prewarm(
            &index.store,
            &index.meta,
            Summation::Kernels,
            &mut copies,
            &mut go_on,
        )
        .unwrap();
        let mut random = Random(8);
        let values: Vec<Vec<f32>> = (0..200).map(|_| random.vector(20)).collect();
        let queries: Vec<ListQuery<'_>> = values
            .iter()
            .map(|query| ListQuery::new(Metric::L2, query).unwrap())
            .collect();
        let lists = vec![(0..6).collect::<Vec<u32>>(); queries.len()];
        let sent = &mut SentQueries::default();
        let begin = |copies: &mut IndexCopies, part: std::ops::Range<usize>, sent: &mut SentQueries| {
            let pending = copies.begin_many(
                &queries[part.clone()],
                Probed::Each(&lists[part]),
                10,
                sent,
                &mut go_on,
            );
            pending.unwrap()
        };
        let mut expected = ManyHits::default();
        copies
            .nearest_of_many(
                &queries[..100],
                Probed::Each(&lists[..100]),
                10,
                &mut expected,
                &mut go_on,
            )
            .unwrap();
        let first = begin(&mut copies, 0..100, &mut *sent);
        // The same queries again, as the device has them; others, of the same number; and some that nobody waits for.
        let again = begin(&mut copies, 0..100, sent);
        drop(begin(&mut copies, 50..150, &mut SentQueries::default()));
        let others = begin(&mut copies, 100..200, &mut SentQueries::default());
        for list in 0..6 {
            copies.discard(list);
        }
        // In the memory that the lists had, and through the rings that results and queries take.
        one_list(&cache, Metric::L2, 20, &vec![9.0; 20 * 600]);
        let (others, again) = (
            others.finish(&mut go_on).unwrap(),
            again.finish(&mut go_on).unwrap(),
        );
        let first = first.finish(&mut go_on).unwrap();
        assert_eq!(others.queries.len(), 100);
        for found in [&first, &again] {
            assert_eq!(found.queries, expected.queries);
            assert_eq!(found.hits, expected.hits);
        }
        assert_ne!(others.hits, expected.hits);
        *sent = SentQueries::default();
        let memory = engine.memory();
        let in_use: Vec<_> = memory
            .in_use()
            .filter(|usage| usage.label != "vectorgpu.lists.test")
            .collect();
        assert!(in_use.is_empty(), "{in_use:?}");
    }
}

#[test]
fn what_was_begun_on_a_lost_device_is_an_error() {
    for (engine, _) in engines_and_units("what_was_begun_on_a_lost_device_is_an_error") {
        let cache = engine.list_cache();
        let (mut copies, _) = one_list(&cache, Metric::L2, 3, &[1.0; 30]);
        let query = ListQuery::new(Metric::L2, &[1.0, 2.0, 3.0]).unwrap();
        let sent = &mut SentQueries::default();
        let pending = [(); 2].map(|()| {
            copies
                .begin_many(&[query], Probed::Same(&[0]), 3, sent, &mut go_on)
                .unwrap()
        });
        engine.simulate_loss().unwrap();
        for pending in pending {
            // What the device had done before is right; else it is known to be lost.
            let lost = pending.finish(&mut go_on).err();
            assert!(lost.is_none_or(|error| error.kind() == ErrorKind::DeviceLost));
        }
        let after = copies
            .begin_many(&[query], Probed::Same(&[0]), 3, sent, &mut go_on)
            .err();
        assert_eq!(after.map(|error| error.kind()), Some(ErrorKind::DeviceLost));
    }
}
