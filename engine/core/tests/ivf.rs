//! Properties of the page algorithms over pages in memory: order, crashes, scans that VACUUM overtakes.

mod ivf_index;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use ivf_index::{Index, Random, brute_force};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::error::Result;
use vectorgpu_core::ivf::centroids::Centroids;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::ivf::memory::{MemoryPage, MemoryStore};
use vectorgpu_core::ivf::search::{Iterate, Search, SearchOptions};
use vectorgpu_core::ivf::store::{PageStore, Whereabouts};
use vectorgpu_core::ivf::vacuum::bulk_delete;
use vectorgpu_core::ivf::verify::verify;
use vectorgpu_core::limits::{MAX_BIT_DIMS, MAX_DIMS};
use vectorgpu_core::metric::{Metric, Storage};

/// Rows of the indexes that tests under Miri can afford too.
const ROWS: usize = if cfg!(miri) { 60 } else { 600 };
const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

/// Every metric that orders rows in `storage`.
fn metrics_of(storage: Storage) -> impl Iterator<Item = Metric> {
    let metrics = METRICS
        .into_iter()
        .chain([Metric::L1, Metric::Hamming, Metric::Jaccard]);
    metrics.filter(move |metric| metric.allows(storage))
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn scan_of_every_list_returns_every_row_in_exact_order() {
    for storage in [Storage::F32, Storage::Rabitq, Storage::Bits] {
        for metric in metrics_of(storage) {
            for (dims, rows, lists) in [
                (1, 50, 3),
                (2, 200, 4),
                (3, 1000, 10),
                (33, 700, 3),
                (100, 400, 7),
                (784, 200, 5),
                (3000, 60, 2),
                (MAX_DIMS, 9, 2),
            ] {
                let index = Index::build(metric, storage, dims, rows, lists, 7);
                let query = Random(11).vector(dims);
                for window_rows in [1 << 20, 100] {
                    let found = index.search(&query, lists, Iterate::Strict, window_rows);
                    let expected = brute_force(metric, &index.rows, &query);
                    assert_eq!(found.len(), rows, "{storage:?} {metric:?} {dims}");
                    for (found, (distance, _)) in found.iter().zip(&expected) {
                        assert!(found.exact);
                        assert_eq!(found.distance, *distance, "{storage:?} {metric:?} {dims}");
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn rounded_storage_returns_lower_bounds_in_ascending_order() {
    for storage in [Storage::F16, Storage::Int8] {
        for metric in metrics_of(storage) {
            for (dims, rows, lists) in [
                (1, 50, 3),
                (3, 1000, 10),
                (37, ROWS, 4),
                (784, 200, 5),
                (MAX_DIMS, 9, 2),
            ] {
                let index = Index::build(metric, storage, dims, rows, lists, 3);
                let query = Random(5).vector(dims);
                let found = index.search(&query, lists, Iterate::Strict, 1 << 20);
                assert_eq!(found.len(), rows, "{storage:?} {metric:?} {dims}");
                assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
                for row in &found {
                    let exact = index.distance(row.tid, &query);
                    let off = exact - row.distance;
                    // The bound of an inner product is off by a share of |q| |x|.
                    let scale = if metric == Metric::InnerProduct {
                        dims as f64
                    } else {
                        exact.abs().max(1.0)
                    };
                    assert!(
                        !row.exact && off >= 0.0 && off < 0.05 * scale,
                        "{storage:?} {metric:?} {dims}: bound {} of {exact}",
                        row.distance
                    );
                }
            }
        }
    }
}

#[test]
fn scan_through_a_tiny_window_equals_the_scan_through_a_large_one() {
    let metrics = if cfg!(miri) { &METRICS[..1] } else { &METRICS };
    for storage in Storage::ALL {
        for &metric in metrics {
            let index = Index::build(metric, storage, 8, ROWS, 6, 21);
            let query = Random(22).vector(8);
            for iterate in [Iterate::Strict, Iterate::Relaxed, Iterate::Off] {
                assert_eq!(
                    index.search(&query, 2, iterate, 16),
                    index.search(&query, 2, iterate, 1 << 20),
                    "{storage:?} {metric:?} {iterate:?}"
                );
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn a_copy_of_the_centroids_leads_to_the_same_lists() {
    // With rabitq the copy holds codes.
    for (metric, storage) in METRICS
        .into_iter()
        .flat_map(|metric| [(metric, Storage::F32), (metric, Storage::Rabitq)])
    {
        for (dims, rows, lists) in [
            (1, 60, 9),
            (3, 900, 40),
            (100, 900, 60),
            (784, 300, 20),
            (MAX_DIMS, 12, 4),
        ] {
            let index = Index::build(metric, storage, dims, rows, lists, 25);
            let centroids = Rc::new(Centroids::read(&index.store, &index.meta).expect("sound"));
            assert_eq!(centroids.lists(), lists as usize);
            let mut random = Random(26);
            for probes in [1, 2, lists / 2, lists] {
                for query in [
                    random.vector(dims),
                    index.rows[3].1.clone(),
                    vec![0.0; dims],
                    vec![1e-30; dims],
                ] {
                    for iterate in [Iterate::Strict, Iterate::Off] {
                        let want = index.search(&query, probes, iterate, 1 << 20);
                        let mut search = Search::new(index.meta, index.options(probes, iterate, 1 << 20));
                        search.use_centroids(Rc::clone(&centroids));
                        search
                            .start(Some(query.as_slice().into()), true)
                            .expect("the dimensions agree");
                        let got = index.drain(&index.store, &mut search);
                        // A query without a direction has no order.
                        let same = got == want
                            || (got.len() == want.len() && got.iter().any(|row| row.distance.is_nan()));
                        assert!(
                            same,
                            "{metric:?} {storage:?} {dims} {probes} {iterate:?} {query:?}"
                        );
                    }
                }
            }
        }
    }
}

/// More rows than the first pass of a scan keeps.
#[test]
#[cfg_attr(miri, ignore = "thousands of rows, in page code without unsafe")]
fn a_scan_that_outlives_its_first_window_returns_every_row_once() {
    for storage in Storage::ALL {
        let index = Index::build(Metric::L2, storage, 4, 9000, 3, 23);
        let found = index.search(&Random(24).vector(4), 3, Iterate::Strict, 1 << 20);
        assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
        let tids: HashSet<Tid> = found.iter().map(|row| row.tid).collect();
        assert_eq!((found.len(), tids.len()), (9000, 9000), "{storage:?}");
    }
}

#[test]
fn strict_order_is_sorted_relaxed_is_complete_and_off_stops() {
    let index = Index::build(Metric::L2, Storage::F32, 8, ROWS, 12, 31);
    let query = Random(32).vector(8);
    let strict = index.search(&query, 2, Iterate::Strict, 1 << 20);
    let relaxed = index.search(&query, 2, Iterate::Relaxed, 1 << 20);
    let off = index.search(&query, 2, Iterate::Off, 1 << 20);
    assert!(strict.is_sorted_by(|a, b| a.distance <= b.distance));
    assert_eq!(relaxed.len(), ROWS);
    assert!(off.len() < strict.len() && off[..] == strict[..off.len()] && off[..] == relaxed[..off.len()]);
}

#[test]
fn null_query_returns_every_row() {
    for storage in Storage::ALL {
        let index = Index::build(Metric::Cosine, storage, 5, 77, 4, 1);
        let mut search = Search::new(index.meta, index.options(4, Iterate::Strict, 1 << 20));
        search.start(None, true).expect("NULL has no dimensions");
        assert_eq!(index.drain(&index.store, &mut search).len(), 77);
    }
}

#[test]
fn query_of_other_dimensions_is_refused() {
    let index = Index::build(Metric::L2, Storage::F32, 5, 10, 1, 1);
    let mut search = Search::new(index.meta, index.options(1, Iterate::Off, 16));
    assert_eq!(
        search
            .start(Some([1.0; 4].as_slice().into()), true)
            .map_err(|error| error.kind()),
        Err(ErrorKind::DataException)
    );
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn rows_inserted_into_an_empty_index_are_all_found() {
    for (dims, storage) in [
        (3, Storage::F32),
        (784, Storage::F32),
        (784, Storage::F16),
        (784, Storage::Int8),
        (5000, Storage::Int8),
        (3, Storage::Rabitq),
        (784, Storage::Rabitq),
        (5000, Storage::Rabitq),
        (MAX_DIMS, Storage::F32),
        (MAX_DIMS, Storage::Rabitq),
        (70, Storage::Bits),
        (MAX_BIT_DIMS, Storage::Bits),
    ] {
        let mut index = Index::build(Metric::L2, storage, dims, 0, 4, 17);
        let mut random = Random(18);
        for _ in 0..if dims > 1000 { 12 } else { 400 } {
            index.insert(random.vector(dims));
        }
        index.check();
        assert_eq!(
            index
                .search(&random.vector(dims), 4, Iterate::Strict, 1 << 20)
                .len(),
            index.rows.len()
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn deleting_all_and_inserting_again_does_not_grow_the_index() {
    for (dims, storage) in [3, 784, 3000]
        .into_iter()
        .flat_map(|dims| Storage::DENSE.map(|storage| (dims, storage)))
    {
        let mut index = Index::build(Metric::L2, storage, dims, 300, 3, 41);
        let blocks = index.store.blocks().expect("memory");
        let rows = index.rows.clone();
        for _ in 0..3 {
            let done = index.delete(|_| true);
            assert_eq!((done.removed, done.left), (300, 0));
            index.check();
            rows.iter().for_each(|(_, vector)| {
                index.insert(vector.clone());
            });
            index.check();
            assert!(index.store.blocks().expect("memory") <= blocks, "{dims}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn deleting_half_gives_about_half_the_groups_back() {
    for (dims, rows, storage) in [
        (3, 6000, Storage::F32),
        (784, 600, Storage::F32),
        (3000, 600, Storage::F32),
        (784, 2000, Storage::Int8),
        (3000, 600, Storage::Int8),
        (784, 2000, Storage::Rabitq),
        (3000, 1200, Storage::Rabitq),
    ] {
        let mut index = Index::build(Metric::Cosine, storage, dims, rows, 3, 43);
        let groups = verify(&index.store, &mut |_| Ok(())).expect("sound").groups;
        index.delete(|tid| tid.0 % 2 == 0);
        index.check();
        let after = verify(&index.store, &mut |_| Ok(())).expect("sound");
        assert!(
            after.free_groups + after.groups == groups && after.groups * 10 <= groups * 6,
            "{dims} {storage:?}: {after:?}"
        );
        let query = Random(44).vector(dims);
        assert_eq!(index.search(&query, 3, Iterate::Strict, 1 << 20).len(), rows / 2);
    }
}

#[test]
#[cfg_attr(miri, ignore = "an index a record, in page code without unsafe")]
fn crash_after_any_record_leaves_a_sound_index_without_lost_rows() {
    for (dims, storage) in [
        (2, Storage::F32),
        (784, Storage::F32),
        (3000, Storage::F32),
        (784, Storage::Int8),
        (40, Storage::Rabitq),
        (3000, Storage::Rabitq),
    ] {
        let mut index = Index::build(Metric::L2, storage, dims, 40, 2, 51);
        index.store.checkpoint();
        let built: HashSet<Tid> = index.rows.iter().map(|(tid, _)| *tid).collect();
        let mut random = Random(52);
        let mut acknowledged = vec![(0, built)];
        for step in 0..30 {
            index.insert(random.vector(dims));
            if step % 10 == 9 {
                index.delete(|tid| tid.0 % 3 == step as u64 % 3);
            }
            let rows = index.rows.iter().map(|(tid, _)| *tid).collect();
            acknowledged.push((index.store.records(), rows));
        }
        for records in 0..=index.store.records() {
            let store = index.store.recovered(records);
            let mut found = HashSet::new();
            verify(&store, &mut |tid| {
                assert!(found.insert(tid), "{tid:?} twice after {records} records");
                Ok(())
            })
            .unwrap_or_else(|error| panic!("after {records} records: {error}"));
            let done = acknowledged
                .iter()
                .rposition(|(count, _)| *count <= records)
                .expect("0 records is there");
            let before = &acknowledged[done].1;
            let after = acknowledged.get(done + 1).map_or(before, |(_, rows)| rows);
            let lost = before
                .iter()
                .find(|tid| after.contains(tid) && !found.contains(tid));
            assert_eq!(lost, None, "lost after {records} records of {dims} {storage:?}");
        }
    }
}

type Other<'a> = dyn FnMut(&MemoryStore) + 'a;

/// Does what another backend might do, before the n-th lock that is taken while nothing is locked.
struct Interleaved<'a> {
    inner: &'a MemoryStore,
    when: RefCell<u32>,
    other: RefCell<Box<Other<'a>>>,
}

impl Interleaved<'_> {
    fn before_lock(&self) {
        let left = *self.when.borrow();
        if left == 0 && self.inner.pause_is_safe() {
            *self.when.borrow_mut() = u32::MAX;
            (self.other.borrow_mut())(self.inner);
        } else if left > 0 && left < u32::MAX {
            *self.when.borrow_mut() = left - 1;
        }
    }
}

impl PageStore for Interleaved<'_> {
    type Shared = MemoryPage;
    type Exclusive = MemoryPage;

    fn share(&self, block: u32) -> Result<MemoryPage> {
        self.before_lock();
        self.inner.share(block)
    }

    fn exclusive(&self, block: u32) -> Result<MemoryPage> {
        self.before_lock();
        self.inner.exclusive(block)
    }

    fn apply(&self, pages: &mut [&mut MemoryPage], edit: &mut dyn FnMut(&mut [&mut [u8]])) -> Result<()> {
        self.inner.apply(pages, edit)
    }

    fn extend(&self, pages: u32) -> Result<u32> {
        self.inner.extend(pages)
    }

    fn blocks(&self) -> Result<u32> {
        self.inner.blocks()
    }

    fn pause(&self) -> Result<()> {
        self.inner.pause()
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn scan_overtaken_by_vacuum_returns_every_remaining_row_once() {
    let mut restarts = 0;
    for when in 0..60 {
        let index = Index::build(Metric::L2, Storage::F32, 784, 60, 1, 61);
        let store = Interleaved {
            inner: &index.store,
            when: RefCell::new(when),
            other: RefCell::new(Box::new(|store: &MemoryStore| {
                bulk_delete(store, &mut |tid| tid.0 % 3 != 0).expect("sound");
            })),
        };
        // Two groups fit the batch of the pretended device, so the scan lets go of its locks in mid-list.
        let mut backend = ivf_index::Batching(CpuBackend::new());
        let mut search = Search::new(index.meta, index.options(1, Iterate::Strict, 1 << 20));
        search
            .start(Some(Random(62).vector(784).as_slice().into()), false)
            .expect("the dimensions agree");
        let mut found = Vec::new();
        while let Some(row) = search.next(&store, &mut backend, &mut || true).expect("sound") {
            found.push(row.tid);
        }
        let distinct: HashSet<Tid> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "a row came twice");
        let kept = index.rows.iter().filter(|(tid, _)| tid.0 % 3 == 0);
        kept.for_each(|(tid, _)| assert!(distinct.contains(tid), "row lost when VACUUM ran at read {when}"));
        restarts += search.counts().restarts;
    }
    assert!(restarts > 0, "no scan was overtaken, so nothing was tested");
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn vacuum_of_a_list_that_grows_meanwhile_is_no_error() {
    let mut grown = 0;
    for when in 0..60 {
        let index = Index::build(Metric::L2, Storage::F32, 784, 20, 1, 67);
        let blocks = index.store.blocks().expect("pages in memory");
        let store = Interleaved {
            inner: &index.store,
            when: RefCell::new(when),
            other: RefCell::new(Box::new(|store: &MemoryStore| {
                // More than a group holds, so the list goes on in a new one at the end of the file.
                (0..10).for_each(|_| index.try_insert(store, &[0.5; 784]).expect("sound"));
            })),
        };
        bulk_delete(&store, &mut |_| false).expect("a growing index is sound");
        grown += index.store.blocks().expect("pages in memory") - blocks;
    }
    assert!(grown > 0, "no list grew, so nothing was tested");
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn a_row_whose_slot_goes_to_another_keeps_its_own_distance() {
    // Most rows straddle pages.
    let (dims, query) = (784, Random(68).vector(784));
    let mut moved = 0;
    for when in (0..400).step_by(5) {
        let index = Index::build(Metric::L2, Storage::Rabitq, dims, 120, 2, 69);
        let store = Interleaved {
            inner: &index.store,
            when: RefCell::new(when),
            other: RefCell::new(Box::new(|store: &MemoryStore| {
                bulk_delete(store, &mut |tid| tid.0 % 3 != 0).expect("sound");
                (0..60).for_each(|_| index.try_insert(store, &[9.0; 784]).expect("sound"));
            })),
        };
        let mut search = Search::new(index.meta, index.options(2, Iterate::Strict, 1 << 20));
        search
            .start(Some(query.as_slice().into()), true)
            .expect("the dimensions agree");
        let mut found = HashSet::new();
        let mut backend = CpuBackend::new();
        while let Some(row) = search.next(&store, &mut backend, &mut || true).expect("sound") {
            let known = index.rows.iter().any(|(tid, _)| *tid == row.tid);
            if row.exact && known {
                assert_eq!(row.distance, index.distance(row.tid, &query), "at read {when}");
            }
            moved += u32::from(!row.exact);
            found.insert(row.tid);
        }
        let kept = index.rows.iter().filter(|(tid, _)| tid.0 % 3 == 0);
        kept.for_each(|(tid, _)| assert!(found.contains(tid), "row lost at read {when}"));
    }
    assert!(moved > 0, "no slot went to another row, so nothing was tested");
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn a_row_that_vacuum_moves_before_its_vector_is_read_is_still_returned() {
    let query = Random(64).vector(100);
    let mut moved = 0;
    for returned in [0, 1, 50] {
        let index = Index::build(Metric::L2, Storage::Rabitq, 100, 900, 2, 63);
        let mut search = Search::new(index.meta, index.options(2, Iterate::Strict, 1 << 20));
        search
            .start(Some(query.as_slice().into()), true)
            .expect("the dimensions agree");
        let mut backend = CpuBackend::new();
        let mut found = Vec::new();
        loop {
            if found.len() == returned {
                bulk_delete(&index.store, &mut |tid| tid.0 % 3 != 0).expect("sound");
            }
            let next = search
                .next(&index.store, &mut backend, &mut || true)
                .expect("sound");
            let Some(row) = next else { break };
            if row.exact {
                assert_eq!(row.distance, index.distance(row.tid, &query));
            } else {
                assert_eq!(row.distance, f64::NEG_INFINITY);
                moved += 1;
            }
            found.push(row.tid);
        }
        let distinct: HashSet<Tid> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "a row came twice");
        let kept = index.rows.iter().filter(|(tid, _)| tid.0 % 3 == 0);
        kept.for_each(|(tid, _)| assert!(distinct.contains(tid), "row lost after {returned}"));
    }
    assert!(moved > 0, "VACUUM moved no row, so nothing was tested");
}

/// Pages on a disk, which a scan had better ask for before it waits for them.
struct Cold<'a> {
    inner: &'a MemoryStore,
    groups_first: u32,
    asked: RefCell<HashSet<u32>>,
    read: RefCell<HashSet<u32>>,
    unasked: RefCell<HashSet<u32>>,
}

impl PageStore for Cold<'_> {
    type Shared = MemoryPage;
    type Exclusive = MemoryPage;

    fn share(&self, block: u32) -> Result<MemoryPage> {
        let first = block >= self.groups_first && self.read.borrow_mut().insert(block);
        if first && !self.asked.borrow().contains(&block) {
            self.unasked.borrow_mut().insert(block);
        }
        self.inner.share(block)
    }

    fn exclusive(&self, block: u32) -> Result<MemoryPage> {
        self.inner.exclusive(block)
    }

    fn apply(&self, pages: &mut [&mut MemoryPage], edit: &mut dyn FnMut(&mut [&mut [u8]])) -> Result<()> {
        self.inner.apply(pages, edit)
    }

    fn extend(&self, pages: u32) -> Result<u32> {
        self.inner.extend(pages)
    }

    fn blocks(&self) -> Result<u32> {
        self.inner.blocks()
    }

    fn prefetch(&self, block: u32, _part: std::ops::Range<usize>) -> Whereabouts {
        self.asked.borrow_mut().insert(block);
        Whereabouts::Disk
    }

    fn pause(&self) -> Result<()> {
        self.inner.pause()
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn a_scan_asks_for_pages_on_the_disk_before_it_waits_for_them() {
    for storage in Storage::DENSE {
        let rows = if storage == Storage::Bits { 9000 } else { 900 };
        let index = Index::build(Metric::L2, storage, 784, rows, 6, 71);
        let store = Cold {
            inner: &index.store,
            groups_first: index.meta.groups_first,
            asked: RefCell::default(),
            read: RefCell::default(),
            unasked: RefCell::default(),
        };
        let mut search = Search::new(index.meta, index.options(3, Iterate::Strict, 1 << 20));
        search
            .start(Some(Random(72).vector(784).as_slice().into()), true)
            .expect("the dimensions agree");
        for _ in 0..10 {
            search
                .next(&store, &mut CpuBackend::new(), &mut || true)
                .expect("sound");
        }
        let (read, unasked) = (store.read.borrow().len(), store.unasked.borrow().len());
        assert!(read > 20, "{storage:?}: {read} pages");
        // Of rows behind 1-bit codes only the first ones are asked for at once; random ones are all candidates.
        let allowed = if storage == Storage::Rabitq { read / 10 } else { 0 };
        assert!(unasked <= allowed, "{storage:?}: {unasked} of {read} pages");
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of rows, in page code without unsafe")]
fn one_bit_codes_pass_most_rows_over() {
    for metric in METRICS {
        let index = Index::build(metric, Storage::Rabitq, 512, 2000, 1, 65);
        let mut search = Search::new(index.meta, index.options(1, Iterate::Strict, 1 << 20));
        // Near a row, as queries are.
        let near = |(x, noise): (&f32, f32)| x + 0.5 * noise;
        let query: Vec<f32> = index.rows[5]
            .1
            .iter()
            .zip(Random(66).vector(512))
            .map(near)
            .collect();
        search
            .start(Some(query.as_slice().into()), true)
            .expect("the dimensions agree");
        let first = search.next(&index.store, &mut CpuBackend::new(), &mut || true);
        let first = first.expect("sound").expect("there are rows");
        assert_eq!(first.tid, index.rows[5].0);
        let counts = search.counts();
        assert_eq!(counts.rows, 2000);
        assert!(counts.compared <= 40, "{metric:?}: {counts:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of long rows, in page code without unsafe")]
fn verify_finds_a_code_that_belongs_to_another_row() {
    let index = Index::build(Metric::L2, Storage::Rabitq, 100, 60, 1, 73);
    verify(&index.store, &mut |_| Ok(())).expect("sound");
    let shape = index.meta.shape();
    let head = index.meta.groups_first;
    let piece = shape.pieces(5).next().expect("a code has bytes");
    let block = head + u32::try_from(piece.page).expect("few pages");
    index.store.damage(block, piece.at, 0x10);
    let error = verify(&index.store, &mut |_| Ok(())).expect_err("damaged");
    assert!(error.message().contains("another row"), "{error}");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of indexes, in page code without unsafe")]
fn damaged_pages_give_an_error_and_never_a_panic() {
    for storage in [Storage::F16, Storage::Int8, Storage::Rabitq] {
        damage_everything(&Index::build(Metric::Cosine, storage, 20, 300, 4, 71));
    }
}

fn damage_everything(index: &Index) {
    let query = Random(72).vector(20);
    let blocks = index.store.blocks().expect("memory");
    let mut errors = 0;
    for block in 0..blocks {
        for at in (24..110).chain([500, 4000, 8191]) {
            for mask in [0x01, 0x80, 0xff] {
                let store = index.store.recovered(0);
                store.damage(block, at, mask);
                errors += u32::from(verify(&store, &mut |_| Ok(())).is_err());
                let mut search = Search::new(
                    index.meta,
                    SearchOptions {
                        ..index.options(4, Iterate::Strict, 64)
                    },
                );
                search
                    .start(Some(query.as_slice().into()), true)
                    .expect("the dimensions agree");
                let mut left = 2000;
                while let Ok(Some(_)) = search.next(&store, &mut CpuBackend::new(), &mut || true) {
                    left -= 1;
                    assert!(left > 0, "a damaged page makes the scan endless");
                }
                drop(index.try_insert(&store, &query));
                drop(bulk_delete(&store, &mut |tid| tid.0 % 2 == 0));
            }
        }
    }
    assert!(errors > 100, "only {errors} damages were noticed");
}

#[test]
fn cancelling_stops_between_lists_with_nothing_locked() {
    let index = Index::build(Metric::L2, Storage::F32, 4, 100, 10, 81);
    let mut backend = ivf_index::Batching(CpuBackend::new());
    let mut search = Search::new(index.meta, index.options(10, Iterate::Strict, 1 << 20));
    search
        .start(Some([0.0; 4].as_slice().into()), false)
        .expect("the dimensions agree");
    let stopped = search.next(&index.store, &mut backend, &mut || false);
    assert_eq!(stopped.map_err(|error| error.kind()), Err(ErrorKind::Cancelled));
    index.check();
}
