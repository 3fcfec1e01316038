//! Each kernel against its CPU twin, on whatever Vulkan device there is (lavapipe in CI).

mod support;

use support::{Random, encode, engine, go_on};
use vectorgpu_compute::{Engine, EngineBuilder, reference};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::backend::{Backend, NearestBy, RowBlock};
use vectorgpu_core::metric::{Element, Score};

/// Half an ulp at 1.
const UNIT: f64 = 1.0 / 16_777_216.0;

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Bound of an f32 sum of `terms` in any order: each of d products and d additions rounds once, and a product of
/// differences three times. Doubled for devices whose fma is not fused. Subnormal terms may vanish.
fn tolerance(terms: impl Iterator<Item = f64>, dims: usize) -> f64 {
    let sum: f64 = terms.map(f64::abs).sum();
    2.0 * (float(dims) + 4.0) * UNIT * sum + float(dims) * f64::from(f32::MIN_POSITIVE)
}

fn gpu_scores(engine: &Engine, score: Score, element: Element, query: &[f32], codes: &[u8]) -> Vec<f32> {
    let mut scores = vec![-1.0];
    let block = RowBlock {
        codes,
        element,
        dims: query.len(),
    };
    engine
        .backend()
        .score(score, query, block, &mut scores, &mut go_on)
        .unwrap();
    assert_eq!(scores.remove(0).to_bits(), (-1.0_f32).to_bits(), "score appends");
    scores
}

fn check_scores(engine: &Engine, score: Score, element: Element, query: &[f32], codes: &[u8]) {
    let dims = query.len();
    let got = gpu_scores(engine, score, element, query, codes);
    let want = reference::score(score, element, query, codes);
    assert_eq!(got.len(), want.len());
    for (row, (&got, &want)) in got.iter().zip(&want).enumerate() {
        let bytes = &codes[row * element.code_bytes(dims)..][..element.code_bytes(dims)];
        let allowed = match score {
            // All terms are positive: their sum is the score.
            Score::SquaredL2 | Score::L1 => tolerance(std::iter::once(want), dims),
            Score::Dot => {
                let magnitudes: Vec<f32> = query.iter().map(|q| q.abs()).collect();
                let sum = reference::score(score, element, &magnitudes, &absolute(element, bytes));
                tolerance(sum.into_iter(), dims)
            }
        };
        let error = (f64::from(got) - want).abs();
        assert!(
            error <= allowed,
            "{score:?} {element:?} dims {dims} row {row}: {got} for {want}, {error} > {allowed}"
        );
    }
}

fn absolute(element: Element, row: &[u8]) -> Vec<u8> {
    let sign_byte = element.code_bytes(1) - 1;
    row.chunks(element.code_bytes(1))
        .flat_map(|element| {
            element
                .iter()
                .enumerate()
                .map(move |(i, b)| if i == sign_byte { b & 0x7f } else { *b })
        })
        .collect()
}

#[test]
fn score_agrees_with_its_twin_for_every_shape() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "score_agrees_with_its_twin_for_every_shape",
    ) else {
        return;
    };
    let mut random = Random(1);
    for dims in [1, 3, 4, 15, 31, 100, 784, 1536, 16_000] {
        let query = random.floats(dims);
        for n in [0, 1, 33, 5000] {
            let values = random.floats(n * dims);
            for element in [Element::F32, Element::F16] {
                let codes = encode(element, &values);
                for score in [Score::SquaredL2, Score::Dot, Score::L1] {
                    check_scores(&engine, score, element, &query, &codes);
                }
            }
        }
    }
}

#[test]
fn score_reads_rows_of_any_alignment() {
    let Some(engine) = engine(&EngineBuilder::new(), "score_reads_rows_of_any_alignment") else {
        return;
    };
    let mut random = Random(2);
    let query = random.floats(7);
    let mut codes = vec![0_u8];
    codes.extend(encode(Element::F16, &random.floats(7 * 50)));
    for start in [1, 1 + 14] {
        check_scores(&engine, Score::SquaredL2, Element::F16, &query, &codes[start..]);
    }
}

#[test]
fn score_works_through_a_staging_ring_smaller_than_the_rows() {
    let builder = EngineBuilder::new().staging(1).vram_limit(16 << 20);
    let Some(engine) = engine(
        &builder,
        "score_works_through_a_staging_ring_smaller_than_the_rows",
    ) else {
        return;
    };
    let mut random = Random(3);
    for (dims, n) in [(101, 40_000), (128, 30_000), (15_999, 300)] {
        let query = random.floats(dims);
        let values = random.floats(n * dims);
        for element in [Element::F32, Element::F16] {
            check_scores(&engine, Score::Dot, element, &query, &encode(element, &values));
        }
    }
    assert!(engine.memory().peak_bytes <= 16 << 20);
}

#[test]
fn score_handles_values_at_the_edges_of_the_formats() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "score_handles_values_at_the_edges_of_the_formats",
    ) else {
        return;
    };
    for element in [Element::F32, Element::F16] {
        for dims in [1, 5, 300] {
            let query = vec![1.0; dims];
            let row_with = |x: f32| {
                let mut row = vec![0.5; dims];
                row[dims / 2] = x;
                encode(element, &row)
            };
            let l2 = |x: f32| gpu_scores(&engine, Score::SquaredL2, element, &query, &row_with(x))[0];
            assert!(l2(f32::NAN).is_nan(), "{element:?} {dims}");
            assert!(l2(f32::INFINITY).is_infinite() && l2(f32::NEG_INFINITY).is_infinite());
            let dot = |x: f32| gpu_scores(&engine, Score::Dot, element, &query, &row_with(x))[0];
            assert!(dot(f32::NAN).is_nan());
            assert_eq!(dot(f32::NEG_INFINITY).to_bits(), f32::NEG_INFINITY.to_bits());
            for x in [65_504.0, -65_504.0, 0.0, -0.0] {
                check_scores(&engine, Score::SquaredL2, element, &query, &row_with(x));
                check_scores(&engine, Score::Dot, element, &query, &row_with(x));
            }
            // The smallest subnormal of f16, and of f32: kept or flushed to zero, both within half of one.
            let tiny = if element == Element::F16 {
                5.960_464_5e-8
            } else {
                1e-45
            };
            let error = f64::from(dot(tiny)) - float(dims - 1) * 0.5;
            assert!(
                error.abs() <= 1e-7 + tolerance(std::iter::once(float(dims)), dims),
                "{error}"
            );
        }
    }
}

#[test]
fn score_reports_an_overflowing_sum_as_infinity() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "score_reports_an_overflowing_sum_as_infinity",
    ) else {
        return;
    };
    let codes = encode(Element::F32, &[-3e38; 8]);
    assert!(gpu_scores(&engine, Score::SquaredL2, Element::F32, &[3e38; 8], &codes)[0].is_infinite());
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let Some(engine) = engine(&EngineBuilder::new(), "shapes_that_do_not_fit_are_refused") else {
        return;
    };
    let mut backend = engine.backend();
    let mut score = |query: &[f32], codes: &[u8], dims: usize| {
        let block = RowBlock {
            codes,
            element: Element::F32,
            dims,
        };
        backend
            .score(Score::Dot, query, block, &mut Vec::new(), &mut go_on)
            .unwrap_err()
            .kind()
    };
    assert_eq!(score(&[1.0], &[0; 4], 0), ErrorKind::InvalidArgument);
    assert_eq!(score(&[1.0], &[0; 4], 16_001), ErrorKind::InvalidArgument);
    assert_eq!(score(&[1.0; 3], &[0; 8], 2), ErrorKind::Internal);
    assert_eq!(score(&[1.0; 2], &[0; 9], 2), ErrorKind::Internal);
    let mut backend = engine.backend();
    for (centroids, dims) in [(0, 3), (7, 3), (32_769, 1)] {
        let refused = backend
            .nearest(&vec![0.0; centroids], dims, NearestBy::L2, &mut go_on)
            .err()
            .unwrap();
        assert_eq!(refused.kind(), ErrorKind::Internal);
    }
    let mut nearest = backend.nearest(&[0.0; 6], 3, NearestBy::L2, &mut go_on).unwrap();
    assert_eq!(
        nearest
            .assign(&[0.0; 5], &mut [0; 2], &mut go_on)
            .unwrap_err()
            .kind(),
        ErrorKind::Internal
    );
}

fn gpu_labels(engine: &Engine, by: NearestBy, rows: &[f32], centroids: &[f32], dims: usize) -> Vec<u32> {
    let mut labels = vec![u32::MAX; rows.len() / dims];
    let mut nearest = engine.backend().nearest(centroids, dims, by, &mut go_on).unwrap();
    nearest.assign(rows, &mut labels, &mut go_on).unwrap();
    labels
}

/// Every `sample`-th row is compared: its label must be the twin's, or score as well within the rounding bound.
fn check_labels(engine: &Engine, by: NearestBy, rows: &[f32], centroids: &[f32], dims: usize, sample: usize) {
    let labels = gpu_labels(engine, by, rows, centroids, dims);
    let lists = centroids.len() / dims;
    let (norms, scale): (Vec<f32>, f32) = match by {
        NearestBy::L2 => (
            centroids
                .chunks_exact(dims)
                .map(|c| c.iter().map(|x| x * x).sum())
                .collect(),
            2.0,
        ),
        NearestBy::Dot => (vec![0.0; lists], 1.0),
    };
    assert!(
        labels
            .iter()
            .all(|&label| usize::try_from(label).unwrap() < lists)
    );
    for (index, row) in rows.chunks_exact(dims).enumerate().step_by(sample) {
        let (want, scores) = reference::kmeans_assign(row, centroids, &norms, scale);
        let got = labels[index];
        if got != want {
            let (got, want) = (usize::try_from(got).unwrap(), usize::try_from(want).unwrap());
            let terms = |list: usize| {
                let centroid = &centroids[list * dims..][..dims];
                let products: f64 = row
                    .iter()
                    .zip(centroid)
                    .map(|(&x, &c)| f64::from(x * c).abs())
                    .sum();
                f64::from(norms[list]) + f64::from(scale) * products
            };
            let allowed = tolerance([terms(got), terms(want)].into_iter(), dims);
            let error = scores[got] - scores[want];
            assert!(
                error <= allowed,
                "{by:?} dims {dims} lists {lists} row {index}: {got} not {want}, {error}"
            );
        }
    }
}

#[test]
fn kmeans_assign_agrees_with_its_twin_for_every_shape() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "kmeans_assign_agrees_with_its_twin_for_every_shape",
    ) else {
        return;
    };
    let mut random = Random(4);
    for dims in [1, 3, 4, 15, 31, 100, 784, 1536, 16_000] {
        for lists in [1, 2, 63, 64, 65, 200] {
            let centroids = random.floats(lists * dims);
            for n in [0, 1, 33, 5000] {
                if n * lists * dims > 100_000_000 {
                    continue;
                }
                let rows = random.floats(n * dims);
                for by in [NearestBy::L2, NearestBy::Dot] {
                    check_labels(
                        &engine,
                        by,
                        &rows,
                        &centroids,
                        dims,
                        1 + n * lists * dims / 4_000_000,
                    );
                }
            }
        }
    }
}

#[test]
fn kmeans_assign_handles_the_most_lists_and_several_segments() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "kmeans_assign_handles_the_most_lists_and_several_segments",
    ) else {
        return;
    };
    let mut random = Random(5);
    let centroids = random.floats(32_768 * 3);
    check_labels(&engine, NearestBy::L2, &random.floats(200 * 3), &centroids, 3, 1);
    // 144 MiB of centroids: more than one binding on lavapipe.
    let dims = 1152;
    let centroids = random.floats(32_768 * dims);
    let rows: Vec<f32> = [0, 29_000, 29_127, 32_767, 30_000]
        .iter()
        .flat_map(|&list| centroids[list * dims..][..dims].to_vec())
        .collect();
    assert_eq!(
        gpu_labels(&engine, NearestBy::L2, &rows, &centroids, dims),
        [0, 29_000, 29_127, 32_767, 30_000]
    );
}

#[test]
fn kmeans_assign_gives_ties_to_the_lower_list() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "kmeans_assign_gives_ties_to_the_lower_list",
    ) else {
        return;
    };
    let mut random = Random(6);
    let dims = 20;
    let distinct = random.floats(70 * dims);
    let mut centroids = distinct.clone();
    for _ in 0..4 {
        centroids.extend_from_slice(&distinct);
    }
    let labels = gpu_labels(&engine, NearestBy::L2, &distinct, &centroids, dims);
    assert_eq!(labels, (0..70).collect::<Vec<_>>());
    let zeros = vec![0.0; 100 * dims];
    assert_eq!(
        gpu_labels(&engine, NearestBy::Dot, &zeros, &centroids, dims),
        vec![0; 100]
    );
}

#[test]
fn kmeans_assign_gives_rows_without_a_score_a_valid_list() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "kmeans_assign_gives_rows_without_a_score_a_valid_list",
    ) else {
        return;
    };
    let mut random = Random(7);
    let dims = 6;
    let centroids = random.floats(100 * dims);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
        let mut rows = random.floats(65 * dims);
        rows[3 * dims] = bad;
        rows[64 * dims + 5] = bad;
        let labels = gpu_labels(&engine, NearestBy::L2, &rows, &centroids, dims);
        assert!(labels.iter().all(|&label| label < 100), "{bad}: {labels:?}");
        rows.drain(3 * dims..4 * dims);
        rows.truncate(63 * dims);
        check_labels(&engine, NearestBy::L2, &rows, &centroids, dims, 1);
    }
}
