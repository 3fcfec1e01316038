//! Searches of copies of lists: the same rows in the same order as from the pages, whatever happens to the index.

mod ivf_index;

use std::rc::Rc;

use ivf_index::copies::MemoryCopies;
use ivf_index::{Index, Random};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::ivf::centroids::Centroids;
use vectorgpu_core::ivf::copy::prewarm;
use vectorgpu_core::ivf::layout::{ListHead, Tid};
use vectorgpu_core::ivf::search::many::{
    CheckedLists, Choosing, Finding, FoundForEach, ManyCopies, ManyQueries, nearest_of_many,
};
use vectorgpu_core::ivf::search::many_pages::nearest_of_many_in_pages;
use vectorgpu_core::ivf::search::{Found, Iterate, Search};
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::quantize::list_row::ListRows;

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
const ROWS: usize = if cfg!(miri) { 60 } else { 700 };

fn search(
    index: &Index,
    copies: &MemoryCopies,
    query: &[f32],
    probes: u32,
    window_rows: usize,
) -> Vec<Found> {
    let mut search = Search::new(index.meta, index.options(probes, Iterate::Strict, window_rows));
    search.use_copies(Box::new(copies.clone()));
    search
        .start(Some(query.into()), true)
        .expect("the dimensions agree");
    index.drain(&index.store, &mut search)
}

/// The rows in the order of the operator's value, as the executor puts those that come with a bound.
fn in_order(index: &Index, found: &[Found], query: &[f32]) -> Vec<(f64, Tid)> {
    let mut last = f64::NEG_INFINITY;
    let mut rows: Vec<(f64, Tid)> = Vec::new();
    for found in found {
        let value = index.distance(found.tid, query);
        if found.exact {
            assert_eq!(found.distance, value);
        }
        assert!(found.distance <= value, "{} of {value}", found.distance);
        assert!(found.distance >= last, "bounds ascend");
        last = found.distance;
        rows.push((value, found.tid));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    rows
}

fn check(index: &Index, copies: &MemoryCopies, seed: u64) {
    let query = Random(seed).vector(index.meta.dims as usize);
    for window_rows in [1 << 20, 300, 20] {
        let found = search(index, copies, &query, index.meta.lists, window_rows);
        let expected = ivf_index::brute_force(index.meta.metric, &index.rows, &query);
        assert_eq!(in_order(index, &found, &query), expected);
    }
    // A few lists at a time: the same as from the pages.
    let mut from_pages = Search::new(index.meta, index.options(2, Iterate::Off, 1 << 20));
    from_pages
        .start(Some(query.as_slice().into()), true)
        .expect("the dimensions agree");
    let pages = index.drain(&index.store, &mut from_pages);
    let mut from_copies = Search::new(index.meta, index.options(2, Iterate::Off, 1 << 20));
    from_copies.use_copies(Box::new(copies.clone()));
    from_copies
        .start(Some(query.as_slice().into()), true)
        .expect("the dimensions agree");
    let found = index.drain(&index.store, &mut from_copies);
    assert_eq!(in_order(index, &found, &query), in_order(index, &pages, &query));
}

#[test]
fn copies_give_the_rows_of_the_pages_through_inserts_and_vacuum() {
    let kinds = Storage::DENSE
        .into_iter()
        .filter(|storage| Metric::L2.allows(*storage))
        .flat_map(|storage| [(storage, false), (storage, true)]);
    for (storage, is_exact) in
        kinds.filter(|(storage, is_exact)| !is_exact || ListRows::keeps_vectors(*storage))
    {
        for metric in METRICS {
            let mut index = Index::build(metric, storage, 20, ROWS, 5, 3);
            let copies = MemoryCopies::new(metric, is_exact);
            check(&index, &copies, 1);
            let (begun, read) = (copies.device.borrow().begun, copies.device.borrow().appended_rows);
            assert_eq!((begun, read), (5, ROWS));
            check(&index, &copies, 2);
            assert_eq!(copies.device.borrow().begun, 5, "nothing is read again");

            let mut random = Random(4);
            for _ in 0..ROWS / 4 {
                index.insert(random.vector(20));
            }
            check(&index, &copies, 5);
            let device = copies.device.borrow();
            assert_eq!(
                (device.begun, device.appended_rows),
                (5, ROWS + ROWS / 4),
                "only new rows are read"
            );
            drop(device);

            index.delete(|tid| tid.0 % 3 == 0);
            check(&index, &copies, 6);
            assert_eq!(copies.device.borrow().begun, 10);
            // TIDs of removed rows come back with other vectors.
            for _ in 0..20 {
                index.insert(random.vector(20));
            }
            check(&index, &copies, 7);
        }
    }
}

/// A search of copies takes its lists in no order, so that most of them need not be scored exactly.
#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn codes_of_the_centroids_lead_to_the_same_copies() {
    for metric in METRICS {
        for (dims, rows, lists) in [(1, 60, 9), (3, 900, 40), (100, 900, 60), (784, 300, 20)] {
            let index = Index::build(metric, Storage::Rabitq, dims, rows, lists, 25);
            let centroids = Rc::new(Centroids::read(&index.store, &index.meta).expect("sound"));
            let copies = MemoryCopies::new(metric, true);
            let mut random = Random(26);
            let mut queries: Vec<Vec<f32>> = (0..10).map(|_| random.vector(dims)).collect();
            queries.extend([index.rows[3].1.clone(), vec![1e-30; dims], vec![1e30; dims]]);
            for (probes, iterate) in [1, 2, 7, lists / 2, lists]
                .into_iter()
                .flat_map(|probes| [(probes, Iterate::Off), (probes, Iterate::Relaxed)])
            {
                for query in &queries {
                    let drain = |set_up: &dyn Fn(&mut Search)| {
                        let mut search = Search::new(index.meta, index.options(probes, iterate, 1 << 20));
                        set_up(&mut search);
                        search
                            .start(Some(query.as_slice().into()), true)
                            .expect("the dimensions agree");
                        let found = index.drain(&index.store, &mut search);
                        let mut tids: Vec<u64> = found.iter().map(|row| row.tid.0).collect();
                        tids.sort_unstable();
                        tids
                    };
                    let from_pages = drain(&|_| {});
                    let from_copies = drain(&|search| {
                        search.use_centroids(Rc::clone(&centroids));
                        search.use_copies(Box::new(copies.clone()));
                    });
                    assert_eq!(
                        from_copies, from_pages,
                        "{metric:?} {dims} {probes} {iterate:?} {query:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_index_that_begins_empty_is_copied_as_it_grows() {
    let mut index = Index::build(Metric::L2, Storage::F32, 3, 0, 4, 9);
    let copies = MemoryCopies::new(Metric::L2, false);
    let mut random = Random(2);
    check(&index, &copies, 1);
    for round in 0..40 {
        index.insert(random.vector(3));
        check(&index, &copies, round);
    }
    index.delete(|_| true);
    check(&index, &copies, 3);
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn a_list_that_takes_all_pages_is_copied_whole() {
    // A group is a page, and there are so many that the reader pauses between them.
    let index = Index::build(Metric::L2, Storage::F16, 784, 1500, 1, 9);
    check(&index, &MemoryCopies::new(Metric::L2, false), 1);
}

#[test]
fn no_room_is_made_for_more_rows_than_an_index_can_hold() {
    let index = Index::build(Metric::L2, Storage::F32, 8, 100, 1, 9);
    let mut head = index.store.exclusive(index.meta.groups_first).expect("a group");
    let mut edit = |pages: &mut [&mut [u8]]| {
        let mut list = ListHead::read(pages[0]);
        list.rows += 1 << 40;
        list.write(pages[0]);
    };
    index.store.apply(&mut [&mut head], &mut edit).expect("memory");
    drop(head);
    let mut copies = MemoryCopies::new(Metric::L2, false);
    let error = prewarm(
        &index.store,
        &index.meta,
        Summation::Kernels,
        &mut copies,
        &mut || true,
    )
    .expect_err("a damaged head");
    assert_eq!(error.kind(), ErrorKind::CorruptIndex);
    assert_eq!(copies.device.borrow().begun, 0);
}

#[test]
fn equal_rows_are_all_returned() {
    let mut index = Index::build(Metric::L2, Storage::Int8, 4, 10, 2, 9);
    for _ in 0..ROWS {
        index.insert(vec![0.5, 0.25, -0.5, 1.0]);
    }
    check(&index, &MemoryCopies::new(Metric::L2, false), 1);
}

#[test]
fn memory_that_runs_out_is_an_error_or_leads_to_the_pages() {
    let index = Index::build(Metric::L2, Storage::F32, 8, ROWS, 6, 3);
    let query = Random(1).vector(8);
    let copies = MemoryCopies::new(Metric::L2, false);
    copies.device.borrow_mut().room = Some(3);
    let mut search = Search::new(index.meta, index.options(6, Iterate::Strict, 1 << 20));
    search.use_copies(Box::new(copies.clone()));
    search
        .start(Some(query.as_slice().into()), true)
        .expect("the dimensions agree");
    let error = search
        .next(&index.store, &mut CpuBackend::new(), &mut || true)
        .expect_err("a forced device");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);

    copies.device.borrow_mut().may_fail = true;
    search
        .start(Some(query.as_slice().into()), true)
        .expect("the dimensions agree");
    let found = index.drain(&index.store, &mut search);
    let expected = ivf_index::brute_force(Metric::L2, &index.rows, &query);
    assert_eq!(in_order(&index, &found, &query), expected);
    assert_eq!(copies.device.borrow().searches, 0);
}

#[test]
fn a_query_that_has_no_bounds_is_answered_from_the_pages() {
    let index = Index::build(Metric::Cosine, Storage::F32, 4, ROWS, 3, 3);
    let copies = MemoryCopies::new(Metric::Cosine, true);
    let found = search(&index, &copies, &[0.0; 4], 3, 1 << 20);
    assert_eq!(found.len(), ROWS);
    assert_eq!(copies.device.borrow().searches, 0);
}

#[test]
fn cancelling_a_search_of_copies_leaves_them_whole() {
    let index = Index::build(Metric::L2, Storage::F32, 8, ROWS, 3, 3);
    let copies = MemoryCopies::new(Metric::L2, false);
    let query = Random(1).vector(8);
    let mut search = Search::new(index.meta, index.options(3, Iterate::Strict, 1 << 20));
    search.use_copies(Box::new(copies.clone()));
    search
        .start(Some(query.as_slice().into()), true)
        .expect("the dimensions agree");
    let error = search
        .next(&index.store, &mut CpuBackend::new(), &mut || false)
        .expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    check(&index, &copies, 2);
}

#[test]
fn a_device_lost_in_mid_scan_leaves_every_row_returned_once_and_in_order() {
    for (storage, is_exact) in [
        (Storage::F32, false),
        (Storage::F32, true),
        (Storage::F16, false),
        (Storage::Int8, false),
        (Storage::Rabitq, false),
        (Storage::Rabitq, true),
    ] {
        for metric in METRICS {
            let index = Index::build(metric, storage, 8, ROWS, 3, 3);
            for fail_at in 1..4 {
                let copies = MemoryCopies::new(metric, is_exact);
                copies.device.borrow_mut().may_fail = true;
                copies.device.borrow_mut().fail_at = Some(fail_at);
                let query = Random(1).vector(8);
                let found = search(&index, &copies, &query, 3, 1 << 20);
                let expected = ivf_index::brute_force(metric, &index.rows, &query);
                assert_eq!(
                    in_order(&index, &found, &query),
                    expected,
                    "{storage:?} {metric:?} {fail_at}"
                );
                assert_eq!(copies.device.borrow().searches, fail_at, "{storage:?} {metric:?}");
            }
        }
    }
}

/// What one query would find by itself, in the order of the operator's value.
fn alone(index: &Index, query: &[f32], probes: u32) -> Vec<(f64, Tid)> {
    let mut search = Search::new(index.meta, index.options(probes, Iterate::Off, 1 << 20));
    search
        .start(Some(query.into()), true)
        .expect("the dimensions agree");
    in_order(index, &index.drain(&index.store, &mut search), query)
}

/// Asserts that what was found through the pages is what each query finds by itself, of the same lists.
fn check_pages(index: &Index, queries: &[&[f32]], probes: u32, found: FoundForEach) {
    assert_eq!(found.queries.len(), queries.len());
    for (query, found) in queries.iter().zip(found.queries) {
        let Some(found) = found else {
            assert!(query[0] == 0.0 && index.meta.metric == Metric::Cosine);
            continue;
        };
        let expected = alone(index, query, probes);
        let rows = in_order(index, &found.rows, query);
        let is_exact = !matches!(index.meta.storage, Storage::F16 | Storage::Int8);
        assert!(found.rows.iter().all(|row| row.exact == is_exact));
        if is_exact {
            assert_eq!(rows, expected[..rows.len()]);
            assert!(rows.len() >= 10.min(expected.len()) || query[0] == 0.0);
        } else {
            assert!(rows.iter().all(|row| expected.contains(row)));
        }
        let others = expected.iter().filter(|row| !rows.contains(row));
        assert!(others.clone().all(|(distance, _)| *distance >= found.bound));
    }
}

#[test]
fn many_queries_at_once_find_what_each_finds_alone() {
    for (storage, is_exact) in [
        (Storage::F32, true),
        (Storage::F32, false),
        (Storage::F16, false),
        (Storage::Int8, false),
        (Storage::Rabitq, true),
    ] {
        for metric in METRICS {
            let mut index = Index::build(metric, storage, 20, ROWS, 9, 3);
            index.delete(|tid| tid.0 % 5 == 0);
            let mut lists = MemoryCopies::new(metric, is_exact);
            let mut centroids = MemoryCopies::new(metric.of_lists(), is_exact);
            let mut random = Random(6);
            let mut queries: Vec<Vec<f32>> = (0..30).map(|_| random.vector(20)).collect();
            queries.push(vec![0.0; 20]);
            let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
            for probes in [1, 4, 9] {
                let mut copies = ManyCopies {
                    lists: &mut lists,
                    centroids: Some(&mut centroids),
                    checked: &mut CheckedLists::default(),
                    crew: Crew::new(3, || Box::new(())),
                };
                let wanted = ManyQueries {
                    queries: &queries,
                    probes,
                    k: 10,
                };
                let go_on = &mut || true;
                let found = nearest_of_many(&index.store, &index.meta, &mut copies, wanted, go_on);
                let found = found.expect("sound");
                // Two parts of the queries, one a step ahead of the other.
                let (front, rest) = queries.split_at(13);
                let mut begin = |queries| {
                    let wanted = ManyQueries { queries, ..wanted };
                    Choosing::begin(&index.store, &index.meta, &mut copies, wanted, go_on).expect("sound")
                };
                let (front, rest) = (begin(front), begin(rest));
                let [front, rest] = [front, rest].map(|choosing: Choosing<'_>| -> Finding<'_> {
                    let finding = choosing.find(&index.store, &index.meta, &mut copies, &mut || true);
                    finding.expect("sound")
                });
                let finish =
                    |finding: Finding<'_>| finding.finish(metric, &mut || true).expect("sound").queries;
                assert_eq!([finish(front), finish(rest)].concat(), found.queries);
                let in_pages =
                    nearest_of_many_in_pages(&index.store, &index.meta, &queries, probes, 10, &mut || true);
                check_pages(&index, &queries, probes, in_pages.expect("sound"));
                let mut answered = 0;
                for (query, found) in queries.iter().zip(found.queries) {
                    let Some(found) = found else { continue };
                    answered += 1;
                    let expected = alone(&index, query, probes);
                    let rows = in_order(&index, &found.rows, query);
                    assert!(found.rows.iter().all(|row| row.exact == is_exact));
                    if is_exact {
                        // All that are nearer than the bound, which are the first.
                        assert_eq!(rows, expected[..rows.len()]);
                        // All rows are equally near to a zero query.
                        let enough = rows.len() >= 10.min(expected.len()) || query[0] == 0.0;
                        assert!(enough, "{} of {}", rows.len(), expected.len());
                    } else {
                        assert!(rows.iter().all(|row| expected.contains(row)));
                    }
                    let others = expected.iter().filter(|row| !rows.contains(row));
                    assert!(others.clone().all(|(distance, _)| *distance >= found.bound));
                }
                // A zero query has no cosine, and so no bounds.
                assert_eq!(answered, if metric == Metric::Cosine { 30 } else { 31 });
            }
        }
    }
}

#[test]
fn bounds_tell_which_rows_are_the_nearest_to_nearly_every_query() {
    let (dims, k) = (24, 10);
    let mut random = Random(8);
    // One element sets the step of the codes, and with it how far apart bounds and distances are.
    let mut vector = || -> Vec<f32> {
        let mut vector: Vec<f32> = random.vector(dims).iter().map(|x| 0.2 * x).collect();
        vector[0] = 1.0;
        vector
    };
    let mut index = Index::build(Metric::L2, Storage::Int8, dims, 1, 1, 3);
    for _ in 0..3 * ROWS {
        index.insert(vector());
    }
    let queries: Vec<Vec<f32>> = (0..100).map(|_| vector()).collect();
    let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
    let mut lists = MemoryCopies::new(Metric::L2, false);
    let mut copies = ManyCopies {
        lists: &mut lists,
        centroids: None,
        checked: &mut CheckedLists::default(),
        crew: Crew::new(3, || Box::new(())),
    };
    let wanted = ManyQueries {
        queries: &queries,
        probes: 1,
        k,
    };
    let go_on = &mut || true;
    let found = nearest_of_many(&index.store, &index.meta, &mut copies, wanted, go_on).expect("sound");
    let in_pages = nearest_of_many_in_pages(&index.store, &index.meta, &queries, 1, k, go_on).expect("sound");
    for found in [found, in_pages] {
        let settled = queries.iter().zip(found.queries).filter(|(query, found)| {
            let found = found.as_ref().expect("bounds of finite vectors");
            let rows = in_order(&index, &found.rows, query);
            rows.len() >= k && rows[k - 1].0 < found.bound
        });
        let settled = settled.count();
        assert!(settled >= 95, "{settled} of 100");
    }
}
