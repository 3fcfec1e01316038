//! The bounds against the operators themselves, over hostile values, orders of summation and flushes.

use proptest::prelude::*;

use super::*;
use crate::distance;
use crate::metric::Score;
use crate::property::cases;

/// How a device, or another library, might sum a score.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Kernel,
    Sequential { fused: bool },
    Reversed,
    Pairwise,
    Strided(usize),
}

fn flush(x: f32, flushing: bool) -> f32 {
    if flushing && x.is_subnormal() { 0.0 } else { x }
}

/// The score of a query against decoded elements, in any order, with or without flushes of subnormals.
fn device_score(score: Score, order: Order, flushing: bool, q: &[f32], x: &[f32]) -> f32 {
    let f = |x| flush(x, flushing);
    let pairs: Vec<(f32, f32)> = q
        .iter()
        .zip(x)
        .map(|(q, x)| match score {
            Score::SquaredL2 => {
                let d = f(f(*q) - f(*x));
                (d, d)
            }
            Score::Dot => (f(*q), f(*x)),
            Score::L1 => (f(f(*q) - f(*x)).abs(), 1.0),
        })
        .collect();
    let sum = |pairs: &mut dyn Iterator<Item = &(f32, f32)>| pairs.fold(0.0, |s, (a, b)| f(s + f(a * b)));
    match order {
        Order::Kernel => kernels().row(score, Element::F32, q, bytemuck::cast_slice(x)),
        Order::Sequential { fused: false } => sum(&mut pairs.iter()),
        Order::Sequential { fused: true } => pairs.iter().fold(0.0, |s, (a, b)| f(a.mul_add(*b, s))),
        Order::Reversed => sum(&mut pairs.iter().rev()),
        Order::Pairwise => {
            let mut terms: Vec<f32> = pairs.iter().map(|(a, b)| f(a * b)).collect();
            while terms.len() > 1 {
                terms = terms.chunks(2).map(|pair| f(pair.iter().sum())).collect();
            }
            terms[0]
        }
        Order::Strided(lanes) => {
            let partial = (0..lanes).map(|lane| sum(&mut pairs.iter().skip(lane).step_by(lanes)));
            partial.fold(0.0, |s, x| f(s + x))
        }
    }
}

/// Orders that compilers choose, and the kernels'.
pub(super) const ORDERS: [Order; 8] = [
    Order::Kernel,
    Order::Sequential { fused: false },
    Order::Sequential { fused: true },
    Order::Reversed,
    Order::Pairwise,
    Order::Strided(4),
    Order::Strided(8),
    Order::Strided(16),
];

/// The value of an operator that sums in this order, and is else written as ours are.
pub(super) fn operator_in(order: Order, flushing: bool, metric: Metric, q: &[f32], x: &[f32]) -> f64 {
    let sum = |score, a: &[f32], b: &[f32]| device_score(score, order, flushing, a, b);
    match metric {
        Metric::L2 => distance::l2_from_squared(sum(Score::SquaredL2, q, x)),
        Metric::InnerProduct => -f64::from(sum(Score::Dot, q, x)),
        Metric::Cosine => {
            let norms = [q, x].map(|x| sum(Score::Dot, x, x));
            distance::cosine_from_parts(sum(Score::Dot, q, x), norms[0], norms[1])
        }
        Metric::L1 => sum(Score::L1, q, x).into(),
        other => unreachable!("{other:?}"),
    }
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        Just(Order::Kernel),
        any::<bool>().prop_map(|fused| Order::Sequential { fused }),
        Just(Order::Reversed),
        Just(Order::Pairwise),
        (1usize..300).prop_map(Order::Strided),
    ]
}

/// Finite values: ordinary ones, integers, every exponent, subnormals, the largest, zeros.
fn value(kind: u8, bits: u32) -> f32 {
    let unit = (bits >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
    match kind {
        0 => unit,
        1 => (bits % 256) as f32,
        2 => {
            let x = f32::from_bits(bits);
            if x.is_finite() { x } else { f32::MAX }
        }
        3 => unit * f32::MIN_POSITIVE,
        4 => unit * f32::MAX,
        5 => unit * 1e-19,
        6 => unit * 1e19,
        7 => unit * 6e-5,
        8 => unit * 70_000.0,
        9 if bits.is_multiple_of(8) => unit,
        10 => unit * 1e-22,
        _ => 0.0,
    }
}

/// A query and a row: independent, nearly equal, opposite, orthogonal up to cancellation.
fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let dims = prop_oneof![1usize..40, 1usize..2001];
    (dims, 0u8..12, 0u8..12, 0u8..6, any::<u64>()).prop_map(|(dims, query_kind, row_kind, relation, seed)| {
        let mut state = seed | 1;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let q: Vec<f32> = (0..dims).map(|_| value(query_kind, next())).collect();
        let x = match relation {
            0 => q.clone(),
            1 => q.iter().map(|q| -q).collect(),
            2 => q
                .iter()
                .map(|q| finite(q * (1.0 + value(0, next()) * 1e-5)))
                .collect(),
            3 => (0..dims)
                .map(|i| {
                    if i % 2 == 0 {
                        q[(i + 1).min(dims - 1)]
                    } else {
                        -q[i - 1]
                    }
                })
                .collect(),
            _ => (0..dims).map(|_| value(row_kind, next())).collect(),
        };
        (q, x)
    })
}

fn finite(x: f32) -> f32 {
    if x.is_finite() { x } else { f32::MAX }
}

proptest! {
    #![proptest_config(cases(6_000))]

    #[test]
    fn a_bound_never_exceeds_the_operators_value(
        (q, x) in vectors(), order in order(), flushing in any::<bool>(), half in any::<bool>(),
    ) {
        let element = if half { Element::F16 } else { Element::F32 };
        let (mut code, mut decoded) = (Vec::new(), Vec::new());
        encode(element, &x, &mut code).expect("encode");
        decode(element, &code, &mut decoded).expect("decode");
        if flushing && half {
            decoded.iter_mut().for_each(|x| if x.abs() < F16_MIN_NORMAL { *x = 0.0 });
        }
        let row = RowFactors::new(element, &x, &code);
        let exact = matches!(order, Order::Kernel) && !flushing;
        let query = QueryNorms::new(&q, exact);
        for (metric, value) in [
            (Metric::L2, distance::l2(&q, &x)),
            (Metric::InnerProduct, distance::negative_inner_product(&q, &x)),
            (Metric::Cosine, distance::cosine(&q, &x)),
            (Metric::L1, distance::l1(&q, &x)),
        ] {
            let score = device_score(metric.score(), order, flushing, &q, &decoded);
            let bound = query.lower_bound(metric, score, row);
            let zero = q.iter().all(|q| *q == 0.0) || x.iter().all(|x| *x == 0.0);
            prop_assert_eq!(bound.is_nan(), metric == Metric::Cosine && zero);
            prop_assert!(!bound.is_nan() || value.is_nan());
            // NaN is the largest value in PostgreSQL's order.
            prop_assert!(bound.is_nan() || value.is_nan() || bound <= value,
                "{:?} {:?}: {:e} > {:e}, score {:e}, {:?}", metric, element, bound, value, score, row);
        }
    }

    #[test]
    fn a_bound_never_exceeds_the_value_of_an_operator_that_sums_in_any_order(
        (q, x) in vectors(), device in order(), flushing in any::<bool>(), half in any::<bool>(),
        strided in order(), operator_flushes in any::<bool>(),
    ) {
        let element = if half { Element::F16 } else { Element::F32 };
        let (mut code, mut decoded) = (Vec::new(), Vec::new());
        encode(element, &x, &mut code).expect("encode");
        decode(element, &code, &mut decoded).expect("decode");
        if flushing && half {
            decoded.iter_mut().for_each(|x| if x.abs() < F16_MIN_NORMAL { *x = 0.0 });
        }
        let row = RowFactors { is_zero: false, ..RowFactors::new(element, &x, &code) };
        let exact = matches!(device, Order::Kernel) && !flushing;
        let query = QueryNorms::new(&q, exact).for_operator(Summation::Any);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1] {
            let score = device_score(metric.score(), device, flushing, &q, &decoded);
            let key = query.key(metric, exact && !half, score, row.norm_sq, row.residual);
            for order in ORDERS.into_iter().chain([strided]) {
                let value = operator_in(order, operator_flushes, metric, &q, &x);
                prop_assert!(!key.is_nan() || value.is_nan());
                prop_assert!(key.is_nan() || value.is_nan() || key <= value,
                    "{:?} {:?} {:?}: {:e} > {:e}, score {:e}, {:?}", metric, element, order, key, value, score, row);
            }
        }
    }

    #[test]
    fn a_residual_bound_covers_every_reading_of_the_code((x, _) in vectors()) {
        let (mut code, mut decoded) = (Vec::new(), Vec::new());
        encode(Element::F16, &x, &mut code).expect("encode");
        decode(Element::F16, &code, &mut decoded).expect("decode");
        let bound = f64::from(residual_bound(&x, &code));
        let exact = |y: &dyn Fn(f32) -> f32| -> f64 {
            x.iter().zip(&decoded).map(|(x, d)| (f64::from(*x) - f64::from(y(*d))).powi(2)).sum::<f64>().sqrt()
        };
        prop_assert!(decoded.iter().all(|d| d.is_finite()));
        prop_assert!(exact(&|d| d) <= bound);
        let flushed = exact(&|d| if d.abs() < F16_MIN_NORMAL { 0.0 } else { d });
        prop_assert!(flushed <= bound);
    }
}

/// 784 values of 0..255, as images are: exact in f16.
fn image(seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..784)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 {
                0.0
            } else {
                ((state >> 16) % 256) as f32
            }
        })
        .collect()
}

#[test]
#[cfg_attr(
    miri,
    ignore = "49 vectors of 784 dimensions in kernels that other tests check"
)]
fn bounds_of_784_bytes_are_within_one_ten_thousandth() {
    for exact in [true, false] {
        for seed in 1..50 {
            let (q, x) = (image(seed), image(seed + 1000));
            let mut code = Vec::new();
            encode(Element::F16, &x, &mut code).expect("encode");
            let row = RowFactors::new(Element::F16, &x, &code);
            assert_eq!(row.residual, 0.0);
            let query = QueryNorms::new(&q, exact);
            let scale = distance::norm(&q) * distance::norm(&x);
            for (metric, value, unit, tolerance) in [
                (Metric::L2, distance::l2(&q, &x), distance::l2(&q, &x), 3e-5),
                (
                    Metric::InnerProduct,
                    distance::negative_inner_product(&q, &x),
                    scale,
                    6e-5,
                ),
                (Metric::Cosine, distance::cosine(&q, &x), 1.0, 6e-5),
            ] {
                let tolerance = if exact { tolerance / 8.0 } else { tolerance };
                let score = device_score(metric.score(), Order::Kernel, false, &q, &x);
                let slack = (value - query.lower_bound(metric, score, row)) / unit;
                assert!(
                    (0.0..tolerance).contains(&slack),
                    "{metric:?} exact {exact}: {slack:e}"
                );
            }
        }
    }
}

#[test]
fn codes_come_back() {
    let x = [
        1.5f32,
        -0.0,
        1e30,
        -1e30,
        65_504.0,
        65_519.0,
        1e-9,
        f32::MIN_POSITIVE,
    ];
    let (mut code, mut back) = (vec![7u8], vec![9.0]);
    encode(Element::F32, &x, &mut code).expect("encode");
    decode(Element::F32, &code[1..], &mut back).expect("decode");
    assert_eq!((back[0], &back[1..]), (9.0, &x[..]));
    code.truncate(1);
    back.truncate(1);
    encode(Element::F16, &x, &mut code).expect("encode");
    assert_eq!(code.len(), 1 + 16);
    decode(Element::F16, &code[1..], &mut back).expect("decode");
    assert_eq!(
        back[1..],
        [1.5, 0.0, 65_504.0, -65_504.0, 65_504.0, 65_504.0, 0.0, 0.0]
    );
}

#[test]
fn a_residual_beyond_f32_is_infinite_and_its_bound_minus_infinity() {
    let x = [f32::MAX; 4];
    let mut code = Vec::new();
    encode(Element::F16, &x, &mut code).expect("encode");
    let row = RowFactors::new(Element::F16, &x, &code);
    assert_eq!(row.residual, f32::INFINITY);
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        assert_eq!(
            QueryNorms::new(&[1.0; 4], true).lower_bound(metric, 1e9, row),
            f64::NEG_INFINITY
        );
    }
}

#[test]
fn scores_that_are_not_finite_bound_nothing() {
    let row = RowFactors {
        residual: 0.0,
        norm_sq: 4.0,
        is_zero: false,
    };
    for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let bound = QueryNorms::new(&[1.0; 4], false).lower_bound(metric, score, row);
            assert_eq!(bound, f64::NEG_INFINITY, "{metric:?} {score}");
        }
    }
}

#[test]
fn rounding_bounds_grow_with_the_dimensions_and_cover_the_longest_vector() {
    assert!(rounding_bound(1) > 2.0 * U && rounding_bound(1) < 6.0 * U);
    assert!(kernel_rounding_bound(784) < rounding_bound(784) / 20.0);
    assert!(rounding_bound(16_000) < 1e-3 && rounding_bound(usize::MAX).is_infinite());
}

#[test]
fn a_sum_that_overflows_only_in_the_operators_order_bounds_nothing() {
    // Elements 0 and 32 fall into one partial sum of the operator's kernel; in sequence, element 1 cancels the first.
    let q = vec![1e19f32; 64];
    let mut x = vec![0.0f32; 64];
    (x[0], x[1], x[32]) = (2e19, -2e19, 2e19);
    let code: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let score = device_score(Score::Dot, Order::Sequential { fused: false }, false, &q, &x);
    assert!(score.is_finite() && distance::negative_inner_product(&q, &x) == f64::NEG_INFINITY);
    let query = QueryNorms::new(&q, false);
    let bound = query.lower_bound(
        Metric::InnerProduct,
        score,
        RowFactors::new(Element::F32, &x, &code),
    );
    assert_eq!(bound, f64::NEG_INFINITY);
}
