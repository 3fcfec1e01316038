//! The memory limit under random work: never passed, and nothing left charged when the work is gone.
//!
//! The work is drawn from a seeded generator: centroids uploaded, used and dropped in any order, scans of any size,
//! waits that are cancelled, idle memory given back; the limit is so small that much of it is refused.

mod support;

use support::{Random, encode, engine, go_on};
use vectorgpu_compute::{Engine, EngineBuilder, MemoryReport};
use vectorgpu_core::backend::{Backend, Nearest, NearestBy, RowBlock};
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind};

const DIMS: usize = 64;
const LISTS_MAX: usize = 10_000;
const ROWS_MAX: usize = 12_000;

/// What the steps read: all zeros but for the first element, so that every label is 0 and every score known.
struct Data {
    centroids: Vec<f32>,
    codes: Vec<u8>,
    query: Vec<f32>,
}

/// What became of the steps.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    refused: usize,
    cancelled: usize,
}

impl Tally {
    /// Counts an outcome; only a refusal for want of memory, or a cancelled wait, may take the place of an answer.
    fn count(&mut self, outcome: Result<(), Error>, may_cancel: bool) {
        match outcome.map_err(|error| (error.kind(), error)) {
            Ok(()) => self.done += 1,
            Err((ErrorKind::OutOfMemory, _)) => self.refused += 1,
            Err((ErrorKind::Cancelled, _)) if may_cancel => self.cancelled += 1,
            Err((_, error)) => panic!("{error}: {:?}", error.detail()),
        }
    }
}

fn data() -> Data {
    let mut random = Random(41);
    let mut centroids = vec![1.0; LISTS_MAX * DIMS];
    centroids[..DIMS].fill(0.0);
    Data {
        centroids,
        codes: encode(Element::F32, &vec![0.0; ROWS_MAX * DIMS]),
        query: random.floats(DIMS),
    }
}

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.bits() % u64::try_from(end).unwrap()).unwrap()
}

fn score(engine: &Engine, data: &Data, rows: usize, questions: usize) -> Result<(), Error> {
    let block = RowBlock {
        codes: &data.codes[..rows * DIMS * 4],
        element: Element::F32,
        dims: DIMS,
    };
    let mut scores = Vec::new();
    let mut asked = 0;
    let mut keep_waiting = || {
        asked += 1;
        asked <= questions
    };
    let mut backend = engine.backend();
    backend.score(Score::Dot, &data.query, block, &mut scores, &mut keep_waiting)?;
    assert!(scores == vec![0.0; rows], "a wrong score");
    Ok(())
}

fn assign(nearest: &mut dyn Nearest, rows: usize) -> Result<(), Error> {
    let mut labels = vec![9; rows];
    nearest.assign(&vec![0.0; rows * DIMS], &mut labels, &mut go_on)?;
    assert!(labels == vec![0; rows], "a wrong label");
    Ok(())
}

/// Runs `steps` random steps; after each of them the limit holds.
fn stress(engine: &Engine, data: &Data, seed: u64, steps: usize) -> Tally {
    let limit_bytes = engine.memory().limit_bytes;
    let mut random = Random(seed);
    let mut held: Vec<Box<dyn Nearest>> = Vec::new();
    let mut tally = Tally::default();
    for step in 0..steps {
        match below(&mut random, 8) {
            0..=2 => {
                let lists = 1 + below(&mut random, LISTS_MAX);
                let outcome = engine.backend().nearest(
                    &data.centroids[..lists * DIMS],
                    DIMS,
                    NearestBy::L2,
                    &mut go_on,
                );
                tally.count(outcome.map(|nearest| held.push(nearest)), false);
            }
            3 if !held.is_empty() => {
                let chosen = below(&mut random, held.len());
                let rows = 1 + below(&mut random, 200);
                tally.count(assign(&mut *held[chosen], rows), false);
            }
            4 | 5 if !held.is_empty() => drop(held.swap_remove(below(&mut random, held.len()))),
            6 => engine.trim(),
            _ => {
                let rows = below(&mut random, ROWS_MAX);
                let questions = if below(&mut random, 3) == 0 {
                    below(&mut random, 4)
                } else {
                    usize::MAX
                };
                tally.count(score(engine, data, rows, questions), true);
            }
        }
        let memory = engine.memory();
        assert!(
            memory.used_bytes <= limit_bytes,
            "seed {seed} step {step}: {memory:?}"
        );
        assert_adds_up(&memory);
    }
    tally
}

/// The labels account for every byte.
fn assert_adds_up(memory: &MemoryReport) {
    let sum: u64 = memory.labels.iter().map(|usage| usage.bytes).sum();
    assert_eq!(sum, memory.used_bytes, "{memory:?}");
}

#[test]
fn random_work_never_passes_the_limit_and_leaves_nothing_behind() {
    let test = "random_work_never_passes_the_limit_and_leaves_nothing_behind";
    let data = data();
    let mut total = Tally::default();
    for (seed, limit_bytes) in [(1, 4 << 20), (2, 4 << 20), (3, 6 << 20), (4, 9 << 20)] {
        let Some(engine) = engine(&EngineBuilder::new().vram_limit(limit_bytes), test) else {
            return;
        };
        let tally = stress(&engine, &data, seed, 150);
        total.done += tally.done;
        total.refused += tally.refused;
        total.cancelled += tally.cancelled;
        while engine.is_busy() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let memory = engine.memory();
        assert_eq!(memory.in_use().count(), 0, "seed {seed}: {memory:?}");
        assert!(memory.peak_bytes <= limit_bytes, "seed {seed}: {memory:?}");
        engine.trim();
        assert_eq!(
            engine.memory().used_bytes,
            0,
            "seed {seed}: {:?}",
            engine.memory()
        );
        // Whatever was refused before, there is room again.
        score(&engine, &data, ROWS_MAX, usize::MAX).unwrap();
    }
    assert!(
        total.done > 100 && total.refused > 20 && total.cancelled > 5,
        "the work was too tame: {total:?}"
    );
}
