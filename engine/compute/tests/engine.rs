//! Arrays, steps, waiting as a future, profiling, slices, and the pipeline cache.

mod support;

use std::path::PathBuf;

use proptest::prelude::*;
use support::{Random, engine, engines, go_on};
use vectorgpu_compute::{Array, Engine, EngineBuilder, Feature, Profiling, RangeError};
use vectorgpu_core::ErrorKind;

fn upload(engine: &Engine, values: &[f32]) -> Array<f32> {
    engine.upload("vectorgpu.test", values, &mut go_on).unwrap()
}

/// An array of its own, as a kernel's result needs it.
fn result(engine: &Engine, len: usize) -> Array<f32> {
    let array = engine.array("vectorgpu.test", len, &mut go_on).unwrap();
    engine.write(&array, &vec![0.0; len], &mut go_on).unwrap();
    array
}

#[test]
fn what_goes_up_comes_down_whatever_its_size_and_type() {
    for engine in engines("what_goes_up_comes_down_whatever_its_size_and_type") {
        for n in [0, 1, 2, 3, 5, 1000, 3_000_001] {
            let mut random = Random(31);
            let bytes: Vec<u8> = (0..n).map(|_| random.bits().to_le_bytes()[0]).collect();
            let array = engine.upload("vectorgpu.test", &bytes, &mut go_on).unwrap();
            assert!(engine.download(&array, &mut go_on).unwrap() == bytes, "{n} bytes");
            assert!(pollster::block_on(engine.download_async(&array)).unwrap() == bytes);
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn a_step_runs_its_kernels_in_order_however_many() {
    for engine in engines("a_step_runs_its_kernels_in_order_however_many") {
        let one = upload(&engine, &[1.0; 100]);
        let (mut sum, mut next) = (result(&engine, 100), result(&engine, 100));
        let mut step = engine.step();
        for _ in 0..1500 {
            step.add(&sum, 1.0, &one, &next).unwrap();
            std::mem::swap(&mut sum, &mut next);
        }
        assert_eq!(step.dispatches(), 1500);
        let before = engine.counters().submissions;
        step.run(&mut go_on).unwrap();
        let submissions = engine.counters().submissions - before;
        assert!(
            (4..=50).contains(&submissions),
            "{submissions}: the device waits for the host, or the host for it"
        );
        assert_eq!(engine.download(&sum, &mut go_on).unwrap(), [1500.0; 100]);
        let counters = engine.counters();
        assert!(counters.bind_group_hits >= 1400, "{counters:?}");
        assert!(counters.pipeline_hits >= 1499);
    }
}

#[test]
fn two_steps_recorded_at_once_do_not_disturb_each_other() {
    for engine in engines("two_steps_recorded_at_once_do_not_disturb_each_other") {
        let (a, b) = (upload(&engine, &[1.0; 10]), upload(&engine, &[2.0; 10]));
        let results = [0, 1].map(|_| result(&engine, 10));
        let mut first = engine.step();
        let mut second = engine.step();
        first.add(&a, 1.0, &b, &results[0]).unwrap();
        second.add(&a, 10.0, &b, &results[1]).unwrap();
        let c = upload(&engine, &[5.0; 10]);
        second.run(&mut go_on).unwrap();
        first.run(&mut go_on).unwrap();
        assert_eq!(engine.download(&results[0], &mut go_on).unwrap(), [3.0; 10]);
        assert_eq!(engine.download(&results[1], &mut go_on).unwrap(), [21.0; 10]);
        assert_eq!(engine.download(&c, &mut go_on).unwrap(), [5.0; 10]);
    }
}

#[test]
fn a_submitted_step_can_be_awaited_or_dropped() {
    for engine in engines("a_submitted_step_can_be_awaited_or_dropped") {
        let (a, b) = (upload(&engine, &[1.0; 1000]), upload(&engine, &[2.0; 1000]));
        let sum = result(&engine, 1000);
        let record = || {
            let mut step = engine.step();
            step.add(&a, 1.0, &b, &sum).unwrap();
            step.submit(&mut go_on).unwrap()
        };
        pollster::block_on(record()).unwrap();
        assert_eq!(engine.download(&sum, &mut go_on).unwrap(), [3.0; 1000]);
        let pending = record();
        while !pending.is_done().unwrap() {
            std::hint::spin_loop();
        }
        pending.wait(&mut go_on).unwrap();
        drop(record());
        drop((a, b, sum));
        engine
            .step()
            .submit(&mut go_on)
            .unwrap()
            .wait(&mut go_on)
            .unwrap();
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn a_slice_shares_memory_and_must_be_aligned() {
    for engine in engines("a_slice_shares_memory_and_must_be_aligned") {
        let values: Vec<f32> = (0..200_u16).map(f32::from).collect();
        let array = upload(&engine, &values);
        let part = array.slice(64..100).unwrap();
        assert_eq!(engine.download(&part, &mut go_on).unwrap(), values[64..100]);
        assert!(matches!(
            array.slice(1..4).err(),
            Some(RangeError::MisalignedOffset { offset: 4, .. })
        ));
        assert!(matches!(
            array.slice(128..201).err(),
            Some(RangeError::OutOfBounds { end: 804, .. })
        ));
        drop(array);
        assert_eq!(engine.download(&part, &mut go_on).unwrap(), values[64..100]);
    }
}

#[test]
fn a_result_that_shares_its_buffer_with_an_argument_is_refused() {
    let test = "a_result_that_shares_its_buffer_with_an_argument_is_refused";
    let Some(engine) = engine(&EngineBuilder::new(), test) else {
        return;
    };
    let (a, b) = (upload(&engine, &[1.0; 10]), upload(&engine, &[1.0; 10]));
    let own = result(&engine, 10);
    let mut step = engine.step();
    let shared = step.add(&a, 1.0, &a, &b).unwrap_err();
    assert_eq!(shared.kind(), ErrorKind::InvalidArgument);
    assert!(shared.message().contains("shares its buffer"), "{shared}");
    assert!(step.add(&own, 1.0, &a, &own).is_err());
    step.add(&a, 1.0, &a, &own).unwrap();
    step.run(&mut go_on).unwrap();
    assert_eq!(engine.download(&own, &mut go_on).unwrap(), [2.0; 10]);
}

#[test]
fn a_copy_goes_between_buffers_and_keeps_its_place_in_the_step() {
    for engine in engines("a_copy_goes_between_buffers_and_keeps_its_place_in_the_step") {
        let a = upload(&engine, &[1.0; 9]);
        let (first, second) = (result(&engine, 9), result(&engine, 12));
        let mut step = engine.step();
        step.add(&a, 1.0, &a, &first).unwrap();
        step.copy(&first, &second).unwrap();
        step.add(&a, 2.0, &a, &first).unwrap();
        assert!(step.copy(&second, &first).is_err(), "12 elements do not fit 9");
        assert!(step.copy(&first, &first).is_err());
        step.run(&mut go_on).unwrap();
        let back = engine.download(&second, &mut go_on).unwrap();
        assert_eq!(back, [[2.0; 9].as_slice(), &[0.0; 3]].concat());
        assert_eq!(engine.download(&first, &mut go_on).unwrap(), [3.0; 9]);
    }
}

#[test]
fn a_write_that_does_not_fit_is_refused() {
    let Some(engine) = engine(&EngineBuilder::new(), "a_write_that_does_not_fit_is_refused") else {
        return;
    };
    let array = upload(&engine, &[0.0; 3]);
    let error = engine.write(&array, &[1.0; 4], &mut go_on).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let huge = engine.array::<f32>("vectorgpu.test", usize::MAX / 2, &mut go_on);
    assert_eq!(huge.err().unwrap().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn profiling_times_each_kernel_and_only_while_it_is_on() {
    let builder = EngineBuilder::new();
    let test = "profiling_times_each_kernel_and_only_while_it_is_on";
    let Some(engine) = engine(&builder, test) else {
        return;
    };
    let (a, sum) = (upload(&engine, &[1.0; 100_000]), result(&engine, 100_000));
    let run = |engine: &Engine| {
        let mut step = engine.step();
        step.add(&a, 1.0, &a, &sum).unwrap();
        step.add(&a, 2.0, &a, &sum).unwrap();
        let dispatches = step.dispatches();
        step.run(&mut go_on).unwrap();
        u64::try_from(dispatches).unwrap()
    };
    run(&engine);
    assert_eq!(engine.profile(), []);
    engine.set_profiling(Profiling::Kernels);
    let dispatches = run(&engine);
    engine.set_profiling(Profiling::Off);
    run(&engine);
    let profile = engine.profile();
    assert_eq!(profile.len(), 1, "{profile:?}");
    assert_eq!((profile[0].kernel, profile[0].dispatches), ("add", dispatches));
    assert!(!profile[0].total.is_zero() && profile[0].longest <= profile[0].total);
    engine.reset_profile();
    assert_eq!(engine.profile(), []);
    engine.set_profiling(Profiling::Passes);
    let (few, some) = (upload(&engine, &[1.0; 100]), result(&engine, 100));
    let mut step = engine.step();
    step.add(&few, 1.0, &few, &some).unwrap();
    step.add(&few, 2.0, &few, &some).unwrap();
    step.copy(&few, &some).unwrap();
    step.add(&few, 3.0, &few, &some).unwrap();
    step.run(&mut go_on).unwrap();
    let profile = engine.profile();
    assert_eq!(profile.len(), 1, "{profile:?}");
    assert_eq!((profile[0].kernel, profile[0].dispatches), ("pass", 2));
    assert!(!profile[0].total.is_zero());
    engine.reset_profile();
    let blind = support::engine(&builder.without(Feature::Timestamps), test).unwrap();
    blind.set_profiling(Profiling::Kernels);
    let array = upload(&blind, &[1.0; 100]);
    let other = result(&blind, 100);
    let mut step = blind.step();
    step.add(&array, 1.0, &array, &other).unwrap();
    step.run(&mut go_on).unwrap();
    assert_eq!(blind.profile(), []);
}

fn cache_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("vectorgpu-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn compiled_kernels_are_kept_on_disk_and_a_damaged_file_does_no_harm() {
    let folder = cache_folder("pipelines");
    let builder = EngineBuilder::new().pipeline_cache(&folder);
    let test = "compiled_kernels_are_kept_on_disk_and_a_damaged_file_does_no_harm";
    let run = || {
        let engine = engine(&builder, test)?;
        let (a, sum) = (upload(&engine, &[1.0; 10]), result(&engine, 10));
        let mut step = engine.step();
        step.add(&a, 1.0, &a, &sum).unwrap();
        step.run(&mut go_on).unwrap();
        assert_eq!(engine.download(&sum, &mut go_on).unwrap(), [2.0; 10]);
        // Compiling one small kernel may be too quick to be worth a file; all variants of the search kernels are not.
        support::score_everything(&engine);
        Some(engine.counters().pipeline_cache_bytes_read)
    };
    let Some(first) = run() else { return };
    assert_eq!(first, 0);
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(
        run().unwrap() > 0,
        "the second engine reads what the first one wrote"
    );
    std::fs::write(&files[0], b"not a cache").unwrap();
    assert_eq!(run().unwrap(), 0);
    assert!(run().unwrap() > 0, "a good file has replaced the damaged one");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_tuned_constant_gives_another_pipeline_and_the_same_result() {
    let test = "a_tuned_constant_gives_another_pipeline_and_the_same_result";
    let Some(engine) = engine(&EngineBuilder::new(), test) else {
        return;
    };
    let run = |value: Option<u32>| {
        if let Some(value) = value {
            engine.tune("add", "WG", value);
        }
        let (a, sum) = (upload(&engine, &[1.0; 1000]), result(&engine, 1000));
        let mut step = engine.step();
        step.add(&a, 1.0, &a, &sum).unwrap();
        step.run(&mut go_on).unwrap();
        assert_eq!(engine.download(&sum, &mut go_on).unwrap(), [2.0; 1000]);
        engine.counters().pipelines
    };
    let first = run(None);
    assert_eq!(run(Some(256)), first + 1);
    assert_eq!(
        run(Some(7)),
        first + 1,
        "7 is no candidate, so the table's value counts"
    );
    assert!(
        vectorgpu_compute::tunable_constants()
            .iter()
            .any(|tunable| tunable.kernel == "add")
    );
}

#[test]
fn a_cache_folder_that_cannot_be_written_costs_nothing_but_time() {
    let builder = EngineBuilder::new().pipeline_cache("/proc/nowhere");
    let Some(engine) = engine(
        &builder,
        "a_cache_folder_that_cannot_be_written_costs_nothing_but_time",
    ) else {
        return;
    };
    support::score_everything(&engine);
    engine.trim();
}

#[test]
fn memory_is_never_beyond_the_budget_and_never_leaks() {
    let builder = EngineBuilder::new().vram_limit(8 << 20).staging(1 << 20);
    let Some(engine) = engine(&builder, "memory_is_never_beyond_the_budget_and_never_leaks") else {
        return;
    };
    let steps = prop::collection::vec((0_u8..4, 1_usize..600_000), 1..40);
    proptest!(support::cases(12), |(steps in steps)| {
        let mut held: Vec<(Array<f32>, f32)> = Vec::new();
        for (kind, size) in steps {
            if kind == 0 && !held.is_empty() {
                held.swap_remove(size % held.len());
                continue;
            }
            let mark = f32::from(u16::try_from(size % 1000).unwrap());
            match engine.upload("vectorgpu.test", &vec![mark; size], &mut go_on) {
                Ok(array) => held.push((array, mark)),
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                    held.pop();
                }
            }
            let memory = engine.memory();
            prop_assert!(memory.used_bytes <= memory.limit_bytes && memory.peak_bytes <= memory.limit_bytes);
        }
        for (array, mark) in &held {
            let back = engine.download(array, &mut go_on);
            match back {
                Ok(back) => prop_assert!(back.iter().all(|x| x.to_bits() == mark.to_bits())),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory),
            }
        }
        held.clear();
        prop_assert_eq!(engine.memory().in_use().count(), 0);
    });
}
