//! Kernels over whole vectors against their CPU twins, in every variant.

mod support;

use proptest::prelude::*;
use support::{Random, UNIT, encode, engines, go_on, shapes, sum_bound, upload_rows};
use vectorgpu_compute::{Engine, RowFormat, reference};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::metric::Storage;

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

const STORAGES: [Storage; 2] = [Storage::F32, Storage::F16];

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn gpu_normalize(engine: &Engine, storage: Storage, dims: usize, codes: &[u8]) -> Vec<f32> {
    let rows = upload_rows(engine, storage.into(), dims, codes);
    let normal = engine
        .row_array("vectorgpu.test", RowFormat::F32, rows.rows(), dims, &mut go_on)
        .unwrap();
    let mut step = engine.step();
    step.normalize(&rows, &normal).unwrap();
    step.run(&mut go_on).unwrap();
    floats(&engine.download_rows(&normal, &mut go_on).unwrap())
}

/// Half the relative error of the sum of squares, then a square root, a division and two products, of which Vulkan lets
/// the former be 2.5 ulp off; what a flushed subnormal loses, in rows of length `norm` and in the scaled squares.
fn check_normalize(engine: &Engine, storage: Storage, dims: usize, values: &[f32]) {
    let codes = encode(storage, values);
    let got = gpu_normalize(engine, storage, dims, &codes);
    let want = reference::normalize(storage, dims, &codes);
    assert_eq!(got.len(), want.len());
    for (row, (got, want)) in got.chunks(dims).zip(want.chunks(dims)).enumerate() {
        let norm = values[row * dims..][..dims]
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        let flushed = 2.0 * f64::from(f32::MIN_POSITIVE) / norm.clamp(1e-30, 1.0) + 2f64.powi(-100);
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let allowed = (sum_bound(dims) / 2.0 + 14.0 * UNIT) * want.abs() + flushed;
            let error = (f64::from(got) - want).abs();
            assert!(
                error <= allowed,
                "{storage:?} dims {dims} row {row} element {i}: {got} for {want}, {error:e} > {allowed:e}"
            );
        }
    }
}

#[test]
fn normalize_agrees_with_its_twin_for_every_shape() {
    for engine in engines("normalize_agrees_with_its_twin_for_every_shape") {
        let mut random = Random(22);
        for (dims, n) in shapes() {
            let values = random.floats(n * dims);
            for storage in STORAGES {
                check_normalize(&engine, storage, dims, &values);
            }
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn normalize_neither_overflows_nor_underflows() {
    for engine in engines("normalize_neither_overflows_nor_underflows") {
        let mut random = Random(23);
        for dims in [1, 3, 31, 768, 16_000] {
            for exponent in [
                -90, -70, -50, -41, -38, -30, -1, 1, 40, 49, 51, 57, 63, 64, 100, 127,
            ] {
                let scale = 2f32.powi(exponent);
                let values: Vec<f32> = random.floats(dims * 2).iter().map(|x| x * scale).collect();
                check_normalize(&engine, Storage::F32, dims, &values);
            }
            check_normalize(&engine, Storage::F32, dims, &vec![f32::MAX; dims]);
            check_normalize(&engine, Storage::F32, dims, &vec![-f32::MIN_POSITIVE; dims]);
            check_normalize(&engine, Storage::F16, dims, &vec![65_504.0; dims]);
            let mut mixed = vec![1e-30; dims];
            mixed[dims / 2] = 3e38;
            check_normalize(&engine, Storage::F32, dims, &mixed);
        }
    }
}

#[test]
fn normalize_keeps_zero_rows_and_states_what_is_not_finite() {
    for engine in engines("normalize_keeps_zero_rows_and_states_what_is_not_finite") {
        for dims in [1, 5, 300] {
            for storage in STORAGES {
                let with = |x: f32| {
                    let mut row = vec![0.0; dims];
                    row[dims / 2] = x;
                    gpu_normalize(&engine, storage, dims, &encode(storage, &row))
                };
                assert_eq!(with(0.0), vec![0.0; dims]);
                assert_eq!(with(-0.0), vec![0.0; dims]);
                assert!(with(f32::NAN).iter().all(|x| x.is_nan()));
                for x in [f32::INFINITY, f32::NEG_INFINITY] {
                    let mut row = vec![2.0; dims];
                    row[dims / 2] = x;
                    let got = gpu_normalize(&engine, storage, dims, &encode(storage, &row));
                    for (i, x) in got.iter().enumerate() {
                        assert!(if i == dims / 2 { x.is_nan() } else { *x == 0.0 }, "{got:?}");
                    }
                }
            }
            // Subnormal elements: kept, or zero where the device flushes them.
            let mut row = vec![0.0; dims];
            row[dims / 2] = -1e-44;
            let got = gpu_normalize(&engine, Storage::F32, dims, &encode(Storage::F32, &row))[dims / 2];
            assert!(got == 0.0 || (got + 1.0).abs() <= 1e-6, "{got}");
        }
    }
}
