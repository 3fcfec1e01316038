use std::collections::BTreeSet;

use proptest::prelude::*;

use super::query::SketchQuery;
use super::*;
use crate::metric::Metric;
use crate::property::cases;
use crate::random::Random;
use crate::sparse::SparseBuffer;

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

fn operator(metric: Metric, a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    match metric {
        Metric::L2 => distance::l2(a, b),
        Metric::InnerProduct => distance::negative_inner_product(a, b),
        Metric::Cosine => distance::cosine(a, b),
        Metric::L1 => distance::l1(a, b),
        other => unreachable!("{other:?}"),
    }
}

/// The same by another library: from the last element to the first, products fused with their sums.
fn operator_of_others(metric: Metric, a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    let indices: BTreeSet<i32> = a.indices.iter().chain(b.indices).copied().collect();
    let at = |vector: Sparse<'_>, index: i32| match vector.indices.binary_search(&index) {
        Ok(place) => vector.values[place],
        Err(_) => 0.0,
    };
    let sum = |term: &dyn Fn(f32, f32, f32) -> f32| {
        let pairs = indices.iter().rev().map(|index| (at(a, *index), at(b, *index)));
        f64::from(pairs.fold(0.0f32, |sum, (x, y)| term(sum, x, y)))
    };
    match metric {
        Metric::L2 => sum(&|sum, x, y| (x - y).mul_add(x - y, sum)).sqrt(),
        Metric::InnerProduct => -sum(&|sum, x, y| x.mul_add(y, sum)),
        Metric::Cosine => {
            let norms = sum(&|sum, x, _| x.mul_add(x, sum)) * sum(&|sum, _, y| y.mul_add(y, sum));
            1.0 - (sum(&|sum, x, y| x.mul_add(y, sum)) / norms.sqrt()).clamp(-1.0, 1.0)
        }
        Metric::L1 => sum(&|sum, x, y| sum + (x - y).abs()),
        other => unreachable!("{other:?}"),
    }
}

/// The bound and the value of each metric, for a query and a row.
fn bounds(query: Sparse<'_>, row: Sparse<'_>) -> [(Metric, f64, f64); 4] {
    let mut code = Vec::new();
    let factors = encode(row, &mut code).expect("memory");
    let sketch = code.first_chunk().expect("a whole sketch");
    METRICS.map(|metric| {
        let bound = SketchQuery::new(metric, query).lower_bound(sketch, factors);
        (metric, bound, operator(metric, row, query))
    })
}

fn check(query: Sparse<'_>, row: Sparse<'_>) -> std::result::Result<(), TestCaseError> {
    for (metric, bound, value) in bounds(query, row) {
        for value in [value, operator_of_others(metric, row, query)] {
            prop_assert!(
                // SQL sorts NaN last.
                value.is_nan() || bound <= value,
                "{metric:?}: bound {bound} of {value}"
            );
        }
    }
    Ok(())
}

/// A vector with these elements.
fn vector(dims: usize, elements: &[(i32, f32)]) -> SparseBuffer {
    let mut elements: Vec<_> = elements
        .iter()
        .filter(|(_, value)| *value != 0.0)
        .copied()
        .collect();
    elements.sort_by_key(|(index, _)| *index);
    elements.dedup_by_key(|(index, _)| *index);
    let text: Vec<String> = elements
        .iter()
        .map(|(index, value)| format!("{}:{value:e}", index + 1))
        .collect();
    crate::sparse::text::parse(format!("{{{}}}/{dims}", text.join(",")).as_bytes(), -1)
        .expect("a sparse vector")
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -3f32..3.0,
        1 => Just(1.0),
        1 => -1e-20f32..1e-20,
        1 => -1e19f32..1e19,
        1 => prop_oneof![Just(f32::MAX), Just(f32::MIN_POSITIVE), Just(1e-45)],
    ]
}

fn elements(dims: i32) -> impl Strategy<Value = Vec<(i32, f32)>> {
    prop::collection::vec((0..dims, value()), 0..60)
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn bounds_never_exceed_the_operators_values(
        (dims, query, row, shared) in prop_oneof![Just(3), Just(90), Just(512), Just(513), Just(30_000)]
            .prop_flat_map(|dims| (Just(dims), elements(dims), elements(dims), elements(dims)))
    ) {
        let dims_of = usize::try_from(dims).expect("positive");
        let joined = |own: &[(i32, f32)]| vector(dims_of, &[own, &shared[..]].concat());
        let (near, same) = (joined(&query), joined(&row));
        check(near.as_sparse(), same.as_sparse())?;
        check(near.as_sparse(), near.as_sparse())?;
        check(vector(dims_of, &query).as_sparse(), vector(dims_of, &row).as_sparse())?;
        check(vector(dims_of, &[]).as_sparse(), same.as_sparse())?;
        check(near.as_sparse(), vector(dims_of, &[]).as_sparse())?;
    }
}

/// About `count` of 30,000 elements, positive ones.
fn random_row(random: &mut Random, count: usize) -> SparseBuffer {
    let element = |_| {
        let index = i32::try_from(random.below(30_000)).expect("small");
        (index, 0.1 + random.float())
    };
    let elements: Vec<_> = (0..count).map(element).collect();
    vector(30_000, &elements)
}

#[test]
fn rows_with_nothing_in_common_with_a_query_are_told_from_it() {
    let mut random = Random::new(5);
    let query = random_row(&mut random, 40);
    let square = distance::norm(query.as_sparse()).powi(2);
    let mut off = 0.0;
    for _ in 0..500 {
        let row = random_row(&mut random, 120);
        let [_, (_, bound, value), ..] = bounds(query.as_sparse(), row.as_sparse());
        off += (value - bound) / square;
    }
    // Of 40 elements one or two look as if the row had them.
    assert!(off / 500.0 < 0.06, "{}", off / 500.0);
}

#[test]
fn the_bound_of_a_row_from_itself_is_as_good_as_its_bytes() {
    let mut random = Random::new(6);
    for _ in 0..200 {
        let row = random_row(&mut random, 120);
        let square = distance::norm(row.as_sparse()).powi(2);
        for (metric, bound, value) in bounds(row.as_sparse(), row.as_sparse()) {
            let off = match metric {
                Metric::InnerProduct => (value - bound) / square,
                Metric::Cosine => value - bound,
                _ => 0.0,
            };
            assert!(off < 0.1, "{metric:?}: {bound} of {value}");
        }
    }
}

#[test]
fn a_short_vector_is_its_own_projection_and_a_long_one_keeps_products_on_average() {
    let mut projected = Vec::new();
    project(vector(5, &[(1, 2.0), (4, -3.0)]).as_sparse(), &mut projected).expect("memory");
    assert_eq!(projected, [0.0, 2.0, 0.0, 0.0, -3.0]);
    let mut random = Random::new(7);
    let (mut kept, mut exact) = (0.0, 0.0);
    for _ in 0..200 {
        let row = random_row(&mut random, 100);
        let other = random_row(&mut random, 100);
        let mut projections = [Vec::new(), Vec::new(), Vec::new()];
        let sum = vector(
            30_000,
            &[&row, &other]
                .iter()
                .flat_map(|vector| {
                    let vector = vector.as_sparse();
                    vector.indices.iter().copied().zip(vector.values.iter().copied())
                })
                .collect::<Vec<_>>(),
        );
        project(row.as_sparse(), &mut projections[0]).expect("memory");
        project(other.as_sparse(), &mut projections[1]).expect("memory");
        project(sum.as_sparse(), &mut projections[2]).expect("memory");
        assert_eq!(projections[0].len(), MAX_PROJECTION_DIMS);
        kept += crate::distance::inner_product(&projections[0], &projections[2]);
        exact += distance::inner_product(row.as_sparse(), sum.as_sparse());
    }
    assert!((kept / exact - 1.0).abs() < 0.05, "{kept} of {exact}");
}

#[test]
fn an_index_outside_the_dimensions_is_an_error_and_not_a_crash() {
    let damaged = Sparse {
        dims: 3,
        indices: &[-1, 7],
        values: &[1.0, 2.0],
    };
    assert!(project(damaged, &mut Vec::new()).is_err());
    let mut code = Vec::new();
    encode(damaged, &mut code).expect("bounds of what it says");
    assert_eq!(code.len(), SKETCH_BYTES);
}
