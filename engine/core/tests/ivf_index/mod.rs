//! An index over pages in memory, with the rows that it should hold.
#![expect(clippy::cast_possible_truncation, reason = "test data is small")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod copies;

use vectorgpu_core::backend::{Backend, KeepWaiting, Nearest, NearestBy, RowBlock};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::distance;
use vectorgpu_core::error::{Error, ErrorKind, Result};
use vectorgpu_core::ivf::build::Placement;
use vectorgpu_core::ivf::encode::RowEncoder;
use vectorgpu_core::ivf::insert::insert;
use vectorgpu_core::ivf::layout::{Meta, Tid};
use vectorgpu_core::ivf::memory::MemoryStore;
use vectorgpu_core::ivf::search::{Found, Iterate, Search, SearchOptions, Taken};
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::ivf::vacuum::{Vacuumed, bulk_delete};
use vectorgpu_core::ivf::value::IndexValue;
use vectorgpu_core::ivf::verify::verify;
use vectorgpu_core::metric::{Metric, Score, Storage};
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::sparse::SparseBuffer;

/// A small seeded generator (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn vector(&mut self, dims: usize) -> Vec<f32> {
        (0..dims)
            .map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }
}

/// `metric`, or one like it that orders rows in `storage`.
fn suited(metric: Metric, storage: Storage) -> Metric {
    if metric.allows(storage) {
        metric
    } else if metric == Metric::L2 {
        Metric::Hamming
    } else {
        Metric::Jaccard
    }
}

/// What `storage` can hold of `vector`.
fn held(storage: Storage, vector: Vec<f32>) -> Vec<f32> {
    match storage {
        Storage::Bits => vector.iter().map(|x| f32::from(u8::from(*x > 0.0))).collect(),
        _ => vector,
    }
}

/// A vector, and the same as a sparse one for an index of those; it is short enough to be its own projection.
pub(crate) struct Value<'a> {
    vector: &'a [f32],
    sparse: Option<SparseBuffer>,
}

impl<'a> Value<'a> {
    fn of(storage: Storage, vector: &'a [f32]) -> Self {
        let sparse = || SparseBuffer::from_dense(vector).expect("finite");
        Self {
            vector,
            sparse: (storage == Storage::Sketch).then(sparse),
        }
    }

    pub(crate) fn as_value(&self) -> IndexValue<'_> {
        IndexValue {
            vector: self.vector,
            sparse: self.sparse.as_ref().map(SparseBuffer::as_sparse),
        }
    }
}

pub(crate) struct Index {
    pub(crate) store: MemoryStore,
    pub(crate) meta: Meta,
    pub(crate) rows: Vec<(Tid, Vec<f32>)>,
    next_tid: u64,
}

impl Index {
    /// Bit strings are ordered by one of their own metrics in place of `metric`.
    pub(crate) fn build(
        metric: Metric,
        storage: Storage,
        dims: usize,
        rows: usize,
        lists: u32,
        seed: u64,
    ) -> Self {
        let metric = suited(metric, storage);
        let mut random = Random(seed);
        let centroids: Vec<f32> = (0..lists).flat_map(|_| unit(random.vector(dims))).collect();
        let rows: Vec<(Tid, Vec<f32>)> = (0..rows)
            .map(|row| {
                (
                    Tid::new(row as u32 / 50, row as u16 % 50 + 1),
                    held(storage, random.vector(dims)),
                )
            })
            .collect();
        let meta = Meta::plan(metric, storage, dims as u32, lists, rows.len() as u64, seed);
        let meta = match storage {
            Storage::Sketch => meta.of_projections(dims as u32),
            _ => meta,
        };
        let mut placed: Vec<(u32, usize)> = rows
            .iter()
            .enumerate()
            .map(|(row, (_, vector))| (nearest(metric, &centroids, vector), row))
            .collect();
        placed.sort_unstable();
        let mut list_rows = vec![0; lists as usize];
        placed.iter().for_each(|(list, _)| list_rows[*list as usize] += 1);
        let store = MemoryStore::new();
        let placement = Placement::new(meta, list_rows).expect("it fits");
        placement
            .write_front(&mut &store, &centroids)
            .expect("memory suffices");
        let mut encoder = RowEncoder::new(&meta);
        // In two ranges, as several writers would.
        let middle = lists / 2;
        for range in [0..middle, middle..lists] {
            assert_eq!(store.blocks().expect("small"), placement.first_block(range.start));
            let mut writer = placement.write_lists(&store, range.clone());
            for (list, row) in placed.iter().filter(|(list, _)| range.contains(list)) {
                let (tid, vector) = &rows[*row];
                let centroid = &centroids[*list as usize * dims..][..dims];
                let value = Value::of(storage, vector);
                let row = match value.as_value().sparse {
                    Some(sparse) => encoder.encode_sparse(*tid, sparse),
                    None => encoder.encode(*tid, vector, *list, centroid),
                };
                let row = row.expect("a finite vector");
                writer.push(*list, row).expect("in order");
            }
            writer.finish().expect("complete");
        }
        assert_eq!(store.blocks().expect("small"), placement.blocks());
        store.checkpoint();
        let index = Self {
            store,
            meta,
            rows,
            next_tid: 1_000_000,
        };
        index.check();
        index
    }

    pub(crate) fn options(&self, probes: u32, iterate: Iterate, window_rows: usize) -> SearchOptions {
        SearchOptions {
            probes,
            max_probes: self.meta.lists,
            iterate,
            window_rows,
            expected: Taken {
                rows: 10,
                returned: 2,
            },
            summation: Summation::Kernels,
        }
    }

    pub(crate) fn search(
        &self,
        query: &[f32],
        probes: u32,
        iterate: Iterate,
        window_rows: usize,
    ) -> Vec<Found> {
        let mut search = Search::new(self.meta, self.options(probes, iterate, window_rows));
        search
            .start(Some(self.value(query).as_value()), true)
            .expect("the dimensions agree");
        self.drain(&self.store, &mut search)
    }

    pub(crate) fn drain(&self, store: &MemoryStore, search: &mut Search) -> Vec<Found> {
        let mut backend = CpuBackend::new();
        std::iter::from_fn(|| search.next(store, &mut backend, &mut || true).expect("sound")).collect()
    }

    pub(crate) fn insert(&mut self, vector: Vec<f32>) -> Tid {
        let vector = held(self.meta.storage, vector);
        self.next_tid += 1;
        let tid = Tid::new((self.next_tid / 100) as u32, (self.next_tid % 100) as u16 + 1);
        self.put(&self.store, tid, &vector).expect("sound");
        self.rows.push((tid, vector));
        tid
    }

    /// `vector` as this index takes it.
    pub(crate) fn value<'a>(&self, vector: &'a [f32]) -> Value<'a> {
        Value::of(self.meta.storage, vector)
    }

    pub(crate) fn try_insert(&self, store: &MemoryStore, vector: &[f32]) -> Result<()> {
        self.put(store, Tid::new(7, 7), vector)
    }

    fn put(&self, store: &MemoryStore, tid: Tid, vector: &[f32]) -> Result<()> {
        insert(
            store,
            &self.meta,
            &mut CpuBackend::new(),
            tid,
            self.value(vector).as_value(),
            &mut || true,
        )
    }

    pub(crate) fn delete(&mut self, dead: impl Fn(Tid) -> bool) -> Vacuumed {
        let done = bulk_delete(&self.store, &mut |tid| dead(tid)).expect("sound");
        self.rows.retain(|(tid, _)| !dead(*tid));
        done
    }

    /// Asserts that the index is sound and holds exactly its rows.
    pub(crate) fn check(&self) {
        let mut found = Vec::new();
        verify(&self.store, &mut |tid| {
            found.push(tid);
            Ok(())
        })
        .expect("sound");
        let mut expected: Vec<Tid> = self.rows.iter().map(|(tid, _)| *tid).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert!(
            found == expected,
            "the index holds {} rows, {} are expected",
            found.len(),
            expected.len()
        );
    }

    pub(crate) fn distance(&self, tid: Tid, query: &[f32]) -> f64 {
        let (_, vector) = self
            .rows
            .iter()
            .find(|(row, _)| *row == tid)
            .expect("an index row has a vector");
        operator(self.meta.metric, vector, query)
    }
}

/// The CPU pretending to be a device that wants batches and is not exact.
pub(crate) struct Batching(pub(crate) CpuBackend);

impl Backend for Batching {
    fn label(&self) -> &str {
        "batching"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn batch_bytes(&self) -> usize {
        30_000
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if !keep_waiting() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        self.0.score(score, query, block, scores, keep_waiting)
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        self.0.nearest(centroids, dims, by, keep_waiting)
    }
}

pub(crate) fn brute_force(metric: Metric, rows: &[(Tid, Vec<f32>)], query: &[f32]) -> Vec<(f64, Tid)> {
    let mut all: Vec<(f64, Tid)> = rows
        .iter()
        .map(|(tid, row)| (operator(metric, row, query), *tid))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all
}

fn operator(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::L2 => distance::l2(a, b),
        Metric::InnerProduct => distance::negative_inner_product(a, b),
        Metric::Cosine => distance::cosine(a, b),
        Metric::L1 => distance::l1(a, b),
        Metric::Hamming => distance::hamming(&packed(a), &packed(b)),
        Metric::Jaccard => distance::jaccard(&packed(a), &packed(b)),
    }
}

/// The signs of `vector` as SQL packs bits.
fn packed(vector: &[f32]) -> Vec<u8> {
    let byte = |bits: &[f32]| {
        let bit = |(place, x): (usize, &f32)| u8::from(*x > 0.0) << (7 - place);
        bits.iter().enumerate().map(bit).sum()
    };
    vector.chunks(8).map(byte).collect()
}

fn nearest(metric: Metric, centroids: &[f32], vector: &[f32]) -> u32 {
    let score = |centroid: &[f32]| match metric.of_lists() {
        Metric::L2 => distance::l2(centroid, vector),
        _ => -distance::inner_product(centroid, vector),
    };
    let scores: Vec<f64> = centroids.chunks_exact(vector.len()).map(score).collect();
    let best = (0..scores.len())
        .min_by(|a, b| scores[*a].total_cmp(&scores[*b]))
        .expect("there is a list");
    best as u32
}

fn unit(vector: Vec<f32>) -> Vec<f32> {
    let norm = distance::norm(&vector) as f32;
    vector.iter().map(|value| value / norm).collect()
}
