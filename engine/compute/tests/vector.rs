//! Kernels over whole vectors against their CPU twins, in every variant.

mod support;

use proptest::prelude::*;
use support::{Random, UNIT, encode, engines, filled, go_on, shapes, sum_bound, upload_rows};
use vectorgpu_compute::{BitScore, Engine, Int8Rows, Int8Score, RowArray, RowFormat, RowScore, reference};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::metric::Element;

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

const STORAGES: [Element; 2] = [Element::F32, Element::F16];

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn gpu_normalize(engine: &Engine, element: Element, dims: usize, codes: &[u8]) -> Vec<f32> {
    let rows = upload_rows(engine, element.into(), dims, codes);
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
fn check_normalize(engine: &Engine, element: Element, dims: usize, values: &[f32]) {
    let codes = encode(element, values);
    let got = gpu_normalize(engine, element, dims, &codes);
    let want = reference::normalize(element, dims, &codes);
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
                "{element:?} dims {dims} row {row} element {i}: {got} for {want}, {error:e} > {allowed:e}"
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
            for element in STORAGES {
                check_normalize(&engine, element, dims, &values);
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
                check_normalize(&engine, Element::F32, dims, &values);
            }
            check_normalize(&engine, Element::F32, dims, &vec![f32::MAX; dims]);
            check_normalize(&engine, Element::F32, dims, &vec![-f32::MIN_POSITIVE; dims]);
            check_normalize(&engine, Element::F16, dims, &vec![65_504.0; dims]);
            let mut mixed = vec![1e-30; dims];
            mixed[dims / 2] = 3e38;
            check_normalize(&engine, Element::F32, dims, &mixed);
        }
    }
}

#[test]
fn normalize_keeps_zero_rows_and_states_what_is_not_finite() {
    for engine in engines("normalize_keeps_zero_rows_and_states_what_is_not_finite") {
        for dims in [1, 5, 300] {
            for element in STORAGES {
                let with = |x: f32| {
                    let mut row = vec![0.0; dims];
                    row[dims / 2] = x;
                    gpu_normalize(&engine, element, dims, &encode(element, &row))
                };
                assert_eq!(with(0.0), vec![0.0; dims]);
                assert_eq!(with(-0.0), vec![0.0; dims]);
                assert!(with(f32::NAN).iter().all(|x| x.is_nan()));
                for x in [f32::INFINITY, f32::NEG_INFINITY] {
                    let mut row = vec![2.0; dims];
                    row[dims / 2] = x;
                    let got = gpu_normalize(&engine, element, dims, &encode(element, &row));
                    for (i, x) in got.iter().enumerate() {
                        assert!(if i == dims / 2 { x.is_nan() } else { *x == 0.0 }, "{got:?}");
                    }
                }
            }
            // Subnormal elements: kept, or zero where the device flushes them.
            let mut row = vec![0.0; dims];
            row[dims / 2] = -1e-44;
            let got = gpu_normalize(&engine, Element::F32, dims, &encode(Element::F32, &row))[dims / 2];
            assert!(got == 0.0 || (got + 1.0).abs() <= 1e-6, "{got}");
        }
    }
}

fn gpu_quantize_int8(engine: &Engine, element: Element, dims: usize, codes: &[u8]) -> (Vec<i8>, Vec<f32>) {
    let rows = upload_rows(engine, element.into(), dims, codes);
    let result = engine
        .int8_rows("vectorgpu.test", rows.rows(), dims, &mut go_on)
        .unwrap();
    let mut step = engine.step();
    step.quantize_int8(&rows, &result).unwrap();
    step.run(&mut go_on).unwrap();
    let codes = engine.download_rows(result.codes(), &mut go_on).unwrap();
    let scales = engine.download(result.scales(), &mut go_on).unwrap();
    (bytemuck::cast_slice(&codes).to_vec(), scales)
}

/// Vulkan lets a division be 2.5 ulp off, and both sides round: so a scale may be six half ulps off, and a code by one
/// where the scaled element lies within eight of a tie.
fn check_quantize_int8(engine: &Engine, element: Element, dims: usize, values: &[f32]) {
    let rows = encode(element, values);
    let (codes, scales) = gpu_quantize_int8(engine, element, dims, &rows);
    let (want_codes, want_scales) = reference::quantize_int8(element, dims, &rows);
    assert_eq!((codes.len(), scales.len()), (want_codes.len(), want_scales.len()));
    for (row, (&got, &want)) in scales.iter().zip(&want_scales).enumerate() {
        let error = (f64::from(got) - f64::from(want)).abs();
        assert!(
            error <= 6.0 * UNIT * f64::from(want) || got.is_nan() && want.is_nan(),
            "{element:?} dims {dims} row {row}: scale {got} for {want}"
        );
    }
    let elements = match element {
        Element::F32 => values.to_vec(),
        Element::F16 => values.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect(),
    };
    for (i, (&got, &want)) in codes.iter().zip(&want_codes).enumerate() {
        if got == want {
            continue;
        }
        let row = &elements[i / dims * dims..][..dims];
        let max = row.iter().fold(0.0_f64, |max, x| max.max(f64::from(x.abs())));
        let scaled = f64::from(elements[i]) / max * 127.0;
        let from_tie = (scaled.abs().fract() - 0.5).abs();
        assert!(
            got.abs_diff(want) == 1 && from_tie <= 8.0 * UNIT * scaled.abs(),
            "{element:?} dims {dims} element {i}: {got} for {want}, {scaled}"
        );
    }
}

#[test]
fn quantize_int8_agrees_with_its_twin_for_every_shape() {
    for engine in engines("quantize_int8_agrees_with_its_twin_for_every_shape") {
        let mut random = Random(24);
        for (dims, n) in shapes() {
            let values = random.floats(n * dims);
            for element in STORAGES {
                check_quantize_int8(&engine, element, dims, &values);
            }
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn quantize_int8_agrees_with_its_twin_for_any_finite_numbers() {
    for engine in engines("quantize_int8_agrees_with_its_twin_for_any_finite_numbers") {
        let finite = prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL;
        let any = prop::collection::vec(finite, 1..200);
        // Half steps, of which many are ties.
        let ties = prop::collection::vec((-254_i16..=254).prop_map(|x| f32::from(x) / 2.0), 1..200);
        let small = prop::collection::vec(-1e-3_f32..1e-3, 1..200);
        let values = prop_oneof![any, ties, small];
        proptest!(support::cases(60), |(values in values, dims in 1_usize..60)| {
            let dims = dims.min(values.len());
            let values = &values[..values.len() / dims * dims];
            check_quantize_int8(&engine, Element::F32, dims, values);
        });
    }
}

#[test]
fn quantize_int8_gives_special_rows_the_stated_codes() {
    for engine in engines("quantize_int8_gives_special_rows_the_stated_codes") {
        let quantize = |row: &[f32]| {
            let (codes, scales) =
                gpu_quantize_int8(&engine, Element::F32, row.len(), &encode(Element::F32, row));
            (codes, scales[0])
        };
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for dims in [1, 6, 100] {
                let mut row = vec![1.0; dims];
                row[dims / 2] = bad;
                let (codes, scale) = quantize(&row);
                assert_eq!(codes, vec![0; dims]);
                assert!(scale.is_nan(), "{bad} {scale}");
            }
        }
        let below = 2f32.powi(-119).next_down();
        for zero in [&[0.0, -0.0][..], &[1e-45, -1e-40], &[below]] {
            assert_eq!(quantize(zero), (vec![0; zero.len()], 0.0));
        }
        for max in [2f32.powi(-119), 1.0, 65_504.0, f32::MAX] {
            let row = [max, -max, 0.0, max / 1e4];
            assert_eq!(quantize(&row).0, [127, -127, 0, 0], "{max}");
            check_quantize_int8(&engine, Element::F32, 4, &row);
        }
        // Infinite as f16.
        check_quantize_int8(&engine, Element::F16, 2, &[1e5, 1.0, 65_504.0, 1.0]);
    }
}

fn check_quantize_bits(engine: &Engine, element: Element, dims: usize, values: &[f32]) {
    let codes = encode(element, values);
    let rows = upload_rows(engine, element.into(), dims, &codes);
    let result = engine
        .row_array("vectorgpu.test", RowFormat::Bits, rows.rows(), dims, &mut go_on)
        .unwrap();
    let mut step = engine.step();
    step.quantize_bits(&rows, &result).unwrap();
    step.run(&mut go_on).unwrap();
    let got = engine.download_rows(&result, &mut go_on).unwrap();
    let want: Vec<u8> = reference::quantize_bits(element, dims, &codes)
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert!(got == want, "{element:?} dims {dims}: {got:?} for {want:?}");
}

#[test]
fn quantize_bits_equals_its_twin_for_every_shape_and_special_values() {
    for engine in engines("quantize_bits_equals_its_twin_for_every_shape_and_special_values") {
        let mut random = Random(25);
        for (dims, n) in shapes() {
            let values = random.floats(n * dims);
            for element in STORAGES {
                check_quantize_bits(&engine, element, dims, &values);
            }
        }
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e5, -1e5];
        for element in STORAGES {
            check_quantize_bits(&engine, element, special.len(), &special);
        }
    }
}

/// Memory for `n` rows of `dims` that held ones before, padding included; `full` is the number of dimensions that fill
/// the same quads.
fn used_rows(engine: &Engine, format: RowFormat, n: usize, dims: usize, full: usize) -> RowArray {
    assert_eq!(format.stride_bytes(dims), format.row_bytes(full));
    let rows = |dims| {
        engine
            .row_array("vectorgpu.test", format, n, dims, &mut go_on)
            .unwrap()
    };
    let before = rows(full);
    let ones = vec![0xff; n * format.row_bytes(full)];
    engine.write_rows(&before, 0, &ones, &mut go_on).unwrap();
    assert!(engine.download_rows(&before, &mut go_on).unwrap() == ones);
    drop(before);
    rows(dims)
}

#[test]
fn kernels_that_write_rows_fill_the_padding_with_zeros() {
    for engine in engines("kernels_that_write_rows_fill_the_padding_with_zeros") {
        let (dims, n) = (5, 70);
        let values = Random(26).floats(n * dims);
        let rows = upload_rows(&engine, RowFormat::F32, dims, &encode(Element::F32, &values));
        let normal = used_rows(&engine, RowFormat::F32, n, dims, 8);
        let bits = used_rows(&engine, RowFormat::Bits, n, dims, 128);
        let codes = used_rows(&engine, RowFormat::Int8, n, dims, 16);
        let scales = engine.array("vectorgpu.test", n, &mut go_on).unwrap();
        let int8 = Int8Rows::new(codes, scales).unwrap();
        let mut step = engine.step();
        step.normalize(&rows, &normal).unwrap();
        step.quantize_bits(&rows, &bits).unwrap();
        step.quantize_int8(&rows, &int8).unwrap();
        // Distances from zero, which read the padding: lengths of 1, numbers of positive elements, lengths.
        let zero = |format| {
            upload_rows(
                &engine,
                format,
                dims,
                &vec![0; RowFormat::row_bytes(format, dims)],
            )
        };
        let scores = [(); 3].map(|()| filled(&engine, n, -7.0));
        step.score(RowScore::SquaredL2, &zero(RowFormat::F32), &normal, &scores[0])
            .unwrap();
        step.score_bits(BitScore::Hamming, &zero(RowFormat::Bits), &bits, &scores[1])
            .unwrap();
        let one = engine.upload("vectorgpu.test", &[1.0_f32], &mut go_on).unwrap();
        let zero = Int8Rows::new(zero(RowFormat::Int8), one).unwrap();
        step.score_int8(Int8Score::SquaredL2, &zero, &int8, &scores[2])
            .unwrap();
        step.run(&mut go_on).unwrap();
        let [ones, positive, lengths] = scores.map(|scores| engine.download(&scores, &mut go_on).unwrap());
        for (row, values) in values.chunks(dims).enumerate() {
            assert!((ones[row] - 1.0).abs() <= 1e-5, "{}", ones[row]);
            let count = values.iter().filter(|x| **x > 0.0).count();
            assert_eq!(
                positive[row].to_bits(),
                f32::from(u8::try_from(count).unwrap()).to_bits()
            );
            // Each code is half a step off at the most, of 127 in the largest element.
            let length: f32 = values.iter().map(|x| x * x).sum();
            assert!(
                (lengths[row] - length).abs() <= 0.03 * length,
                "{} {length}",
                lengths[row]
            );
        }
    }
}

/// The index's own encoder and the twin of the GPU's must write the same codes, or an index would depend on the device.
#[test]
fn the_twins_of_the_quantisers_are_the_encoders_of_the_index() {
    use vectorgpu_core::quantize::{bits, int8};

    let rows = prop::collection::vec(
        prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL,
        1..200,
    );
    proptest!(support::cases(200), |(row in rows)| {
        let codes = encode(Element::F32, &row);
        let (twin, scales) = reference::quantize_int8(Element::F32, row.len(), &codes);
        let mut encoded = Vec::new();
        let scale = int8::encode(&row, &mut encoded).unwrap();
        prop_assert_eq!(scale.to_bits(), scales[0].to_bits());
        let twin: Vec<u8> = twin.iter().map(|code| code.cast_unsigned()).collect();
        prop_assert_eq!(&encoded, &twin);
        let words = reference::quantize_bits(Element::F32, row.len(), &codes);
        let twin: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut encoded = Vec::new();
        bits::encode(&row, &mut encoded).unwrap();
        prop_assert_eq!(encoded, twin);
    });
}
