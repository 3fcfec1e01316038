//! Bounds of 1-bit codes against the operators' values.
#![expect(clippy::cast_possible_truncation, reason = "test data need not be exact")]

use proptest::prelude::*;

use super::*;
use crate::cpu::{Ahead, LOOKUP_ROWS};
use crate::distance;
use crate::metric::{Element, Metric};
use crate::property::cases;
use crate::quantize::rotation::Rotation;
use crate::quantize::{QueryNorms, Summation};
use crate::random::Random;

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

fn operator(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::L2 => distance::l2(a, b),
        Metric::InnerProduct => distance::negative_inner_product(a, b),
        Metric::Cosine => distance::cosine(a, b),
        other => unreachable!("{other:?}"),
    }
}

/// Bounds and values of `rows` in a list around `centroid`; those of the 4-bit codes are checked.
fn bounds(metric: Metric, query: &[f32], centroid: &[f32], rows: &[Vec<f32>]) -> Vec<(f64, f64)> {
    let dims = query.len();
    let mut encoder = RabitqEncoder::new(metric, dims, 5);
    let bytes = code_bytes(dims);
    let mut blocks = vec![0; rows.len().next_multiple_of(LOOKUP_ROWS) * bytes];
    let (mut base, mut step, mut error, mut norm_sq) = (vec![], vec![], vec![], vec![]);
    let mut fine_codes = Vec::new();
    for (row, x) in rows.iter().enumerate() {
        let mut code = Vec::new();
        let mut fine_code = Vec::new();
        let factors = encoder
            .encode(row as u64, x, 0, centroid, &mut code, &mut fine_code)
            .expect("memory");
        fine_codes.push(fine_code);
        for (k, byte) in code.iter().enumerate() {
            let block = row / LOOKUP_ROWS * LOOKUP_ROWS * bytes;
            blocks[block + k * LOOKUP_ROWS + row % LOOKUP_ROWS] = *byte;
        }
        base.push(factors.base);
        step.push(factors.step);
        error.push(factors.error);
        norm_sq.push(distance::norm_squared(x));
    }
    let query_codes = RabitqQuery::new(metric, &Rotation::new(dims, 5), query);
    let runs = RabitqRuns {
        base: &base,
        step: &step,
        error: &error,
        norm_sq: &norm_sq,
    };
    let terms = query_codes.terms(query_codes.place(centroid));
    let mut bounds = Vec::new();
    for (codes, first) in blocks.chunks(LOOKUP_ROWS * bytes).zip((0..).step_by(LOOKUP_ROWS)) {
        let mut lanes = [f32::NAN; LOOKUP_ROWS];
        let all = query_codes.near_rows(&terms, codes, runs, first, f32::INFINITY, &mut lanes, Ahead::NONE);
        assert!(all.sound);
        let cut = lanes[0];
        let near = query_codes.near_rows(&terms, codes, runs, first, cut, &mut lanes, Ahead::NONE);
        for (lane, bound) in lanes.iter().enumerate() {
            assert_eq!(near.rows >> lane & 1 == 1, *bound < cut);
        }
        bounds.extend(lanes);
    }
    let (mut slack, mut fine_slack) = (0.0, 0.0);
    for ((x, fine_code), bound) in rows.iter().zip(&fine_codes).zip(&bounds) {
        let value = operator(metric, query, x);
        let fine = query_codes.fine_bound(&terms, fine_code);
        let fine = f64::from(fine.expect("the encoder's own"));
        assert!(
            fine <= value || value.is_nan(),
            "{metric:?} {dims}: {fine} > {value}"
        );
        let most = query_codes.fine_most(&terms, fine_code);
        let most = f64::from(most.expect("the encoder's own"));
        if (1e-6..1e12).contains(&value.abs()) {
            assert!(
                value <= most + 1e-6 * most.abs(),
                "{metric:?} {dims}: {value} > {most}"
            );
        }
        slack += value - f64::from(*bound);
        fine_slack += value - fine;
    }
    if dims >= 100 {
        assert!(
            fine_slack < 0.35 * slack,
            "{metric:?} {dims}: {fine_slack} {slack}"
        );
    }
    let values = rows.iter().map(|x| operator(metric, query, x));
    bounds.iter().map(|bound| f64::from(*bound)).zip(values).collect()
}

fn normal(random: &mut Random, dims: usize, around: &[f32], spread: f64) -> Vec<f32> {
    let moved = |x: f32| (f64::from(x) + spread * random.normal()) as f32;
    (0..dims)
        .map(|i| around.get(i).copied().unwrap_or(0.0))
        .map(moved)
        .collect()
}

#[test]
fn bounds_hold_and_are_as_close_as_the_codes_allow() {
    let mut random = Random::new(1);
    let lengths: &[usize] = if cfg!(miri) {
        &[3, 40]
    } else {
        &[1, 2, 3, 5, 17, 64, 100, 784, 1536]
    };
    for metric in METRICS {
        for &dims in lengths {
            // Far from the origin, as rows often are, and unit, as spherical centroids are.
            let mut centroid = normal(&mut random, dims, &[], 1.0);
            let norm = distance::norm(&centroid) as f32;
            centroid.iter_mut().for_each(|x| *x /= norm);
            let query = normal(&mut random, dims, &centroid, 0.8 / (dims as f64).sqrt());
            let rows: Vec<_> = (0..if cfg!(miri) { 20 } else { 400 })
                .map(|_| normal(&mut random, dims, &centroid, 0.7 / (dims as f64).sqrt()))
                .collect();
            let mut slack = 0.0;
            for (bound, value) in bounds(metric, &query, &centroid, &rows) {
                assert!(
                    bound <= value || value.is_nan(),
                    "{metric:?} {dims}: {bound} > {value}"
                );
                slack += (value - bound.max(-2.0)) / rows.len() as f64;
            }
            // The estimate's standard deviation is 0.75 |r| |v| / sqrt(d), twice that for squares; 5.5 of them.
            if dims >= 100 {
                assert!(slack < 10.0 / (dims as f64).sqrt(), "{metric:?} {dims}: {slack}");
            }
        }
    }
}

#[test]
fn a_query_that_is_the_row_and_one_without_a_direction_are_bounded() {
    for metric in METRICS {
        let rows = vec![
            vec![1.0, 2.0, 3.0],
            vec![0.0; 3],
            vec![3e38, -3e38, 3e38],
            vec![1e-40, 0.0, 0.0],
        ];
        for query in rows.iter().chain([&vec![-1.0, 0.5, 0.25]]) {
            for centroid in [[0.6, 0.0, 0.8], [0.0; 3]] {
                for (bound, value) in bounds(metric, query, &centroid, &rows) {
                    assert!(
                        bound <= value || value.is_nan(),
                        "{metric:?} {query:?}: {bound} > {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_whose_squares_leave_f32_is_bounded() {
    for metric in METRICS {
        for (bound, value) in bounds(metric, &[0.603_085_64], &[0.0], &[vec![2.329_052_2e19]]) {
            assert!(bound <= value || value.is_nan(), "{metric:?}: {bound} > {value}");
        }
    }
}

/// Else a row whose bound is close goes back to the scan's window before one that was returned.
#[test]
fn bounds_for_any_order_of_summation_are_no_closer_than_those_of_the_vectors() {
    let mut random = Random::new(3);
    let lengths: &[usize] = if cfg!(miri) {
        &[3]
    } else {
        &[1, 2, 3, 17, 100, 784, 1536]
    };
    for metric in METRICS {
        for &dims in lengths {
            let centroid = normal(&mut random, dims, &[], 1.0);
            let far = normal(&mut random, dims, &[], 1.0);
            let opposite: Vec<f32> = centroid.iter().map(|x| -x).collect();
            // Codes of the centroid itself leave no error.
            for (query, row) in [
                (&far, &centroid),
                (&centroid, &centroid),
                (&opposite, &centroid),
                (&far, &far),
            ] {
                let mut encoder = RabitqEncoder::new(metric, dims, 5);
                let (mut code, mut fine_code) = (Vec::new(), Vec::new());
                encoder
                    .encode(7, row, 0, &centroid, &mut code, &mut fine_code)
                    .expect("memory");
                let codes =
                    RabitqQuery::new(metric, &Rotation::new(dims, 5), query).for_operator(Summation::Any);
                let terms = codes.terms(codes.place(&centroid));
                let closer = f64::from(codes.fine_bound(&terms, &fine_code).expect("the encoder's own"));
                let norms = QueryNorms::new(query, true).for_operator(Summation::Any);
                let score = kernels().row(metric.score(), Element::F32, query, bytemuck::cast_slice(row));
                let key = norms.key(metric, true, score, distance::norm_squared(row), 0.0);
                assert!(closer <= key, "{metric:?} {dims}: {closer} > {key}");
            }
        }
    }
}

const DIMS_END: usize = if cfg!(miri) { 9 } else { 26 };

fn vector(dims: usize) -> impl Strategy<Value = Vec<f32>> {
    let element = prop_oneof![
        6 => -10.0f32..10.0,
        1 => prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL,
        1 => Just(0.0f32),
    ];
    prop::collection::vec(element, dims)
}

proptest! {
    #![proptest_config(cases(300))]

    // Of so few elements the bound is certain, whatever the rotation.
    #[test]
    fn bounds_of_short_vectors_never_pass_the_operator(
        (query, centroid, rows) in (1..DIMS_END).prop_flat_map(|dims| {
            (vector(dims), vector(dims), prop::collection::vec(vector(dims), 1..20))
        }),
    ) {
        for metric in METRICS {
            for (bound, value) in bounds(metric, &query, &centroid, &rows) {
                prop_assert!(bound <= value || value.is_nan(), "{:?}: {} > {}", metric, bound, value);
            }
        }
    }
}
