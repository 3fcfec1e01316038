//! The selection of the smallest values against its CPU twin: all equal, indices included.

mod support;

use proptest::prelude::*;
use support::{Random, engine, filled, go_on};
use vectorgpu_compute::{Engine, EngineBuilder, Feature, reference};
use vectorgpu_core::ErrorKind;

/// The kernel's only variants on one device are the places of its parameters.
fn engines(test: &str) -> Vec<Engine> {
    let builder = EngineBuilder::new();
    [builder.clone(), builder.without(Feature::Immediates)]
        .iter()
        .filter_map(|builder| engine(builder, test))
        .collect()
}

fn gpu_top_k(engine: &Engine, values: &[f32], k: usize) -> Vec<(f32, u32)> {
    let values = engine.upload("vectorgpu.test", values, &mut go_on).unwrap();
    let best_values = filled(engine, k, -7.0);
    let best_indices = engine.array("vectorgpu.test", k, &mut go_on).unwrap();
    engine.write(&best_indices, &vec![7; k], &mut go_on).unwrap();
    let mut step = engine.step();
    step.top_k(&values, k, &best_values, &best_indices, &mut go_on)
        .unwrap();
    step.run(&mut go_on).unwrap();
    let best_values = engine.download(&best_values, &mut go_on).unwrap();
    let best_indices = engine.download(&best_indices, &mut go_on).unwrap();
    best_values.into_iter().zip(best_indices).collect()
}

/// Nothing but bits is moved and compared, so nothing is rounded: only -0 comes out as 0, and NaN as one of them.
fn check(engine: &Engine, values: &[f32], k: usize) {
    let mut want = reference::top_k(values, k);
    want.resize(k, (f32::NAN, u32::MAX));
    let got = gpu_top_k(engine, values, k);
    assert_eq!(got.len(), k);
    for (place, (got, want)) in got.into_iter().zip(want).enumerate() {
        let same = if want.0.is_nan() {
            got.0.is_nan()
        } else {
            got.0.to_bits() == (want.0 + 0.0).to_bits()
        };
        assert!(
            same && got.1 == want.1,
            "place {place} of {k} of {}: {got:?} for {want:?}",
            values.len()
        );
    }
}

#[test]
fn top_k_agrees_with_its_twin_for_every_length_and_k() {
    for engine in engines("top_k_agrees_with_its_twin_for_every_length_and_k") {
        let mut random = Random(51);
        for n in [0, 1, 33, 2047, 2048, 2049, 100_000, 1_000_000] {
            let values = random.floats(n);
            for k in [1, 2, 10, 16, 100, 256, 1000, 1024] {
                check(&engine, &values, k);
            }
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn top_k_agrees_with_its_twin_for_any_bits() {
    for engine in engines("top_k_agrees_with_its_twin_for_any_bits") {
        let bits = prop::collection::vec(any::<u32>(), 0..5000);
        proptest!(support::cases(30), |(bits in bits, k in 1..=1024_usize)| {
            let values: Vec<_> = bits.into_iter().map(f32::from_bits).collect();
            check(&engine, &values, k);
        });
    }
}

/// Few different values, so that almost every comparison is decided by the index, across blocks and passes.
#[test]
fn top_k_gives_ties_to_the_lower_index_and_orders_special_values() {
    let special = [
        0.0,
        -0.0,
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-40,
        -1e-40,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        f32::from_bits(1),
    ];
    for engine in engines("top_k_gives_ties_to_the_lower_index_and_orders_special_values") {
        let mut random = Random(52);
        for n in [12, 1000, 2049, 300_000] {
            for different in [1, 2, special.len()] {
                let mut values = Vec::new();
                for _ in 0..n {
                    let choice = usize::try_from(random.bits() >> 33).unwrap() % different;
                    values.push(special[choice]);
                }
                for k in [1, 16, 1000] {
                    check(&engine, &values, k);
                }
            }
        }
    }
}

#[test]
fn top_k_finds_the_smallest_among_nan_and_in_any_order() {
    for engine in engines("top_k_finds_the_smallest_among_nan_and_in_any_order") {
        let mut ascending = Random(54).floats(150_000);
        ascending.sort_unstable_by(f32::total_cmp);
        let descending: Vec<f32> = ascending.iter().rev().copied().collect();
        for k in [1, 33, 513] {
            check(&engine, &ascending, k);
            check(&engine, &descending, k);
            let mut nan = vec![f32::NAN; 150_000];
            check(&engine, &nan, k);
            nan[149_999] = 3.0;
            nan[131_072] = f32::INFINITY;
            check(&engine, &nan, k);
        }
    }
}

#[test]
fn top_k_refuses_other_numbers_of_results() {
    for engine in engines("top_k_refuses_other_numbers_of_results") {
        let values = filled(&engine, 5000, 0.0);
        let results = |k| {
            let indices = engine.array("vectorgpu.test", k, &mut go_on).unwrap();
            (filled(&engine, k, -7.0), indices)
        };
        let refused = |k, places| {
            let (best_values, best_indices) = results(places);
            let mut step = engine.step();
            let error = step.top_k(&values, k, &best_values, &best_indices, &mut go_on);
            assert_eq!(step.dispatches(), 0);
            error.unwrap_err().kind()
        };
        for (k, places) in [(0, 0), (1025, 1025), (10, 9), (10, 11)] {
            assert_eq!(refused(k, places), ErrorKind::InvalidArgument);
        }
    }
}

#[test]
fn top_k_can_be_recorded_twice_in_a_step() {
    for engine in engines("top_k_can_be_recorded_twice_in_a_step") {
        let host = Random(53).floats(50_000);
        let values = engine.upload("vectorgpu.test", &host, &mut go_on).unwrap();
        let mut step = engine.step();
        let results: Vec<_> = [3, 600]
            .into_iter()
            .map(|k| {
                let best_values = filled(&engine, k, -7.0);
                let best_indices = engine.array("vectorgpu.test", k, &mut go_on).unwrap();
                step.top_k(&values, k, &best_values, &best_indices, &mut go_on)
                    .unwrap();
                best_indices
            })
            .collect();
        step.run(&mut go_on).unwrap();
        for best_indices in results {
            let want = reference::top_k(&host, best_indices.len());
            let got = engine.download(&best_indices, &mut go_on).unwrap();
            assert!(got.into_iter().eq(want.into_iter().map(|pair| pair.1)));
        }
    }
}
