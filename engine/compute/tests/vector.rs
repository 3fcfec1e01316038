//! Kernels over whole vectors against their CPU twins, in every variant.

mod support;

use proptest::prelude::*;
use support::{Random, engines, go_on};
use vectorgpu_compute::{Engine, reference};
use vectorgpu_core::ErrorKind;

fn gpu_add(engine: &Engine, a: &[f32], scale: f32, b: &[f32]) -> Vec<f32> {
    let upload = |values: &[f32]| engine.upload("vectorgpu.test", values, &mut go_on).unwrap();
    let (a_array, b_array) = (upload(a), upload(b));
    let sum = engine.array("vectorgpu.test", a.len(), &mut go_on).unwrap();
    engine.write(&sum, &vec![f32::NAN; a.len()], &mut go_on).unwrap();
    let mut step = engine.step();
    step.add(&a_array, scale, &b_array, &sum).unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&sum, &mut go_on).unwrap()
}

/// Two roundings where the device has no fused multiply-add, and what a flushed subnormal loses.
fn check_add(engine: &Engine, a: &[f32], scale: f32, b: &[f32]) {
    let want = reference::add(a, scale, b);
    for (i, (got, want)) in gpu_add(engine, a, scale, b).iter().zip(want).enumerate() {
        let product = f64::from(scale) * f64::from(b[i]);
        let allowed =
            f64::from(f32::EPSILON) * (product.abs() + want.abs()) + 4.0 * f64::from(f32::MIN_POSITIVE);
        let error = (f64::from(*got) - want).abs();
        assert!(error <= allowed, "element {i} of {}: {got} for {want}", a.len());
    }
}

#[test]
fn add_agrees_with_its_twin_for_every_length() {
    for engine in engines("add_agrees_with_its_twin_for_every_length") {
        let mut random = Random(21);
        for n in [0, 1, 3, 4, 31, 33, 768, 1536, 16_000, 100_000] {
            check_add(
                &engine,
                &random.floats(n),
                random.float() * 10.0,
                &random.floats(n),
            );
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn add_agrees_with_its_twin_for_any_finite_numbers() {
    for engine in engines("add_agrees_with_its_twin_for_any_finite_numbers") {
        let values = prop::collection::vec((-1e18_f32..1e18, -1e18_f32..1e18), 1..300);
        proptest!(support::cases(20), |(pairs in values, scale in -1e3_f32..1e3)| {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            check_add(&engine, &a, scale, &b);
        });
    }
}

#[test]
fn add_carries_nan_and_infinity_on() {
    for engine in engines("add_carries_nan_and_infinity_on") {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
        let got = gpu_add(&engine, &special, 1.0, &[1.0, 1.0, 1.0, f32::MAX]);
        assert!(got[0].is_nan());
        assert_eq!(got[1..], [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]);
        let opposite = gpu_add(&engine, &[f32::INFINITY], -1.0, &[f32::INFINITY]);
        assert!(opposite[0].is_nan());
    }
}

#[test]
fn add_refuses_arrays_of_different_lengths() {
    for engine in engines("add_refuses_arrays_of_different_lengths") {
        let upload = |n| {
            engine
                .upload("vectorgpu.test", &vec![0.0_f32; n], &mut go_on)
                .unwrap()
        };
        let error = engine
            .step()
            .add(&upload(3), 1.0, &upload(4), &upload(3))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
