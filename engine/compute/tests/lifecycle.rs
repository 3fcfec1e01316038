//! Cancelling, losing and re-opening the device, the budget, and what must be empty afterwards.

mod support;

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Random, encode, engine, go_on};
use vectorgpu_compute::{Engine, EngineBuilder};
use vectorgpu_core::backend::{Backend, NearestBy, RowBlock};
use vectorgpu_core::metric::{Score, Storage};
use vectorgpu_core::{Error, ErrorKind};

fn score(engine: &Engine, dims: usize, n: usize) -> Result<Vec<f32>, Error> {
    let mut random = Random(8);
    let query = random.floats(dims);
    let codes = encode(Storage::F32, &random.floats(dims * n));
    let mut scores = Vec::new();
    let block = RowBlock {
        codes: &codes,
        storage: Storage::F32,
        dims,
    };
    engine
        .backend()
        .score(Score::SquaredL2, &query, block, &mut scores, &mut go_on)?;
    Ok(scores)
}

fn wait_until_idle(engine: &Engine) {
    let started = Instant::now();
    while engine.is_busy() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the device stays busy"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All memory comes back: nothing in use, and nothing charged once the reserves are given up.
fn assert_no_leak(engine: &Engine) {
    wait_until_idle(engine);
    assert_eq!(engine.memory().in_use().collect::<Vec<_>>(), Vec::<&_>::new());
    engine.trim();
    assert_eq!(engine.memory().used_bytes, 0, "{:?}", engine.memory());
}

#[test]
fn cancelling_at_any_question_leaves_the_engine_usable() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "cancelling_at_any_question_leaves_the_engine_usable",
    ) else {
        return;
    };
    let want = score(&engine, 64, 1000).unwrap();
    let mut random = Random(9);
    let (dims, lists, n) = (256, 700, 6000);
    let centroids = random.floats(lists * dims);
    let rows = random.floats(n * dims);
    let mut nearest = engine.backend().nearest(&centroids, dims, NearestBy::L2).unwrap();
    let mut labels = vec![0; n];
    nearest.assign(&rows, &mut labels, &mut go_on).unwrap();
    let expected = labels.clone();
    let mut cancelled = 0;
    for allowed in 0..12 {
        let mut asked = 0;
        let outcome = nearest.assign(&rows, &mut labels, &mut || {
            asked += 1;
            asked <= allowed
        });
        match outcome {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                assert_eq!(asked, allowed + 1, "nothing is asked after a refusal");
                cancelled += 1;
            }
            Ok(()) => assert!(asked <= allowed),
        }
        assert_eq!(score(&engine, 64, 1000).unwrap(), want);
    }
    assert!(cancelled >= 2, "the work was too short to cancel: {cancelled}");
    assert_eq!(engine.counters().cancellations, cancelled);
    nearest.assign(&rows, &mut labels, &mut go_on).unwrap();
    assert_eq!(labels, expected);
    drop(nearest);
    assert_no_leak(&engine);
}

#[test]
fn a_cancelled_wait_ends_soon() {
    let Some(engine) = engine(&EngineBuilder::new(), "a_cancelled_wait_ends_soon") else {
        return;
    };
    let mut random = Random(10);
    let (dims, lists, n) = (784, 1000, 20_000);
    let centroids = random.floats(lists * dims);
    let rows = random.floats(n * dims);
    let mut nearest = engine.backend().nearest(&centroids, dims, NearestBy::L2).unwrap();
    let mut labels = vec![0; n];
    let started = Instant::now();
    let mut refused_at = None;
    let outcome = nearest.assign(&rows, &mut labels, &mut || {
        let go_on = started.elapsed() < Duration::from_millis(500);
        if !go_on {
            refused_at.get_or_insert_with(Instant::now);
        }
        go_on
    });
    let Some(refused_at) = refused_at else {
        assert!(
            outcome.is_ok(),
            "finished within 500 ms, so it must have succeeded: {outcome:?}"
        );
        return;
    };
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(refused_at.elapsed() < Duration::from_millis(50));
    wait_until_idle(&engine);
    // What was already submitted runs on; a second allows for a machine busy with other tests.
    assert!(
        refused_at.elapsed() < Duration::from_secs(1),
        "{:?}",
        refused_at.elapsed()
    );
}

#[test]
fn a_lost_device_is_an_error_and_a_new_engine_works() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "a_lost_device_is_an_error_and_a_new_engine_works",
    ) else {
        return;
    };
    let want = score(&engine, 10, 100).unwrap();
    let mut nearest = engine.backend().nearest(&[0.0; 30], 10, NearestBy::L2).unwrap();
    engine.simulate_loss().unwrap();
    assert!(engine.is_lost() && !engine.is_busy());
    assert_eq!(score(&engine, 10, 100).unwrap_err().kind(), ErrorKind::DeviceLost);
    assert_eq!(
        nearest
            .assign(&[0.0; 10], &mut [0], &mut go_on)
            .unwrap_err()
            .kind(),
        ErrorKind::DeviceLost
    );
    assert_eq!(
        engine
            .backend()
            .nearest(&[0.0; 30], 10, NearestBy::L2)
            .err()
            .unwrap()
            .kind(),
        ErrorKind::DeviceLost
    );
    assert_eq!(engine.simulate_loss().unwrap_err().kind(), ErrorKind::DeviceLost);
    engine.trim();
    drop(nearest);
    drop(engine);
    let again = support::engine(&EngineBuilder::new(), "re-opening").unwrap();
    assert_eq!(score(&again, 10, 100).unwrap(), want);
}

#[test]
fn work_beyond_the_budget_is_out_of_memory_and_frees_what_it_took() {
    let builder = EngineBuilder::new().vram_limit(8 << 20);
    let Some(engine) = engine(
        &builder,
        "work_beyond_the_budget_is_out_of_memory_and_frees_what_it_took",
    ) else {
        return;
    };
    let centroids = vec![0.5; 3000 * 1000];
    let refused = engine
        .backend()
        .nearest(&centroids, 1000, NearestBy::L2)
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
    assert_eq!(
        score(&engine, 1000, 20_000).unwrap().len(),
        20_000,
        "80 MB of rows pass through 8 MiB"
    );
    assert!(engine.memory().peak_bytes <= 8 << 20);
    assert_no_leak(&engine);
}

#[test]
fn memory_stays_flat_over_many_calls() {
    let Some(engine) = engine(&EngineBuilder::new(), "memory_stays_flat_over_many_calls") else {
        return;
    };
    let mut used = Vec::new();
    for _ in 0..60 {
        score(&engine, 96, 500).unwrap();
        used.push(engine.memory().used_bytes);
    }
    assert_eq!(used[5], used[59], "{used:?}");
    assert_no_leak(&engine);
}

#[test]
fn counters_tell_what_was_done() {
    let Some(engine) = engine(&EngineBuilder::new(), "counters_tell_what_was_done") else {
        return;
    };
    let before = engine.counters();
    score(&engine, 100, 1000).unwrap();
    let after = engine.counters();
    assert_eq!(after.dispatches - before.dispatches, 1);
    assert_eq!(after.submissions - before.submissions, 1);
    assert_eq!(after.bytes_up - before.bytes_up, 100 * 1000 * 4 + 100 * 4 + 8);
    assert_eq!(after.bytes_down - before.bytes_down, 4000);
    assert_eq!(after.pipelines, 1);
    assert!(after.waits > before.waits);
}

#[test]
fn a_memory_limit_too_small_to_work_is_refused() {
    let error = EngineBuilder::new()
        .allow_software(true)
        .vram_limit(1 << 20)
        .open()
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

static GUARDS_MADE: AtomicUsize = AtomicUsize::new(0);
static GUARDS_HELD: AtomicUsize = AtomicUsize::new(0);

struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        GUARDS_HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

fn hold() -> Box<dyn Any> {
    GUARDS_MADE.fetch_add(1, Ordering::SeqCst);
    GUARDS_HELD.fetch_add(1, Ordering::SeqCst);
    Box::new(Held)
}

#[test]
fn the_thread_guard_is_held_over_calls_and_released_while_the_caller_is_asked() {
    let builder = EngineBuilder::new().thread_guard(hold);
    let test = "the_thread_guard_is_held_over_calls_and_released_while_the_caller_is_asked";
    let Some(engine) = engine(&builder, test) else {
        return;
    };
    let opened = GUARDS_MADE.load(Ordering::SeqCst);
    assert!(opened > 0, "listing and opening hold the guard");
    let mut asked = 0;
    let mut nearest = engine.backend().nearest(&[0.0; 300], 3, NearestBy::L2).unwrap();
    nearest
        .assign(&[0.0; 3000], &mut [0; 1000], &mut || {
            asked += 1;
            GUARDS_HELD.load(Ordering::SeqCst) == 0
        })
        .unwrap();
    assert!(asked > 0);
    assert!(
        GUARDS_MADE.load(Ordering::SeqCst) > opened,
        "the first kernel and submission hold it"
    );
    drop(nearest);
    engine.leak();
    assert_eq!(GUARDS_HELD.load(Ordering::SeqCst), 0);
}
