//! Scans for operators that sum in another order than the kernels: what goes out is a bound, whatever the storage and wherever
//! rows are compared, so that putting rows in the order of the operator's values finds them all in that order.

mod ivf_index;

use ivf_index::copies::MemoryCopies;
use ivf_index::{Index, Random};
use vectorgpu_core::distance;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::ivf::search::{Found, Iterate, Search, SearchOptions};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::quantize::list_row::ListRows;

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];
const STORAGES: [Storage; 4] = [Storage::F32, Storage::F16, Storage::Int8, Storage::Rabitq];
const DIMS: [usize; 4] = [1, 3, 100, 784];
const LISTS: u32 = 5;

/// A sum in an order of its own.
type Sum = fn(&mut dyn Iterator<Item = f32>) -> f32;

const SUMS: [Sum; 4] = [
    |terms| terms.sum(),
    |terms| terms.collect::<Vec<f32>>().into_iter().rev().sum(),
    |terms| {
        let mut terms: Vec<f32> = terms.collect();
        while terms.len() > 1 {
            terms = terms.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        terms.first().copied().unwrap_or_default()
    },
    |terms| {
        let mut lanes = [0.0f32; 8];
        terms.enumerate().for_each(|(i, term)| lanes[i % 8] += term);
        lanes.iter().sum()
    },
];

/// What another library's operator returns.
fn value(sum: Sum, metric: Metric, query: &[f32], row: &[f32]) -> f64 {
    let of = |term: fn(f32, f32) -> f32, a: &[f32], b: &[f32]| {
        let mut terms = a.iter().zip(b).map(|(a, b)| term(*a, *b));
        sum(&mut terms)
    };
    let product = |a, b| a * b;
    match metric {
        Metric::L2 => f64::from(of(|a, b| (a - b) * (a - b), query, row)).sqrt(),
        Metric::InnerProduct => -f64::from(of(product, query, row)),
        Metric::Cosine => {
            let norms = [query, row].map(|x| of(product, x, x));
            distance::cosine_from_parts(of(product, query, row), norms[0], norms[1])
        }
        Metric::L1 => of(|a, b| (a - b).abs(), query, row).into(),
        other => unreachable!("{other:?}"),
    }
}

fn scan(index: &Index, copies: Option<&MemoryCopies>, query: &[f32], window_rows: usize) -> Vec<Found> {
    let options = SearchOptions {
        summation: Summation::Any,
        ..index.options(LISTS, Iterate::Strict, window_rows)
    };
    let mut search = Search::new(index.meta, options);
    if let Some(copies) = copies {
        search.use_copies(Box::new(copies.clone()));
    }
    search
        .start(Some(query.into()), true)
        .expect("the dimensions agree");
    index.drain(&index.store, &mut search)
}

/// The rows as an executor returns them that holds each back until none that follows can be nearer; it fails where a value is
/// below its bound.
fn reordered(found: &[Found], value: &dyn Fn(Tid) -> f64) -> Vec<f64> {
    let mut waiting: Vec<f64> = Vec::new();
    let mut returned = Vec::new();
    for row in found {
        let value = value(row.tid);
        assert!(!row.exact, "another library's value is not known");
        assert!(
            row.distance <= value || value.is_nan(),
            "{} > {value}",
            row.distance
        );
        waiting.sort_by(f64::total_cmp);
        let ready = waiting.partition_point(|waiting| *waiting <= row.distance);
        returned.extend(waiting.drain(..ready));
        waiting.push(value);
    }
    waiting.sort_by(f64::total_cmp);
    returned.extend(waiting);
    returned
}

fn check(index: &Index, copies: Option<&MemoryCopies>, query: &[f32]) {
    let metric = index.meta.metric;
    for window_rows in [16, 1 << 20] {
        let found = scan(index, copies, query, window_rows);
        assert_eq!(found.len(), index.rows.len());
        for sum in SUMS {
            let row = |tid| {
                &index
                    .rows
                    .iter()
                    .find(|(other, _)| *other == tid)
                    .expect("a row of it")
                    .1
            };
            let rows = reordered(&found, &|tid| value(sum, metric, query, row(tid)));
            assert!(
                rows.is_sorted_by(|a, b| a.total_cmp(b).is_le()),
                "{metric:?} {:?}",
                index.meta.storage
            );
        }
    }
}

fn queries(index: &Index, random: &mut Random) -> Vec<Vec<f32>> {
    let dims = index.meta.dims as usize;
    let row = &index.rows[3].1;
    vec![
        random.vector(dims),
        row.clone(),
        row.iter().map(|x| -x).collect(),
        row.iter().map(|x| x * 1.000_001).collect(),
        vec![1e-30; dims],
        vec![0.25; dims],
    ]
}

fn indexes() -> impl Iterator<Item = Index> {
    let dims = if cfg!(miri) { &DIMS[..2] } else { &DIMS };
    let rows = if cfg!(miri) { 20 } else { 300 };
    METRICS.into_iter().flat_map(move |metric| {
        let storages = STORAGES
            .into_iter()
            .filter(move |storage| metric.allows(*storage));
        storages.flat_map(move |storage| {
            let build = move |dims: &usize| Index::build(metric, storage, *dims, rows, LISTS, 17);
            dims.iter().map(build)
        })
    })
}

#[test]
fn rows_from_pages_come_in_the_order_of_every_operator() {
    let mut random = Random(18);
    for index in indexes() {
        for query in queries(&index, &mut random) {
            check(&index, None, &query);
        }
    }
}

#[test]
fn rows_from_copies_come_in_the_order_of_every_operator() {
    let mut random = Random(19);
    for index in indexes().filter(|index| index.meta.metric.has_products()) {
        // A device knows distances where it has the vectors.
        let exact = ListRows::keeps_vectors(index.meta.storage);
        for exact in [false, true].into_iter().take(1 + usize::from(exact)) {
            let copies = MemoryCopies::new(index.meta.metric, exact);
            for query in queries(&index, &mut random) {
                check(&index, Some(&copies), &query);
            }
        }
    }
}
