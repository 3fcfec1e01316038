//! Cancelling, losing and re-opening the device, the budget, and what must be empty afterwards.

mod support;

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Random, encode, engine, go_on};
use vectorgpu_compute::{Engine, EngineBuilder};
use vectorgpu_core::backend::{Backend, NearestBy, RowBlock};
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind};

fn score(engine: &Engine, dims: usize, n: usize) -> Result<Vec<f32>, Error> {
    let mut random = Random(8);
    let query = random.floats(dims);
    let codes = encode(Element::F32, &random.floats(dims * n));
    let mut scores = Vec::new();
    let block = RowBlock {
        codes: &codes,
        element: Element::F32,
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
    // Enough for several submissions, on a fast device as on a slow one.
    let n = if engine.adapter().software { 6000 } else { 120_000 };
    let (dims, lists) = (256, 700);
    let centroids = random.floats(lists * dims);
    let rows = random.floats(n * dims);
    let mut nearest = engine
        .backend()
        .nearest(&centroids, dims, NearestBy::L2, &mut go_on)
        .unwrap();
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
    let mut nearest = engine
        .backend()
        .nearest(&centroids, dims, NearestBy::L2, &mut go_on)
        .unwrap();
    let mut labels = vec![0; n];
    // The driver compiles at the first dispatch, which no limit of ours can shorten.
    nearest
        .assign(&rows[..dims * 100], &mut labels[..100], &mut go_on)
        .unwrap();
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
    assert!(refused_at.elapsed() < Duration::from_millis(100));
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
    let mut nearest = engine
        .backend()
        .nearest(&[0.0; 30], 10, NearestBy::L2, &mut go_on)
        .unwrap();
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
            .nearest(&[0.0; 30], 10, NearestBy::L2, &mut go_on)
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
        .nearest(&centroids, 1000, NearestBy::L2, &mut go_on)
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
fn the_longest_rows_fit_the_smallest_budget() {
    let builder = EngineBuilder::new().vram_limit(4 << 20);
    let Some(engine) = engine(&builder, "the_longest_rows_fit_the_smallest_budget") else {
        return;
    };
    assert_eq!(score(&engine, 16_000, 100).unwrap().len(), 100);
    let mut labels = [9; 40];
    let mut nearest = engine
        .backend()
        .nearest(&[1.0; 16_000], 16_000, NearestBy::Dot, &mut go_on)
        .unwrap();
    nearest
        .assign(&vec![1.0; 40 * 16_000], &mut labels, &mut go_on)
        .unwrap();
    assert_eq!(labels, [0; 40]);
    drop(nearest);
    assert!(engine.memory().peak_bytes <= 4 << 20);
    assert_no_leak(&engine);
}

#[test]
fn idle_buffers_are_kept_only_up_to_a_quarter_of_the_budget() {
    let builder = EngineBuilder::new().vram_limit(16 << 20).staging(1 << 20);
    let Some(engine) = engine(
        &builder,
        "idle_buffers_are_kept_only_up_to_a_quarter_of_the_budget",
    ) else {
        return;
    };
    for n in [100, 300, 900, 1500, 2000, 2500, 3000, 3500, 4000] {
        score(&engine, 96, n).unwrap();
    }
    let memory = engine.memory();
    let idle = memory
        .labels
        .iter()
        .find(|usage| usage.label == "vectorgpu.pool.idle");
    let idle_bytes = idle.map_or(0, |usage| usage.bytes);
    assert!(idle_bytes <= 4 << 20, "{memory:?}");
    assert!(idle_bytes > 1 << 20, "something is kept: {memory:?}");
    assert_no_leak(&engine);
}

#[test]
fn a_wait_beyond_its_deadline_counts_as_loss_and_closing_does_not_wait() {
    let builder = EngineBuilder::new().wait_deadline(Duration::ZERO);
    let Some(engine) = engine(
        &builder,
        "a_wait_beyond_its_deadline_counts_as_loss_and_closing_does_not_wait",
    ) else {
        return;
    };
    let mut random = Random(11);
    let (dims, lists, n) = (784, 2000, 20_000);
    let mut nearest = engine
        .backend()
        .nearest(&random.floats(lists * dims), dims, NearestBy::L2, &mut go_on)
        .unwrap();
    let error = nearest
        .assign(&random.floats(n * dims), &mut vec![0; n], &mut go_on)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost);
    assert!(error.detail().unwrap().contains("no answer within"), "{error:?}");
    assert!(engine.is_lost());
    let started = Instant::now();
    drop(nearest);
    drop(engine);
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
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

/// A driver that is unloaded with each engine is not loaded again after some thirty times, on one vendor's hardware.
#[test]
fn engines_can_be_opened_and_closed_many_times() {
    let test = "engines_can_be_opened_and_closed_many_times";
    if engine(&EngineBuilder::new(), test).is_none() {
        return;
    }
    for round in 0..60 {
        let again =
            engine(&EngineBuilder::new(), test).unwrap_or_else(|| panic!("round {round}: no adapter"));
        assert_eq!(
            score(&again, 4, 3).map(|scores| scores.len()),
            Ok(3),
            "round {round}"
        );
    }
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
    assert_eq!(after.bytes_up - before.bytes_up, 100 * 1000 * 4 + 100 * 4);
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
    let mut nearest = engine
        .backend()
        .nearest(&[0.0; 300], 3, NearestBy::L2, &mut go_on)
        .unwrap();
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
