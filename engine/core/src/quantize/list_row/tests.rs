//! Keys never exceed the operator's value, and are near it.

use proptest::prelude::*;

use super::key::{bound_of, key_of_dot, key_of_square};
use super::*;
use crate::metric::Element;
use crate::property::cases;
use crate::quantize::tests::{ORDERS, operator_in};
use crate::quantize::{encode, int8, residual_bound};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
const STORAGES: [Storage; 3] = [Storage::F32, Storage::F16, Storage::Int8];

fn operator(metric: Metric, q: &[f32], x: &[f32]) -> f64 {
    match metric {
        Metric::L2 => distance::l2(q, x),
        Metric::InnerProduct => distance::negative_inner_product(q, x),
        Metric::Cosine => distance::cosine(q, x),
        other => unreachable!("{other:?}"),
    }
}

fn rows_of(metric: Metric, storage: Storage, x: &[f32]) -> ListRows {
    rows_for(Summation::Kernels, metric, storage, x)
}

fn rows_for(summation: Summation, metric: Metric, storage: Storage, x: &[f32]) -> ListRows {
    let mut rows = ListRows::new(metric, storage, x.len()).for_operator(summation);
    let mut code = Vec::new();
    let norm_sq = if metric.is_spherical() {
        distance::norm_squared(x)
    } else {
        0.0
    };
    match storage {
        Storage::F32 | Storage::Rabitq | Storage::Bits | Storage::Sketch => {
            rows.push(7, RowCode::F32(bytemuck::cast_slice(x)), norm_sq)
        }
        Storage::F16 => {
            encode(Element::F16, x, &mut code).expect("memory");
            let residual = residual_bound(x, &code);
            rows.push(7, RowCode::F16(&code, residual), norm_sq);
        }
        Storage::Int8 => {
            let scale = int8::encode(x, &mut code).expect("finite");
            let residual = int8::residual_bound(x, &code, scale);
            rows.push(7, RowCode::Int8(&code, scale, residual), norm_sq);
        }
    }
    rows
}

/// The row as a device reads it, subnormal codes as zero or not.
fn device_row(rows: &ListRows, flushes: bool) -> Vec<f32> {
    let mut codes = vec![0.0; rows.dims()];
    kernels().decode_f16(&rows.codes, &mut codes);
    let flushed = |code: f32| {
        if flushes && code.abs() < F16_MIN_NORMAL {
            0.0
        } else {
            code
        }
    };
    codes
        .iter()
        .map(|code| rows.heads[0][0] * flushed(*code))
        .collect()
}

fn keys(metric: Metric, rows: &ListRows, query: &ListQuery<'_>) -> Vec<f32> {
    [false, true]
        .map(|flushes| {
            let row = device_row(rows, flushes);
            // In the order of the elements and backwards.
            let pairs = query.values.iter().zip(&row);
            let sums = if metric == Metric::L2 {
                let term = |(q, x): (&f32, &f32)| (q - x) * (q - x);
                [pairs.clone().map(term).sum::<f32>(), pairs.rev().map(term).sum()]
            } else {
                let term = |(q, x): (&f32, &f32)| q * x;
                [pairs.clone().map(term).sum::<f32>(), pairs.rev().map(term).sum()]
            };
            let from_sums = sums.map(|sum| {
                if metric == Metric::L2 {
                    key_of_square(sum, query.bounds.rounding, rows.heads[0])
                } else {
                    key_of_dot(metric, sum, rows.heads[0], query.bounds.head)
                }
            });
            let product = |(q, x): (&f32, &f32)| q * x;
            let pairs = query.values.iter().zip(&row);
            let products = [
                pairs.clone().map(product).sum::<f32>(),
                pairs.rev().map(product).sum(),
            ];
            let from_products =
                products.map(|sum| key_of_dot(metric, sum, rows.heads[0], query.bounds.product_head));
            let from_codes = products_of_codes(query, rows, flushes)
                .map(|(sum, head)| key_of_dot(metric, sum, rows.heads[0], head));
            [from_sums, from_products, from_codes].concat()
        })
        .concat()
}

/// Products of the codes of both as a device multiplies them, forwards and backwards, and the record of the query's codes.
fn products_of_codes(query: &ListQuery<'_>, rows: &ListRows, flushes: bool) -> [(f32, [f32; 4]); 2] {
    let mut codes = QueryCodes::default();
    codes.push(query);
    let head = codes.heads[0];
    let read = |bytes: &[u8]| {
        let mut codes = vec![0.0; rows.dims()];
        kernels().decode_f16(bytes, &mut codes);
        let flushed = if flushes { F16_MIN_NORMAL } else { 0.0 };
        codes
            .iter_mut()
            .filter(|code| code.abs() < flushed)
            .for_each(|code| *code = 0.0);
        codes
    };
    let (q, x) = (read(&codes.codes), read(&rows.codes));
    let pairs = q.iter().zip(&x).map(|(q, x)| q * x);
    let (a, b) = (rows.heads[0][0].max(head[0]), rows.heads[0][0].min(head[0]));
    [pairs.clone().sum::<f32>(), pairs.rev().sum()].map(|sum| (sum * a * b, head))
}

fn check(q: &[f32], x: &[f32]) {
    for metric in METRICS {
        for storage in STORAGES {
            let rows = rows_of(metric, storage, x);
            let Some(query) = ListQuery::new(metric, q) else {
                continue;
            };
            let value = operator(metric, q, x);
            for key in keys(metric, &rows, &query) {
                if value.is_nan() {
                    // Sorts last, as the key of a row known to be zero does; any other bound is right, too.
                    continue;
                }
                assert!(
                    bound_of(key) <= value,
                    "{metric:?} {storage:?}: {key} > {value}\n{q:?}\n{x:?}"
                );
            }
        }
    }
}

/// The same for operators that sum in other orders.
fn check_in_any_order(q: &[f32], x: &[f32]) {
    for metric in METRICS {
        let values = ORDERS.map(|order| operator_in(order, false, metric, q, x));
        for storage in STORAGES {
            let rows = rows_for(Summation::Any, metric, storage, x);
            let Some(query) = ListQuery::for_operator(metric, q, Summation::Any) else {
                continue;
            };
            for key in keys(metric, &rows, &query).into_iter().map(bound_of) {
                let holds = |value: &f64| key <= *value || value.is_nan();
                assert!(
                    values.iter().all(holds),
                    "{metric:?} {storage:?}: {key} > {values:?}\n{q:?}\n{x:?}"
                );
            }
        }
    }
}

/// Magnitudes over the whole range of f32.
fn wild() -> impl Strategy<Value = f32> {
    (any::<u32>(), 0u32..4).prop_map(|(bits, kind)| match kind {
        0 => f32::from_bits(bits & 0x8000_0000),
        1 => {
            let x = f32::from_bits(bits);
            if x.is_finite() { x } else { 1.0 }
        }
        _ => f32::from_bits((bits & 0x807f_ffff) | (120 + (bits >> 28)) << 23),
    })
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_key_never_exceeds_the_operators_value(
        (q, x) in (1usize..70).prop_flat_map(|dims| {
            (prop::collection::vec(wild(), dims), prop::collection::vec(wild(), dims))
        })
    ) {
        check(&q, &x);
        check(&q, &q);
    }

    #[test]
    fn a_key_never_exceeds_the_value_of_an_operator_that_sums_in_any_order(
        (q, x) in (1usize..70).prop_flat_map(|dims| {
            (prop::collection::vec(wild(), dims), prop::collection::vec(wild(), dims))
        })
    ) {
        check_in_any_order(&q, &x);
        check_in_any_order(&q, &q);
        let opposite: Vec<f32> = q.iter().map(|q| -q).collect();
        check_in_any_order(&q, &opposite);
    }

    #[test]
    fn a_key_of_ordinary_vectors_is_near(
        (q, x) in (16usize..200).prop_flat_map(|dims| {
            (prop::collection::vec(-1.0f32..1.0, dims), prop::collection::vec(-1.0f32..1.0, dims))
        })
    ) {
        for metric in METRICS {
            for (storage, near) in STORAGES.into_iter().zip([1e-3, 1e-3, 1e-2]) {
                let rows = rows_of(metric, storage, &x);
                let query = ListQuery::new(metric, &q).expect("an ordinary query");
                let value = operator(metric, &q, &x);
                let scale = if metric == Metric::Cosine { 1.0 } else { distance::norm(&q) * (1.0 + distance::norm(&x)) };
                for key in keys(metric, &rows, &query) {
                    prop_assert!(f64::from(key) > value - near * scale, "{metric:?} {storage:?}: {key} of {value}");
                }
            }
        }
    }
}

/// Found by the test above: an f16 code that the device reads as 0 has no part in `q.x'`, but had one in `|x'|^2`.
#[test]
fn a_key_holds_where_the_device_flushes_codes_of_a_row() {
    // Rounds to the least f16.
    let tiny = f32::from_bits(102 << 23).next_up();
    check(&[tiny], &[tiny]);
    check(&[tiny, 1.0], &[tiny, 1.0]);
    check(&[-tiny; 40], &[1.75 * tiny; 40]);
    check(&[1.0; 40], &[1.75 * tiny; 40]);
}

#[test]
fn a_zero_row_has_no_cosine_and_a_zero_query_no_bounds() {
    let rows = rows_of(Metric::Cosine, Storage::F32, &[0.0; 5]);
    let query = ListQuery::new(Metric::Cosine, &[1.0; 5]).expect("a query");
    assert!(keys(Metric::Cosine, &rows, &query).iter().all(|key| key.is_nan()));
    assert!(ListQuery::new(Metric::Cosine, &[0.0; 5]).is_none());
    assert!(ListQuery::new(Metric::L2, &[0.0; 5]).is_some());
    assert!(ListQuery::new(Metric::L2, &[2e19; 5]).is_none());
}

#[test]
fn vectors_are_kept_where_the_storage_holds_them() {
    for storage in STORAGES {
        let rows = rows_of(Metric::L2, storage, &[1.0, -2.5, 1e-3]);
        let kept = ListRows::keeps_vectors(storage);
        assert_eq!(rows.vectors.len(), if kept { 3 } else { 0 });
        assert_eq!((rows.tids.as_slice(), rows.len()), ([7].as_slice(), 1));
    }
}
