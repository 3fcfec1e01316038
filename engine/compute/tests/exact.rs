//! Exact searches through blocks on the device: bit for bit the answers of the CPU, and memory that is given back.

mod support;

use std::rc::Rc;

use support::{Random, engine, engines, go_on};
use vectorgpu_compute::{CopiedIndex, Engine, EngineBuilder, IndexCopies, ListCache};
use vectorgpu_core::exact::{COPIES_K_MAX, ExactSearch, block_rows};
use vectorgpu_core::ivf::copy::{CopyMark, ListCopies};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::{ErrorKind, Result};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
const LABEL: &str = "vectorgpu.exact_search";

fn passing(cache: &Rc<ListCache>, metric: Metric, dims: usize, goes_on: bool) -> IndexCopies {
    let rows = CopiedIndex {
        number: 7,
        metric,
        storage: Storage::F16,
        dims,
        rows: 0,
        label: LABEL,
    };
    IndexCopies::open_passing(cache, rows, Box::new(move |_| goes_on), &mut go_on).unwrap()
}

/// Ids and distances, bit by bit.
type Answers = Vec<Vec<(u64, u64)>>;

struct Case {
    metric: Metric,
    dims: usize,
    k: usize,
    queries: Vec<f32>,
    rows: Vec<f32>,
}

impl Case {
    fn answers(&self, copies: Option<(&mut IndexCopies, usize)>) -> Result<Answers> {
        let queries = self.queries.chunks_exact(self.dims);
        let mut search = ExactSearch::new(self.metric, self.dims, self.k, queries)?;
        if let Some((copies, rows)) = copies {
            search.use_copies(copies, rows);
        }
        for (row, id) in self.rows.chunks_exact(self.dims).zip(0..) {
            search.push(id, row, &mut go_on)?;
        }
        let found = search.finish(&mut go_on)?.nearest;
        let bits = |rows: &Vec<_>| rows.iter().map(bits_of).collect();
        Ok(found.iter().map(bits).collect())
    }

    /// Random vectors, a third of them from few values, so that there are ties, and some zeros.
    fn random(metric: Metric, dims: usize, k: usize, rows: usize) -> Self {
        let mut random = Random(3);
        let mut rows = random.floats(dims * rows);
        for (number, row) in rows.chunks_exact_mut(dims).enumerate() {
            match number % 9 {
                0..3 => row.iter_mut().for_each(|x| *x = (*x * 2.0).round()),
                3 if number % 2 == 0 => row.fill(0.0),
                _ => {}
            }
        }
        let mut queries = random.floats(dims * 150);
        queries[..dims].fill(0.0);
        let copied = rows.len().min(dims * 3);
        queries[dims..dims + copied].copy_from_slice(&rows[..copied]);
        Self {
            metric,
            dims,
            k,
            queries,
            rows,
        }
    }
}

fn bits_of(row: &vectorgpu_core::exact::Neighbour) -> (u64, u64) {
    (row.id, row.distance.to_bits())
}

fn bytes_of(engine: &Engine, label: &str) -> u64 {
    let labels = engine.memory().labels;
    let usage = labels.iter().find(|usage| usage.label == label);
    usage.map_or(0, |usage| usage.bytes)
}

#[test]
fn answers_are_the_cpus_in_every_variant() {
    for (number, engine) in engines("answers_are_the_cpus_in_every_variant")
        .iter()
        .enumerate()
    {
        let cache = engine.list_cache();
        for metric in METRICS {
            // The longer rows are the same in every variant.
            let shapes = [
                (17, 5, 1200, 500),
                (3, COPIES_K_MAX, 700, 700),
                (770, 9, 200, 128),
            ];
            for (dims, k, rows, block) in shapes.into_iter().take(if number == 0 { 3 } else { 1 }) {
                let case = Case::random(metric, dims, k, rows);
                let expected = case.answers(None).unwrap();
                let mut copies = passing(&cache, metric, dims, false);
                let found = case.answers(Some((&mut copies, block))).unwrap();
                assert_eq!(found, expected, "{metric:?} {dims}");
                assert_eq!(cache.lists_of(7), 0, "a block stays");
            }
        }
    }
}

#[test]
fn memory_is_given_back_when_the_copies_are_dropped() {
    let Some(engine) = engine(&EngineBuilder::new(), "memory_is_given_back") else {
        return;
    };
    let cache = engine.list_cache();
    let case = Case::random(Metric::L2, 32, 5, 500);
    let mut copies = passing(&cache, case.metric, case.dims, false);
    {
        // Left in the middle, as by an error of the host.
        let queries = case.queries.chunks_exact(case.dims);
        let mut search = ExactSearch::new(case.metric, case.dims, case.k, queries).unwrap();
        search.use_copies(&mut copies, 100);
        for (row, id) in case.rows.chunks_exact(case.dims).take(250).zip(0..) {
            search.push(id, row, &mut go_on).unwrap();
        }
    }
    assert!(bytes_of(&engine, LABEL) > 0);
    drop(copies);
    engine.trim();
    assert_eq!(bytes_of(&engine, LABEL), 0);
}

#[test]
fn a_lost_device_costs_no_answer_where_the_cpu_may_go_on() {
    for goes_on in [true, false] {
        let Some(engine) = engine(&EngineBuilder::new(), "a_lost_device_costs_no_answer") else {
            return;
        };
        let cache = engine.list_cache();
        let case = Case::random(Metric::Cosine, 12, 5, 600);
        let mut copies = passing(&cache, case.metric, case.dims, goes_on);
        let queries = case.queries.chunks_exact(case.dims);
        let mut search = ExactSearch::new(case.metric, case.dims, case.k, queries).unwrap();
        search.use_copies(&mut copies, 100);
        let mut rows = case.rows.chunks_exact(case.dims).zip(0..);
        let pushed = rows.try_for_each(|(row, id)| {
            if id == 350 {
                engine.simulate_loss().unwrap();
            }
            search.push(id, row, &mut go_on)
        });
        let found = pushed.and_then(|()| search.finish(&mut go_on));
        if goes_on {
            let found = found.unwrap().nearest;
            let bits: Answers = found
                .iter()
                .map(|rows| rows.iter().map(bits_of).collect())
                .collect();
            assert_eq!(bits, case.answers(None).unwrap());
        } else {
            assert_eq!(found.unwrap_err().kind(), ErrorKind::DeviceLost);
        }
    }
}

#[test]
fn lists_that_fill_the_memory_make_room() {
    let builder = EngineBuilder::new().vram_limit(16 << 20).staging(1 << 20);
    let Some(engine) = engine(&builder, "lists_that_fill_the_memory_make_room") else {
        return;
    };
    let cache = engine.list_cache();
    let indexed = CopiedIndex {
        number: 1,
        metric: Metric::L2,
        storage: Storage::F16,
        dims: 64,
        rows: 0,
        label: "vectorgpu.lists.test",
    };
    let mut lists = IndexCopies::open(&cache, indexed, Box::new(|_| false), &mut go_on).unwrap();
    // As many as fit; none of them is in use.
    let mut held = 0;
    while lists.begin(held, 2000, &mut go_on).is_ok() {
        lists.finish(held, CopyMark::default());
        held += 1;
    }
    assert!(held > 10);
    lists.release();
    let case = Case::random(Metric::L2, 64, 5, 30_000);
    let mut copies = passing(&cache, case.metric, case.dims, false);
    let rows = block_rows(case.dims, copies.block_rows().unwrap());
    assert!(rows < 30_000, "several blocks");
    let found = case.answers(Some((&mut copies, rows))).unwrap();
    assert_eq!(found, case.answers(None).unwrap());
    let memory = engine.memory();
    assert!(memory.peak_bytes <= memory.limit_bytes, "{memory:?}");
}
