//! A query against int8 rows: its code, and lower bounds of the operators' values from exact integer sums.
//!
//! With `step = max |q_i| / 16256`, `Q_i = round(q_i / step)`, split as `Q_i = 128 H_i + L_i` with `H_i` in -127..=127 and
//! `L_i` in -64..=63, so two int8 products give `step scale (128 H.c + L.c)`: the dot product of the query with the row
//! that the codes `c` stand for, off by at most `|q - step Q| |x'|`. The sums are integers: equal on every device, and in
//! every order. Most rows are too far already by the first product alone, off by at most `|q - 128 step H| |x'|`.

use std::ops::Range;

use super::{F64_SLACK, QueryNorms, RowFactors, Summation, U, bound_of_squares, int8};
use crate::cpu::{
    Kernels, LOOKUP_ROWS, ORDINARY_SQUARES, ORDINARY_SUMS, ScreenLimit, ScreenRows, ScreenTerms, kernels,
    lanes,
};
use crate::distance;
use crate::metric::{CodeScore, Metric};

/// The largest `|Q_i|`: `127 * 128`.
const STEPS: f64 = 16_256.0;
/// 1.5 * 2^52: a sum with it of less than 2^51 is an integer.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// What an int8 row brings to its bound besides its products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Int8Factors {
    /// The scale of the row's codes.
    pub scale: f32,
    /// [`super::int8::residual_bound`].
    pub residual: f32,
    /// For `L2` [`code_norm_squared`]; for the others [`crate::distance::norm_squared`] of the row's own vector.
    pub norm_sq: f32,
}

impl Int8Factors {
    /// The factors of `x` under `metric`, whose codes and scale are [`super::int8::encode`]'s.
    ///
    /// # Panics
    /// When `codes` is not `x.len()` bytes long.
    pub fn new(metric: Metric, x: &[f32], codes: &[u8], scale: f32) -> Self {
        Self {
            scale,
            residual: int8::residual_bound(x, codes, scale),
            norm_sq: if metric.is_spherical() {
                distance::norm_squared(x)
            } else {
                code_norm_squared(codes, scale)
            },
        }
    }
}

/// The factors of many rows, as runs.
#[derive(Debug, Clone, Copy)]
pub struct Int8Runs<'a> {
    /// Of each row.
    pub scale: &'a [f32],
    /// Of each row.
    pub residual: &'a [f32],
    /// Of each row.
    pub norm_sq: &'a [f32],
}

/// `|x'|^2` of the row that `codes` and `scale` stand for, rounded once from a sum in f64.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the rounding is part of the definition"
)]
pub fn code_norm_squared(codes: &[u8], scale: f32) -> f32 {
    let squares = codes.iter().map(|code| i64::from(code.cast_signed()).pow(2));
    // At most 16,000 * 2^14: exact in f64.
    let sum = squares.sum::<i64>() as f64;
    (f64::from(scale).powi(2) * sum) as f32
}

/// A query, prepared.
#[derive(Debug, Clone)]
pub struct Int8Query {
    metric: Metric,
    high: Vec<u8>,
    low: Vec<u8>,
    step: f64,
    /// At least `|q - step Q|`.
    residual: f64,
    /// At least `|q - 128 step H|`.
    coarse_residual: f32,
    norm_sq: f64,
    norms: QueryNorms,
    quick: Quick,
}

/// The query's share of a quick comparison in f32; see [`Int8Query::candidates`].
#[derive(Debug, Clone, Copy)]
struct Quick {
    step: f32,
    norm: f32,
    norm_sq: f32,
    /// Relative to `|q|^2 + |x'|^2`, or to `|q| |x|`: everything that the quick comparison rounds or leaves out.
    slack: f32,
}

impl Int8Query {
    /// Prepares `query`.
    pub fn new(metric: Metric, query: &[f32]) -> Self {
        Self::for_operator(metric, query, Summation::Kernels)
    }

    /// The same for an operator that sums in another order.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "integers within their bounds, and slack that covers it"
    )]
    pub fn for_operator(metric: Metric, query: &[f32], summation: Summation) -> Self {
        let max = query.iter().fold(0.0f64, |max, x| max.max(f64::from(*x).abs()));
        let step = max / STEPS;
        let (mut high, mut low) = (Vec::with_capacity(query.len()), Vec::with_capacity(query.len()));
        let (mut squares, mut coarse_squares) = (0.0, 0.0);
        for x in query {
            let x = f64::from(*x);
            let quotient = if step > 0.0 { x / step } else { 0.0 };
            // Rounds to an integer, ties to even, without the call that rounding is on old machines.
            let steps = ((quotient + ROUNDER) - ROUNDER).clamp(-STEPS, STEPS);
            squares += (x - step * steps).powi(2);
            let steps = steps as i32;
            let upper = (steps + 64) >> 7;
            coarse_squares += (x - step * f64::from(upper << 7)).powi(2);
            high.push((upper as i8).cast_unsigned());
            low.push(((steps - (upper << 7)) as i8).cast_unsigned());
        }
        let norms = QueryNorms::new(query, true).for_operator(summation);
        let norm = distance::norm(query);
        // `step * steps` is rounded, too: by 2^-53 of at most max.
        let rounded = f64::from(bound_of_squares(squares, query.len()));
        let rounding = max * norms.dims.sqrt() * F64_SLACK;
        let residual = rounded + rounding;
        let coarse_residual = f64::from(bound_of_squares(coarse_squares, query.len())) + rounding;
        let relative = if norm > 0.0 { residual / norm } else { 0.0 };
        let quotient = match metric {
            Metric::Cosine => summation.quotient_rounding(query.len()),
            _ => 0.0,
        };
        let gammas = 2.0 * norms.operator_gamma + quotient + 2.0 * relative + 64.0 * U + 1e-6;
        Self {
            metric,
            high,
            low,
            step,
            residual,
            coarse_residual: (coarse_residual as f32).next_up(),
            norm_sq: norm * norm,
            norms,
            quick: Quick {
                step: step as f32,
                norm: norm as f32,
                norm_sq: (norm * norm) as f32,
                slack: gammas as f32,
            },
        }
    }

    /// Computes the two products of the query with `products.len()` consecutive codes of int8 rows.
    ///
    /// # Panics
    /// When `codes` is not as many rows of the query's dimensions.
    pub fn products(&self, codes: &[u8], products: &mut [[i32; 2]]) {
        self.products_by(kernels(), codes, products);
    }

    fn products_by(&self, kernels: &Kernels, codes: &[u8], products: &mut [[i32; 2]]) {
        kernels.dot_i8_pairs([&self.high, &self.low], codes, products);
    }

    /// Computes the first of the two products alone.
    ///
    /// # Panics
    /// As [`Self::products`].
    pub fn coarse_products(&self, codes: &[u8], products: &mut [i32]) {
        self.coarse_products_by(kernels(), codes, products);
    }

    fn coarse_products_by(&self, kernels: &Kernels, codes: &[u8], products: &mut [i32]) {
        kernels.code_block(CodeScore::DotI8, &self.high, codes, products);
    }

    /// The second of the two products for one row.
    ///
    /// # Panics
    /// When `code` is not of the query's dimensions.
    pub fn fine_product(&self, code: &[u8]) -> i32 {
        kernels().code_row(CodeScore::DotI8, &self.low, code)
    }

    /// A lower bound of the operator's value for a row, from its two products. Minus infinity when nothing can be said.
    ///
    /// `L2`: `|q - x'|^2 = |q|^2 - 2 q.x' + |x'|^2`, off by `2 |q - step Q| |x'|`, by the rounding of the stored
    /// `|x'|^2`, and by some roundings of f64. `InnerProduct` and `Cosine`: as for other lossy rows, with the product of
    /// the query's code in place of the score.
    pub fn lower_bound(&self, products: [i32; 2], row: Int8Factors) -> f64 {
        let dot = self.dot(products, row.scale);
        let bound = match self.metric {
            Metric::L2 => {
                let (squared, off) = self.squared(dot, row.norm_sq);
                if (squared + off).is_finite() && row.residual.is_finite() {
                    self.norms.l2_bound_of((squared - off).max(0.0), row.residual)
                } else {
                    f64::NEG_INFINITY
                }
            }
            Metric::InnerProduct => -self.dot_upper_bound(dot, row),
            Metric::Cosine if self.norms.is_zero => return f64::NAN,
            Metric::Cosine => self
                .norms
                .cosine_bound_of(self.dot_upper_bound(dot, row), Self::factors(row)),
            // Nothing follows from products.
            Metric::L1 | Metric::Hamming | Metric::Jaccard => f64::NEG_INFINITY,
        };
        if bound.is_finite() {
            bound
        } else {
            f64::NEG_INFINITY
        }
    }

    /// Appends bounds of what the kernels of `cpu` score for each row, `|q - x|^2` or, for the other metrics, `-q.x`, from
    /// their products: for a ranking that need not be exact. In f32, with the slack of [`Self::candidates`].
    ///
    /// # Panics
    /// When the runs are shorter than `products`.
    pub fn score_bounds(&self, products: &[[i32; 2]], runs: Int8Runs<'_>, bounds: &mut Vec<(f32, f32)>) {
        let quick = self.quick;
        let rows = products.len();
        let factors = runs.scale[..rows]
            .iter()
            .zip(&runs.residual[..rows])
            .zip(&runs.norm_sq[..rows]);
        let rows = products.iter().zip(factors);
        if self.metric == Metric::L2 {
            bounds.extend(rows.map(|(products, ((scale, residual), norm_sq))| {
                let sum = quick.norm_sq + norm_sq;
                let squared = sum - 2.0 * self.quick_dot(*products, *scale);
                let off = 2.0 * quick.slack * sum;
                let low = ((squared - off).max(0.0).sqrt() - residual).max(0.0);
                let high = (squared + off).max(0.0).sqrt() + residual;
                if ORDINARY_SUMS.contains(&sum) {
                    (low * low - off, high * high + off)
                } else {
                    (0.0, f32::INFINITY)
                }
            }));
            return;
        }
        let ordinary = ORDINARY_NORMS.contains(&self.norms.norm);
        bounds.extend(rows.map(|(products, ((scale, residual), norm_sq))| {
            let norms = quick.norm * norm_sq.sqrt();
            let off = quick.norm * residual + 2.0 * quick.slack * (norms + quick.norm * residual);
            let score = -self.quick_dot(*products, *scale);
            if ordinary && ORDINARY_SQUARES.contains(norm_sq) {
                (score - off, score + off)
            } else {
                (f32::NEG_INFINITY, f32::INFINITY)
            }
        }));
    }

    /// `|q - x'|^2` from `q.x'` and the stored `|x'|^2`, and how far it may be off.
    fn squared(&self, dot: f64, code_norm_sq: f32) -> (f64, f64) {
        let code_norm_sq = f64::from(code_norm_sq);
        // The stored square may have underflowed: then it is below the smallest f32.
        let code_norm = (code_norm_sq * (1.0 + 2.0 * U) + f64::from(f32::MIN_POSITIVE)).sqrt();
        let sum = self.norm_sq + 2.0 * dot.abs() + code_norm_sq;
        let off = 2.0 * self.residual * code_norm
            + U * code_norm_sq
            + f64::from(f32::MIN_POSITIVE)
            + (self.norms.dims + 32.0) * f64::EPSILON * sum;
        (self.norm_sq - 2.0 * dot + code_norm_sq, off)
    }

    fn dot(&self, products: [i32; 2], scale: f32) -> f64 {
        let steps = 128 * i64::from(products[0]) + i64::from(products[1]);
        // Below 2^36: exact.
        self.step * f64::from(scale) * steps as f64
    }

    fn dot_upper_bound(&self, dot: f64, row: Int8Factors) -> f64 {
        let rate = self.residual + 4.0 * f64::EPSILON * self.norms.norm;
        self.norms.dot_upper_bound_of(dot, rate, Self::factors(row))
    }

    /// Whether a row of zeroes is one cannot be told from its norm, which may have underflowed.
    fn factors(row: Int8Factors) -> RowFactors {
        RowFactors {
            residual: row.residual,
            norm_sq: row.norm_sq,
            is_zero: false,
        }
    }

    /// Appends to `kept` the numbers of the rows whose [`Self::lower_bound`] may lie below `cut`, in order, from their first
    /// products alone: all for which it does, and some for which it does not.
    ///
    /// The comparison is made in f32, many rows at a time. Its roundings, the query's own residual and the operator's
    /// rounding are covered by a slack of some 1e-6 of what is compared; a row of extraordinary size is kept.
    ///
    /// # Panics
    /// When the runs are shorter than `coarse_products`.
    pub fn candidates(&self, cut: f64, coarse_products: &[i32], runs: Int8Runs<'_>, kept: &mut Vec<usize>) {
        self.candidates_by(kernels(), cut, coarse_products, runs, kept);
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
    fn candidates_by(
        &self,
        kernels: &Kernels,
        cut: f64,
        coarse_products: &[i32],
        runs: Int8Runs<'_>,
        kept: &mut Vec<usize>,
    ) {
        if !ORDINARY_NORMS.contains(&self.norms.norm) && self.metric != Metric::L2 {
            kept.extend(0..coarse_products.len());
            return;
        }
        let cut = match self.metric {
            Metric::L2 => ScreenLimit::L2(cut as f32),
            Metric::InnerProduct => ScreenLimit::Dot {
                floor: -cut as f32,
                share: 0.0,
            },
            Metric::Cosine => ScreenLimit::Dot {
                floor: 0.0,
                share: (1.0 - cut) as f32,
            },
            Metric::L1 | Metric::Hamming | Metric::Jaccard => {
                kept.extend(0..coarse_products.len());
                return;
            }
        };
        let terms = ScreenTerms {
            limit: cut,
            step: 128.0 * self.quick.step,
            norm: self.quick.norm,
            norm_sq: self.quick.norm_sq,
            left_out: self.coarse_residual,
            slack: self.quick.slack,
        };
        let mut copies = ([0; LOOKUP_ROWS], [[0.0; LOOKUP_ROWS]; 3]);
        for (first, products) in (0..)
            .step_by(LOOKUP_ROWS)
            .zip(coarse_products.chunks(LOOKUP_ROWS))
        {
            let rows = first..first + products.len();
            let (product, [scale, residual, norm_sq]) = &mut copies;
            let block = ScreenRows {
                products: lanes(products, product),
                scale: lanes(&runs.scale[rows.clone()], scale),
                residual: lanes(&runs.residual[rows.clone()], residual),
                norm_sq: lanes(&runs.norm_sq[rows], norm_sq),
            };
            let present = u16::MAX >> (LOOKUP_ROWS - products.len());
            let mut near = kernels.screen_block(&terms, &block) & present;
            while near != 0 {
                kept.push(first + near.trailing_zeros() as usize);
                near &= near - 1;
            }
        }
    }

    fn quick_dot(&self, products: [i32; 2], scale: f32) -> f32 {
        self.quick.step * scale * (128.0 * products[0] as f32 + products[1] as f32)
    }
}

/// Where `|q|` is neither so small nor so large that the comparisons say nothing; beyond, rows are kept.
const ORDINARY_NORMS: Range<f64> = 1e-10..1e15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distance::{cosine, l2, negative_inner_product};
    use crate::property::cases;
    use crate::quantize::int8;
    use crate::quantize::tests::{ORDERS, operator_in};

    fn operator(metric: Metric, q: &[f32], x: &[f32]) -> f64 {
        match metric {
            Metric::L2 => l2(q, x),
            Metric::InnerProduct => negative_inner_product(q, x),
            Metric::Cosine => cosine(q, x),
            other => unreachable!("{other:?}"),
        }
    }

    /// The least of the values that the operator may have.
    fn least_value(summation: Summation, metric: Metric, q: &[f32], x: &[f32]) -> f64 {
        match summation {
            Summation::Kernels => operator(metric, q, x),
            Summation::Any => ORDERS
                .map(|order| operator_in(order, false, metric, q, x))
                .into_iter()
                .fold(f64::NAN, f64::min),
        }
    }

    const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

    /// Bounds of `rows` must not pass the operator's values; returns them.
    fn check(metric: Metric, q: &[f32], rows: &[Vec<f32>]) -> Vec<(f64, f64)> {
        check_for(Summation::Any, metric, q, rows);
        check_for(Summation::Kernels, metric, q, rows)
    }

    fn check_for(summation: Summation, metric: Metric, q: &[f32], rows: &[Vec<f32>]) -> Vec<(f64, f64)> {
        let query = Int8Query::for_operator(metric, q, summation);
        let operator = |metric, q: &[f32], x: &[f32]| least_value(summation, metric, q, x);
        let (mut codes, mut factors) = (Vec::new(), Vec::new());
        for x in rows {
            let start = codes.len();
            let scale = int8::encode(x, &mut codes).expect("finite");
            factors.push(Int8Factors::new(metric, x, &codes[start..], scale));
        }
        let mut products = vec![[0; 2]; rows.len()];
        for table in Kernels::all_supported() {
            let mut these = vec![[0; 2]; rows.len()];
            query.products_by(table, &codes, &mut these);
            assert!(
                products.iter().all(|p| *p == [0; 2]) || products == these,
                "{}",
                table.name()
            );
            let mut coarse = vec![0; rows.len()];
            query.coarse_products_by(table, &codes, &mut coarse);
            assert!(coarse.iter().zip(&these).all(|(coarse, both)| *coarse == both[0]));
            products = these;
        }
        let coarse: Vec<i32> = products.iter().map(|both| both[0]).collect();
        for (code, both) in codes.chunks(q.len()).zip(&products) {
            assert_eq!(query.fine_product(code), both[1]);
        }
        let bounds: Vec<(f64, f64)> = rows
            .iter()
            .zip(products.iter().zip(&factors))
            .map(|(x, (products, factors))| (query.lower_bound(*products, *factors), operator(metric, q, x)))
            .collect();
        for (bound, value) in &bounds {
            assert!(
                bound <= value || value.is_nan(),
                "{metric:?} {bound} > {value} for {q:?} {rows:?}"
            );
        }
        let runs = |part: fn(&Int8Factors) -> f32| factors.iter().map(part).collect::<Vec<_>>();
        let (scale, residual, norm_sq) = (runs(|f| f.scale), runs(|f| f.residual), runs(|f| f.norm_sq));
        let runs = Int8Runs {
            scale: &scale,
            residual: &residual,
            norm_sq: &norm_sq,
        };
        let some = bounds.iter().step_by(1 + bounds.len() / 10);
        let cuts = some.flat_map(|(bound, value)| [*bound, *value, bound.next_up()]);
        for cut in cuts
            .chain([f64::INFINITY, f64::NEG_INFINITY, 0.0])
            .filter(|cut| !cut.is_nan())
        {
            let mut kept = Vec::new();
            query.candidates(cut, &coarse, runs, &mut kept);
            for table in Kernels::all_supported() {
                let mut these = Vec::new();
                query.candidates_by(table, cut, &coarse, runs, &mut these);
                assert_eq!(these, kept, "{}", table.name());
            }
            let mut is_kept = vec![false; rows.len()];
            kept.iter().for_each(|row| is_kept[*row] = true);
            for ((bound, _), is_kept) in bounds.iter().zip(is_kept) {
                assert!(
                    is_kept || *bound >= cut,
                    "{metric:?}: {bound} below {cut} for {q:?} {rows:?}"
                );
            }
        }
        bounds
    }

    #[test]
    fn bounds_are_close_where_codes_are_close() {
        let row = |seed: f32| (0..100).map(|i| (i as f32 * seed).sin()).collect::<Vec<f32>>();
        let rows: Vec<_> = (1..if cfg!(miri) { 6 } else { 40 })
            .map(|i| row(0.37 * i as f32))
            .collect();
        for metric in METRICS {
            for (bound, value) in check(metric, &row(1.1), &rows) {
                // A residual is some 1 / (127 sqrt 12) of 2-norms of about 7.
                let scale = if metric == Metric::InnerProduct { 7.0 } else { 1.0 };
                assert!(value - bound <= 0.05 * scale, "{metric:?} {bound} {value}");
            }
        }
    }

    #[test]
    fn few_rows_pass_a_cut_that_they_do_not_reach() {
        let row = |seed: f32| (0..96).map(|i| (i as f32 * seed).sin()).collect::<Vec<f32>>();
        let rows: Vec<_> = (1..if cfg!(miri) { 60 } else { 500 })
            .map(|i| row(0.0317 * i as f32))
            .collect();
        for metric in METRICS {
            let query = Int8Query::new(metric, &row(0.5));
            let (mut codes, mut products) = (Vec::new(), vec![[0; 2]; rows.len()]);
            let factors: Vec<_> = rows
                .iter()
                .map(|x| {
                    let start = codes.len();
                    let scale = int8::encode(x, &mut codes).expect("finite");
                    Int8Factors::new(metric, x, &codes[start..], scale)
                })
                .collect();
            query.products(&codes, &mut products);
            let bounds: Vec<f64> = products
                .iter()
                .zip(&factors)
                .map(|(products, factors)| query.lower_bound(*products, *factors))
                .collect();
            let mut sorted = bounds.clone();
            sorted.sort_by(f64::total_cmp);
            let (scale, residual, norm_sq): (Vec<_>, Vec<_>, Vec<_>) = (
                factors.iter().map(|f| f.scale).collect(),
                factors.iter().map(|f| f.residual).collect(),
                factors.iter().map(|f| f.norm_sq).collect(),
            );
            let runs = Int8Runs {
                scale: &scale,
                residual: &residual,
                norm_sq: &norm_sq,
            };
            let mut kept = Vec::new();
            let coarse: Vec<i32> = products.iter().map(|both| both[0]).collect();
            query.candidates(sorted[20], &coarse, runs, &mut kept);
            assert!((20..=40).contains(&kept.len()), "{metric:?}: {}", kept.len());
        }
    }

    #[test]
    fn extreme_numbers_give_bounds_that_hold() {
        let lengths: &[usize] = if cfg!(miri) { &[3] } else { &[1, 2, 3, 17, 300] };
        for metric in METRICS {
            for len in lengths {
                let values = [
                    0.0, 1e-45, -1e-38, 1e-30, 1.0, -1.0, 255.0, 1e10, -3e18, 1e19, 3e38, -3.4e38,
                ];
                let rows: Vec<Vec<f32>> = values
                    .iter()
                    .step_by(if cfg!(miri) { 4 } else { 1 })
                    .flat_map(|a| {
                        values
                            .iter()
                            .map(move |b| (0..*len).map(|i| if i % 2 == 0 { *a } else { *b }).collect())
                    })
                    .collect();
                for q in rows.iter().step_by(if cfg!(miri) { 29 } else { 5 }) {
                    check(metric, q, &rows);
                }
            }
        }
    }

    const DIMS_END: usize = if cfg!(miri) { 9 } else { 40 };
    const ROWS_END: usize = if cfg!(miri) { 4 } else { 20 };

    fn vector(dims: usize) -> impl Strategy<Value = Vec<f32>> {
        let element = prop_oneof![
            4 => -10.0f32..10.0,
            1 => prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL,
            1 => Just(0.0f32),
        ];
        prop::collection::vec(element, dims)
    }

    proptest! {
        #![proptest_config(cases(400))]

        #[test]
        fn bounds_never_pass_the_operator(
            (q, rows) in (1..DIMS_END).prop_flat_map(|dims| (vector(dims), prop::collection::vec(vector(dims), 1..ROWS_END))),
            near in 0.0f32..1.0,
        ) {
            for metric in METRICS {
                check(metric, &q, &rows);
                let close: Vec<_> = rows
                    .iter()
                    .map(|x| x.iter().zip(&q).map(|(x, q)| (q + near * 1e-3 * x).clamp(-f32::MAX, f32::MAX)).collect())
                    .collect();
                check(metric, &q, &close);
            }
        }
    }
}
