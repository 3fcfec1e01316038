//! Kernels that score rows, recorded in steps, against their CPU twins, in every variant.

mod support;

use proptest::prelude::*;
use support::{Random, UNIT, encode, engine, engines, filled, go_on, shapes, sum_bound, upload_rows};
use vectorgpu_compute::{
    BitScore, Engine, EngineBuilder, Int8Rows, Int8Score, RowArray, RowFormat, RowScore, reference,
};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::metric::Element;

const STORAGES: [Element; 2] = [Element::F32, Element::F16];

fn run_score(engine: &Engine, score: RowScore, query: &RowArray, rows: &RowArray) -> Vec<f32> {
    let scores = filled(engine, rows.rows(), -7.0);
    let mut step = engine.step();
    step.score(score, query, rows, &scores).unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&scores, &mut go_on).unwrap()
}

fn gpu_score(engine: &Engine, score: RowScore, element: Element, query: &[f32], codes: &[u8]) -> Vec<f32> {
    let dims = query.len();
    let query = upload_rows(engine, RowFormat::F32, dims, &encode(Element::F32, query));
    let rows = upload_rows(engine, element.into(), dims, codes);
    run_score(engine, score, &query, &rows)
}

fn norm(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn scores_of(query: &[f32]) -> [RowScore; 4] {
    let query_norm = norm(query);
    [
        RowScore::SquaredL2,
        RowScore::Dot,
        RowScore::Cosine { query_norm },
        RowScore::L1,
    ]
}

/// The sum of what the kernel adds up for each row, by magnitude.
fn magnitudes(score: RowScore, element: Element, query: &[f32], codes: &[u8], want: &[f64]) -> Vec<f64> {
    match score {
        RowScore::SquaredL2 | RowScore::L1 => want.to_vec(),
        // Divided by the norms it is at most 1.
        RowScore::Cosine { .. } => vec![1.0; want.len()],
        RowScore::Dot => {
            let query: Vec<f32> = query.iter().map(|q| q.abs()).collect();
            let sign_byte = element.code_bytes(1) - 1;
            let is_sign = |i: usize| i % element.code_bytes(1) == sign_byte;
            let codes: Vec<u8> = codes
                .iter()
                .enumerate()
                .map(|(i, byte)| if is_sign(i) { byte & 0x7f } else { *byte })
                .collect();
            reference::score(score, element, &query, &codes)
        }
    }
}

/// The rounding of the sum, and subnormals that may vanish: an operand of a term, the term, a sum. Cosine has two sums
/// and, as Vulkan lets division and square root be 2.5 ulp off and rounds both, some ten roundings more.
fn check_score(engine: &Engine, score: RowScore, element: Element, query: &[f32], codes: &[u8]) {
    let dims = query.len();
    let got = gpu_score(engine, score, element, query, codes);
    let want = reference::score(score, element, query, codes);
    assert_eq!(got.len(), want.len());
    let bound = match score {
        RowScore::Cosine { .. } => 2.0 * sum_bound(dims) + 20.0 * UNIT,
        _ => sum_bound(dims),
    };
    let flushed = f64::from(u32::try_from(dims).unwrap()) * 4.0 * f64::from(f32::MIN_POSITIVE);
    let magnitudes = magnitudes(score, element, query, codes, &want);
    for (row, ((&got, &want), magnitude)) in got.iter().zip(&want).zip(magnitudes).enumerate() {
        let error = (f64::from(got) - want).abs();
        let allowed = bound * magnitude + flushed;
        assert!(
            error <= allowed,
            "{score:?} {element:?} dims {dims} row {row}: {got} for {want}, {error:e} > {allowed:e}"
        );
    }
}

#[test]
fn score_agrees_with_its_twin_for_every_shape() {
    for engine in engines("score_agrees_with_its_twin_for_every_shape") {
        let mut random = Random(41);
        for (dims, n) in shapes() {
            let query = random.floats(dims);
            let values = random.floats(n * dims);
            for element in STORAGES {
                let codes = encode(element, &values);
                for score in scores_of(&query) {
                    check_score(&engine, score, element, &query, &codes);
                }
            }
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn score_agrees_with_its_twin_for_any_finite_numbers() {
    for engine in engines("score_agrees_with_its_twin_for_any_finite_numbers") {
        let values = prop::collection::vec(-1e4_f32..1e4, 40..400);
        proptest!(support::cases(20), |(values in values, dims in 1_usize..40)| {
            let (query, rows) = values.split_at(dims);
            let rows = &rows[..rows.len() / dims * dims];
            for element in STORAGES {
                for score in scores_of(query) {
                    check_score(&engine, score, element, query, &encode(element, rows));
                }
            }
        });
    }
}

#[test]
fn score_is_the_same_in_several_submissions() {
    let Some(engine) = engine(&EngineBuilder::new(), "score_is_the_same_in_several_submissions") else {
        return;
    };
    // More than software Vulkan is trusted with at once.
    let (dims, n) = (128, 100_000);
    let mut random = Random(42);
    let query = random.floats(dims);
    let codes = encode(Element::F16, &random.floats(n * dims));
    check_score(&engine, RowScore::SquaredL2, Element::F16, &query, &codes);
}

#[test]
fn score_carries_nan_and_infinity_on() {
    for engine in engines("score_carries_nan_and_infinity_on") {
        for dims in [1, 5, 300] {
            let query = vec![1.0; dims];
            let score = |score, element, x: f32| {
                let mut row = vec![0.5; dims];
                row[dims / 2] = x;
                gpu_score(&engine, score, element, &query, &encode(element, &row))[0]
            };
            let cosine = RowScore::Cosine {
                query_norm: norm(&query),
            };
            for element in STORAGES {
                for metric in scores_of(&query) {
                    assert!(
                        score(metric, element, f32::NAN).is_nan(),
                        "{metric:?} {element:?}"
                    );
                }
                // 1e5 is infinite as f16.
                let infinite = if element == Element::F16 {
                    1e5
                } else {
                    f32::INFINITY
                };
                for x in [f32::INFINITY, infinite] {
                    for metric in [RowScore::SquaredL2, RowScore::Dot, RowScore::L1] {
                        assert_eq!(score(metric, element, x).to_bits(), f32::INFINITY.to_bits());
                    }
                    assert!(score(cosine, element, x).is_nan());
                }
                let minus = score(RowScore::Dot, element, f32::NEG_INFINITY);
                assert_eq!(minus.to_bits(), f32::NEG_INFINITY.to_bits());
                for x in [65_504.0, -65_504.0, 0.0, -0.0] {
                    let mut row = vec![0.5; dims];
                    row[dims / 2] = x;
                    for metric in [RowScore::SquaredL2, RowScore::Dot, RowScore::L1] {
                        check_score(&engine, metric, element, &query, &encode(element, &row));
                    }
                }
            }
        }
    }
}

#[test]
fn score_keeps_subnormal_elements_or_takes_them_for_zero() {
    for engine in engines("score_keeps_subnormal_elements_or_takes_them_for_zero") {
        for (element, tiny) in [(Element::F32, 1e-45), (Element::F32, 1e-38), (Element::F16, 6e-8)] {
            for dims in [1, 4, 31] {
                let query = vec![1.0; dims];
                for metric in [RowScore::SquaredL2, RowScore::Dot, RowScore::L1] {
                    let [kept, flushed] = [tiny, 0.0].map(|x| encode(element, &vec![x; dims]));
                    let got = gpu_score(&engine, metric, element, &query, &kept)[0];
                    let [kept, flushed] =
                        [kept, flushed].map(|codes| reference::score(metric, element, &query, &codes)[0]);
                    let allowed = (kept - flushed).abs() * 1.000_001 + sum_bound(dims) * kept.abs();
                    let error = (f64::from(got) - kept).abs();
                    assert!(
                        error <= allowed,
                        "{metric:?} {element:?} {tiny:e}: {got:e} for {kept:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn cosine_distance_of_a_zero_vector_is_nan_and_else_within_its_range() {
    for engine in engines("cosine_distance_of_a_zero_vector_is_nan_and_else_within_its_range") {
        for element in STORAGES {
            for dims in [1, 4, 31, 100, 768] {
                let query = vec![1.1_f32; dims];
                let rows: Vec<f32> = [1.1, -1.1, 0.0, 2.2]
                    .iter()
                    .flat_map(|&x| vec![x; dims])
                    .collect();
                let codes = encode(element, &rows);
                let cosine =
                    |query_norm| gpu_score(&engine, RowScore::Cosine { query_norm }, element, &query, &codes);
                let got = cosine(norm(&query));
                let allowed = 2.0 * sum_bound(dims) + 20.0 * UNIT;
                for (row, want) in [(0, 0.0), (1, 2.0), (3, 0.0)] {
                    assert!((0.0..=2.0).contains(&got[row]), "{got:?}");
                    assert!((f64::from(got[row]) - want).abs() <= allowed, "{got:?}");
                }
                assert!(got[2].is_nan(), "{got:?}");
                assert!(cosine(0.0).iter().all(|score| score.is_nan()));
            }
        }
        // |x|^2 leaves f32 at either end.
        for x in [1e30, 1e-30] {
            let codes = encode(Element::F32, &[x, x]);
            let got = gpu_score(
                &engine,
                RowScore::Cosine { query_norm: 1.0 },
                Element::F32,
                &[1.0, 0.0],
                &codes,
            );
            assert!(got[0].is_nan(), "{x}: {got:?}");
        }
    }
}

fn upload_int8(engine: &Engine, dims: usize, codes: &[i8], scales: &[f32]) -> Int8Rows {
    let codes = upload_rows(engine, RowFormat::Int8, dims, bytemuck::cast_slice(codes));
    let scales = engine.upload("vectorgpu.test", scales, &mut go_on).unwrap();
    Int8Rows::new(codes, scales).unwrap()
}

fn gpu_score_int8(
    engine: &Engine,
    score: Int8Score,
    query: (&[i8], f32),
    codes: &[i8],
    scales: &[f32],
) -> Vec<f32> {
    let dims = query.0.len();
    let query = upload_int8(engine, dims, query.0, &[query.1]);
    let rows = upload_int8(engine, dims, codes, scales);
    let scores = filled(engine, scales.len(), -7.0);
    let mut step = engine.step();
    step.score_int8(score, &query, &rows, &scores).unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&scores, &mut go_on).unwrap()
}

/// With scales of 1 a dot product is the exact integer, rounded once. Otherwise it is rounded with each scale; and a
/// distance has terms of at most `(m |q - x| + |e| |q + x|)^2` together (Cauchy-Schwarz), each of some six roundings.
fn check_score_int8(engine: &Engine, query: (&[i8], f32), codes: &[i8], scales: &[f32]) {
    let dims = query.0.len();
    let context = |row: usize| format!("dims {dims} row {row} of {}", scales.len());
    let ones = vec![1.0; scales.len()];
    let exact = reference::score_int8(Int8Score::Dot, query.0, 1.0, codes, &ones);
    let got = gpu_score_int8(engine, Int8Score::Dot, (query.0, 1.0), codes, &ones);
    assert_eq!(got.len(), exact.len());
    for (row, (&got, exact)) in got.iter().zip(exact).enumerate() {
        #[expect(clippy::cast_possible_truncation, reason = "the one rounding")]
        let want = exact as f32;
        assert_eq!(got.to_bits(), want.to_bits(), "{}: {got} {want}", context(row));
    }
    for score in [Int8Score::Dot, Int8Score::SquaredL2] {
        let want = reference::score_int8(score, query.0, query.1, codes, scales);
        let got = gpu_score_int8(engine, score, query, codes, scales);
        for (row, (&got, want)) in got.iter().zip(want).enumerate() {
            let allowed = match score {
                Int8Score::Dot => 4.0 * UNIT * want.abs(),
                Int8Score::SquaredL2 => {
                    let pairs = || query.0.iter().zip(&codes[row * dims..][..dims]);
                    let length = |sign: f64| {
                        let squares = pairs().map(|(&q, &x)| (f64::from(q) + sign * f64::from(x)).powi(2));
                        squares.sum::<f64>().sqrt()
                    };
                    let (sq, sx) = (f64::from(query.1), f64::from(scales[row]));
                    let terms = (sq + sx) / 2.0 * length(-1.0) + (sq - sx).abs() / 2.0 * length(1.0);
                    8.0 * UNIT * terms.powi(2)
                }
            };
            let error = (f64::from(got) - want).abs();
            let case = context(row);
            assert!(
                error <= allowed,
                "{score:?} {case}: {got} for {want}, {error:e} > {allowed:e}"
            );
        }
    }
}

fn int8s(random: &mut Random, count: usize) -> Vec<i8> {
    (0..count)
        .map(|_| random.bits().to_le_bytes()[0].cast_signed().max(-127))
        .collect()
}

#[test]
fn score_int8_agrees_with_its_twin_for_every_shape() {
    for engine in engines("score_int8_agrees_with_its_twin_for_every_shape") {
        let mut random = Random(43);
        for (dims, n) in shapes() {
            let query = int8s(&mut random, dims);
            let codes = int8s(&mut random, n * dims);
            let scales: Vec<f32> = (0..n).map(|_| random.float().abs()).collect();
            check_score_int8(&engine, (&query, 0.37), &codes, &scales);
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn score_int8_is_exact_for_the_largest_codes_and_zero_for_equal_rows() {
    for engine in engines("score_int8_is_exact_for_the_largest_codes_and_zero_for_equal_rows") {
        for dims in [5, 16_000] {
            for (q, x) in [(127, 127), (127, -127), (-128, -128), (-128, 127)] {
                check_score_int8(&engine, (&vec![q; dims], 1.0), &vec![x; dims], &[1.0]);
            }
            let query = int8s(&mut Random(44), dims);
            let got = gpu_score_int8(&engine, Int8Score::SquaredL2, (&query, 0.1), &query, &[0.1]);
            assert_eq!(got, [0.0]);
            for score in [Int8Score::SquaredL2, Int8Score::Dot] {
                let got = gpu_score_int8(&engine, score, (&query, 0.1), &vec![0; dims], &[f32::NAN]);
                assert!(got[0].is_nan(), "{score:?} {got:?}");
            }
        }
    }
}

#[test]
fn score_int8_agrees_with_its_twin_for_any_codes_and_scales() {
    for engine in engines("score_int8_agrees_with_its_twin_for_any_codes_and_scales") {
        let codes = prop::collection::vec(any::<i8>(), 40..400);
        proptest!(support::cases(20), |(codes in codes, dims in 1_usize..40, scale in 1e-6_f32..1e6)| {
            let (query, rows) = codes.split_at(dims);
            let rows = &rows[..rows.len() / dims * dims];
            // From equal scales to far apart ones.
            let scales: Vec<f32> = (0..rows.len() / dims)
                .map(|row| scale * f32::from(u16::try_from(row).unwrap() + 1))
                .collect();
            check_score_int8(&engine, (query, scale), rows, &scales);
        });
    }
}

fn check_score_bits(engine: &Engine, dims: usize, query: &[u32], codes: &[u32]) {
    let upload = |codes: &[u32]| upload_rows(engine, RowFormat::Bits, dims, bytemuck::cast_slice(codes));
    let (query_row, rows) = (upload(query), upload(codes));
    for score in [BitScore::Hamming, BitScore::AndCount] {
        let scores = filled(engine, rows.rows(), -7.0);
        let mut step = engine.step();
        step.score_bits(score, &query_row, &rows, &scores).unwrap();
        step.run(&mut go_on).unwrap();
        let got = engine.download(&scores, &mut go_on).unwrap();
        let want: Vec<f32> = reference::score_bits(score, query, codes)
            .into_iter()
            .map(|count| f32::from(u16::try_from(count).unwrap()))
            .collect();
        assert!(got == want, "{score:?} dims {dims}, {} rows", want.len());
    }
}

#[test]
fn score_bits_equals_its_twin_for_every_shape() {
    for engine in engines("score_bits_equals_its_twin_for_every_shape") {
        let mut random = Random(45);
        let mut shapes = shapes();
        shapes.extend([(32, 33), (33, 33), (64_000, 33)]);
        for (dims, n) in shapes {
            let row_words = dims.div_ceil(32);
            let mut words = |rows: usize| -> Vec<u32> {
                (0..rows * row_words)
                    .map(|_| u32::try_from(random.bits() >> 32).unwrap())
                    .collect()
            };
            let (query, codes) = (words(1), words(n));
            check_score_bits(&engine, dims, &query, &codes);
        }
        check_score_bits(&engine, 64_000, &[u32::MAX; 2000], &[0; 2000]);
        check_score_bits(&engine, 64_000, &[u32::MAX; 2000], &[u32::MAX; 2000]);
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn rows_written_later_count_and_a_slice_is_scored_alone() {
    for engine in engines("rows_written_later_count_and_a_slice_is_scored_alone") {
        let (dims, n) = (7, 200);
        let mut random = Random(46);
        let query = random.floats(dims);
        let query_row = upload_rows(&engine, RowFormat::F32, dims, &encode(Element::F32, &query));
        for element in STORAGES {
            let codes = encode(element, &random.floats(n * dims));
            let rows = engine
                .row_array("vectorgpu.test", element.into(), n, dims, &mut go_on)
                .unwrap();
            let (front, back) = codes.split_at(element.code_bytes(dims) * 77);
            engine.write_rows(&rows, 77, back, &mut go_on).unwrap();
            engine.write_rows(&rows, 0, front, &mut go_on).unwrap();
            assert!(engine.download_rows(&rows, &mut go_on).unwrap() == codes);
            let whole = run_score(&engine, RowScore::Dot, &query_row, &rows);
            let part = run_score(&engine, RowScore::Dot, &query_row, &rows.slice(64..150).unwrap());
            assert_eq!(part, whole[64..150]);
            let uploaded = gpu_score(&engine, RowScore::Dot, element, &query, &codes);
            assert_eq!(uploaded, whole);
            assert!(rows.slice(64..201).is_err());
            let refused = engine.write_rows(&rows, 199, front, &mut go_on);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}

#[test]
fn shapes_and_formats_that_do_not_fit_are_refused() {
    for engine in engines("shapes_and_formats_that_do_not_fit_are_refused") {
        let rows = |format, n, dims| {
            engine
                .row_array("vectorgpu.test", format, n, dims, &mut go_on)
                .unwrap()
        };
        let invalid = |outcome: vectorgpu_core::Result<()>| {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidArgument);
        };
        let mut step = engine.step();
        let (scores, few) = (filled(&engine, 9, 0.0), filled(&engine, 8, 0.0));
        let (f32s, f16s) = (rows(RowFormat::F32, 9, 5), rows(RowFormat::F16, 9, 5));
        let (int8, bits) = (rows(RowFormat::Int8, 9, 5), rows(RowFormat::Bits, 9, 5));
        let (query, query_bits) = (rows(RowFormat::F32, 1, 5), rows(RowFormat::Bits, 1, 5));
        invalid(step.score(RowScore::Dot, &query, &f32s, &few));
        invalid(step.score(RowScore::Dot, &query, &int8, &scores));
        invalid(step.score(RowScore::Dot, &rows(RowFormat::F32, 1, 6), &f16s, &scores));
        invalid(step.score(RowScore::Dot, &rows(RowFormat::F32, 2, 5), &f16s, &scores));
        invalid(step.score(RowScore::Dot, &rows(RowFormat::F16, 1, 5), &f16s, &scores));
        invalid(step.score_bits(BitScore::Hamming, &query, &bits, &scores));
        invalid(step.score_bits(BitScore::Hamming, &query_bits, &int8, &scores));
        invalid(step.score_bits(BitScore::Hamming, &query_bits, &bits, &few));
        let int8_rows = |n, dims| engine.int8_rows("vectorgpu.test", n, dims, &mut go_on).unwrap();
        invalid(step.score_int8(Int8Score::Dot, &int8_rows(1, 6), &int8_rows(9, 5), &scores));
        invalid(step.score_int8(Int8Score::Dot, &int8_rows(1, 5), &int8_rows(9, 5), &few));
        invalid(Int8Rows::new(bits, scores.clone()).map(drop));
        invalid(Int8Rows::new(int8, few).map(drop));
        invalid(RowArray::of_f32(&scores, 3).map(drop));
        invalid(RowArray::of_f32(&scores, 8).map(drop));
        assert_eq!(RowArray::of_f32(&filled(&engine, 16, 0.0), 8).unwrap().rows(), 2);
        let uneven = engine.upload_rows("vectorgpu.test", RowFormat::F16, 3, &[0; 8], &mut go_on);
        invalid(uneven.map(drop));
        assert_eq!(step.dispatches(), 0);
    }
}
