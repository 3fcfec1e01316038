//! The nearest of many rows to each of many queries.
//!
//! A matrix product of rows and queries tells, within the rounding of its sums, which rows may be among the nearest so far of
//! which query; only those are scored by the kernels of a scan, so distances and bounds are a scan's. With `p` the product,
//! `r` the row's residual and `g` a multiple of the rounding bound that covers this product, the scan's score and its bounds,
//! and the few operations here, a row's key may be no larger than a query's `limit` only if
//!
//! - L2: `2 (p + g |q| |x'|) >= (1 - g) (|q|^2 + |x'|^2) - (limit + r)^2`
//! - inner product: `p + |q| (g |x'| + r) >= -limit`
//! - cosine: `p + |q| (g |x'| + r) >= (1 - limit) |q| |x|`
//!
//! All have the form `p + n u + r l >= a v + w`, with `n`, `r`, `a` of the row and `u`, `l`, `v`, `w` of the query. What is no
//! number passes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::backend::KeepWaiting;
use crate::cpu::{Panels, Products, kernels};
use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::{Element, Metric};
use crate::quantize::{QueryNorms, rounding_bound};

/// Relative slack for what is computed here in f32.
const SLACK: f64 = 4e-6;
/// Squares of norms of which the root is as good as the norm.
const ORDINARY_SQUARES: std::ops::Range<f32> = 1e-30..1e36;
/// Norms of rows whose scores cannot overflow.
const NORM_MAX: f64 = 1e18;
/// Slack for what is flushed to zero, or a scan's bound takes to be: absolute, and relative to the norms of both.
const TINY: f64 = 1e-30;
const TINY_RATE: f64 = 1e-35;

/// Norms of queries whose scores cannot overflow with such rows.
const QUERY_NORM_MAX: f64 = 1e19;

/// A row near a query; ordered by distance (NaN last, as in SQL), then by id.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour {
    /// Which row, as its giver knows it.
    pub id: u64,
    /// The operator's value.
    pub distance: f64,
}

/// Bytes that a kept row takes.
pub const NEIGHBOUR_BYTES: usize = size_of::<Neighbour>();

impl Ord for Neighbour {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = distance::order(self.distance).cmp(&distance::order(other.distance));
        by_distance.then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Neighbour {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Neighbour {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Neighbour {}

/// Rows to compare with.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// `[n, dims]`: the rows, or what their codes stand for.
    pub(crate) values: Vec<f32>,
    pub(crate) ids: Vec<u64>,
    /// The rows' own `|x|^2` as the operator has it; only cosine asks.
    pub(crate) norms: Vec<f32>,
    /// Bounds of `|x - x'|`.
    pub(crate) residuals: Vec<f32>,
}

impl Rows {
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.ids.clear();
        self.norms.clear();
        self.residuals.clear();
    }

    /// Appends a row, whose values the caller has appended.
    pub(crate) fn push(&mut self, id: u64, norm_sq: f32, residual: f32) {
        self.ids.push(id);
        self.norms.push(norm_sq);
        self.residuals.push(residual);
    }
}

/// The nearest rows of a query so far.
#[derive(Debug)]
pub(crate) struct Nearest<'q> {
    values: &'q [f32],
    norm: f64,
    bounds: QueryNorms,
    wanted: usize,
    /// The farthest on top; distances are keys.
    pub(crate) rows: BinaryHeap<Neighbour>,
    /// Rows it was compared with.
    seen: usize,
}

impl<'q> Nearest<'q> {
    /// No rows yet; `wanted` are kept, at least one.
    pub(crate) fn new(query: &'q [f32], wanted: usize) -> Self {
        Self {
            values: query,
            norm: distance::norm(query),
            bounds: QueryNorms::new(query, true),
            wanted,
            rows: BinaryHeap::new(),
            seen: 0,
        }
    }

    /// The least key that a row which was left out may have; infinite when none was.
    pub(crate) fn bound(&self) -> f64 {
        let farthest = self.rows.peek().filter(|_| self.seen > self.rows.len());
        farthest.map_or(f64::INFINITY, |row| row.distance)
    }

    /// A row with a larger key is not among the nearest.
    fn limit(&self) -> f64 {
        let is_full = self.rows.len() >= self.wanted;
        self.rows
            .peek()
            .filter(|_| is_full)
            .map_or(f64::INFINITY, |row| row.distance)
    }

    /// Whether a row may be among the nearest whose distance is `bound` or more; NaN is the largest of all.
    pub(crate) fn may_take(&self, bound: f64) -> bool {
        let is_full = self.rows.len() >= self.wanted;
        let farthest = self.rows.peek().filter(|_| is_full);
        // A row as far as the farthest one takes its place where its id is smaller.
        farthest.is_none_or(|row| distance::order(bound) <= distance::order(row.distance))
    }

    /// Takes the row at `place` of `rows`, which are what they stand for, if it is among the nearest.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn take(&mut self, metric: Metric, rows: &Rows, place: usize) -> Result<()> {
        let dims = self.values.len();
        let values = bytemuck::cast_slice(&rows.values[place * dims..][..dims]);
        let score = kernels().row(metric.score(), Element::F32, self.values, values);
        let distance = self.bounds.key(metric, true, score, rows.norms[place], 0.0);
        let id = rows.ids[place];
        self.push(Neighbour { id, distance })
    }

    /// The query.
    pub(crate) fn query(&self) -> &'q [f32] {
        self.values
    }

    fn push(&mut self, row: Neighbour) -> Result<()> {
        if self.rows.len() < self.wanted {
            self.rows.try_reserve(1).map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, "no memory for the rows found")
                    .with_detail(error.to_string())
            })?;
            self.rows.push(row);
        } else if let Some(mut farthest) = self.rows.peek_mut()
            && row < *farthest
        {
            *farthest = row;
        }
        Ok(())
    }
}

/// What a row has to do with whether it may be near.
#[derive(Debug, Clone, Copy)]
struct RowTerms {
    n: f32,
    a: f32,
    r: f32,
}

/// The same of queries, and beyond the last one what no row passes.
#[derive(Debug, Default)]
struct QueryTerms {
    u: Vec<f32>,
    l: Vec<f32>,
    v: Vec<f32>,
    w: Vec<f32>,
}

/// Compares rows with queries; memory is kept.
pub(crate) struct Comparison {
    metric: Metric,
    /// Whether rows are what they stand for, and keys their distances.
    is_exact: bool,
    dims: usize,
    panels: Panels,
    rows: Vec<RowTerms>,
    queries: QueryTerms,
}

impl Comparison {
    /// Of rows and queries of `dims` dimensions.
    pub(crate) fn new(metric: Metric, is_exact: bool, dims: usize) -> Self {
        Self {
            metric,
            is_exact,
            dims,
            panels: Panels::default(),
            rows: Vec::new(),
            queries: QueryTerms::default(),
        }
    }

    /// Takes the queries `members` of `nearest` to compare rows with from now on.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn take(&mut self, members: &[usize], nearest: &[Nearest<'_>]) -> Result<()> {
        let queries = members.iter().map(|member| nearest[*member].values);
        self.panels.pack(self.dims, &queries.collect::<Vec<_>>())?;
        let padded = members.len().next_multiple_of(self.panels.width());
        let terms = &mut self.queries;
        for (of, beyond) in [
            (&mut terms.u, 0.0),
            (&mut terms.l, 0.0),
            (&mut terms.v, 0.0),
            (&mut terms.w, f32::INFINITY),
        ] {
            of.clear();
            of.resize(padded, beyond);
        }
        Ok(())
    }

    /// Puts those of `rows` that are among the nearest of the queries `members`, which [`Self::take`] took, into `nearest`.
    ///
    /// # Errors
    /// `Cancelled`, `OutOfMemory`.
    pub(crate) fn compare(
        &mut self,
        rows: &Rows,
        members: &[usize],
        nearest: &mut [Nearest<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.rows.clear();
        let gamma = 4.0 * rounding_bound(self.dims) + SLACK;
        for (place, values) in rows.values.chunks_exact(self.dims).enumerate() {
            let terms = row_terms(
                self.metric,
                gamma,
                values,
                rows.norms[place],
                rows.residuals[place],
            );
            self.rows.push(terms);
        }
        let (metric, dims, is_exact) = (self.metric, self.dims, self.is_exact);
        let (row_terms, terms) = (&self.rows, &mut self.queries);
        for (place, member) in members.iter().enumerate() {
            terms.set(place, metric, gamma, &nearest[*member]);
        }
        let width = self.panels.width();
        let mut after = |_| {
            if keep_waiting() {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::Cancelled, "a search was cancelled"))
            }
        };
        self.panels
            .multiply(&rows.values, &mut after, &mut |products: Products<'_>| {
                let first = products.first_vector;
                let members = &members[first..members.len().min(first + width)];
                for (row, dots) in (products.first_row..).zip(products.dots.chunks_exact(width)) {
                    if terms.passing(first, row_terms[row], dots) == 0 {
                        continue;
                    }
                    for (lane, member) in members.iter().enumerate() {
                        if !terms.passes(first + lane, row_terms[row], dots[lane]) {
                            continue;
                        }
                        let nearest = &mut nearest[*member];
                        let values = bytemuck::cast_slice(&rows.values[row * dims..][..dims]);
                        let score = kernels().row(metric.score(), Element::F32, nearest.values, values);
                        let (norm_sq, residual) = (rows.norms[row], rows.residuals[row]);
                        let bounds = &nearest.bounds;
                        let distance = bounds.key(metric, is_exact, score, norm_sq, residual);
                        let id = rows.ids[row];
                        nearest.push(Neighbour { id, distance })?;
                        terms.set(first + lane, metric, gamma, nearest);
                    }
                }
                Ok(())
            })?;
        for member in members {
            nearest[*member].seen += rows.ids.len();
        }
        Ok(())
    }
}

/// `values` is `x'`.
fn row_terms(metric: Metric, gamma: f64, values: &[f32], norm_sq: f32, residual: f32) -> RowTerms {
    // Rounded as scores are, which `gamma` covers, where nothing is flushed or overflows.
    let squares = distance::norm_squared(values);
    let norm = if ORDINARY_SQUARES.contains(&squares) {
        f64::from(squares).sqrt()
    } else {
        distance::norm(values)
    };
    let norm = norm * (1.0 + gamma);
    let (norm_below, r) = (norm * (1.0 - 2.0 * gamma), f64::from(residual));
    let (n, a, r) = match metric {
        Metric::L2 => (
            gamma * norm,
            0.5 * ((1.0 - gamma) * norm_below * norm_below - r * r),
            r,
        ),
        Metric::InnerProduct => (gamma * (norm + r) + r, 0.0, TINY_RATE * (norm + r)),
        Metric::Cosine => (
            gamma * (norm + r) + r,
            f64::from(norm_sq).sqrt(),
            TINY_RATE * (norm + r),
        ),
        // Nothing follows from products.
        Metric::L1 | Metric::Hamming | Metric::Jaccard => (0.0, f64::NAN, 0.0),
    };
    let terms = RowTerms {
        n: single(n),
        a: single(a),
        r: single(r),
    };
    // Of a row whose scores may overflow, or whose square is flushed, the scan's bounds say nothing either.
    let is_flushed = metric == Metric::Cosine && norm_sq < f32::MIN_POSITIVE;
    let known = norm < NORM_MAX && !is_flushed && terms.r.is_finite();
    if known {
        terms
    } else {
        RowTerms { a: f32::NAN, ..terms }
    }
}

impl QueryTerms {
    fn set(&mut self, place: usize, metric: Metric, gamma: f64, nearest: &Nearest<'_>) {
        let (norm, limit) = (nearest.norm * (1.0 + SLACK), nearest.limit());
        let (l, v, w) = match metric {
            Metric::L2 => {
                let wide = limit * (1.0 + SLACK);
                let own = nearest.norm;
                let w = 0.5 * ((1.0 - gamma) * own * own - wide * wide) - TINY;
                (if limit.is_finite() { wide } else { 0.0 }, 1.0, w)
            }
            Metric::InnerProduct => (1.0, 0.0, -limit - SLACK * limit.abs() - TINY - TINY_RATE * norm),
            Metric::Cosine => (1.0, (1.0 - limit - SLACK) * norm, -TINY - TINY_RATE * norm),
            Metric::L1 | Metric::Hamming | Metric::Jaccard => (0.0, 0.0, f64::NAN),
        };
        (self.u[place], self.l[place]) = (single(norm), single(l));
        (self.v[place], self.w[place]) = (single(v), single(w));
        let is_flushed = metric == Metric::Cosine && nearest.bounds.norm_sq() < f32::MIN_POSITIVE;
        if norm.is_nan() || norm >= QUERY_NORM_MAX || is_flushed {
            self.w[place] = f32::NAN;
        }
    }

    /// How many of the products `dots` of a row may be those of a near one, from the query `first` on; beyond the last
    /// query, that may be anything where the row is no number.
    fn passing(&self, first: usize, row: RowTerms, dots: &[f32]) -> usize {
        let until = first + dots.len();
        let (u, l) = (&self.u[first..until], &self.l[first..until]);
        let (v, w) = (&self.v[first..until], &self.w[first..until]);
        let mut passing = 0;
        for (lane, dot) in dots.iter().enumerate() {
            passing += usize::from(may_be_near(row, *dot, [u[lane], l[lane], v[lane], w[lane]]));
        }
        passing
    }

    fn passes(&self, place: usize, row: RowTerms, dot: f32) -> bool {
        may_be_near(
            row,
            dot,
            [self.u[place], self.l[place], self.v[place], self.w[place]],
        )
    }
}

#[inline(always)]
#[expect(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "the opposite comparison fails for what is no number"
)]
fn may_be_near(row: RowTerms, dot: f32, [u, l, v, w]: [f32; 4]) -> bool {
    !(dot + row.n * u + row.r * l < row.a * v + w)
}

#[expect(clippy::cast_possible_truncation, reason = "the slack covers the rounding")]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::property::cases;

    const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

    /// What comparing every pair would find: order and TIDs of the nearest.
    fn by_scoring_all(
        metric: Metric,
        is_exact: bool,
        rows: &Rows,
        query: &[f32],
        wanted: usize,
    ) -> Vec<Neighbour> {
        let mut nearest = Nearest::new(query, wanted);
        for (place, values) in rows.values.chunks_exact(query.len()).enumerate() {
            let score = kernels().row(metric.score(), Element::F32, query, bytemuck::cast_slice(values));
            let (norm_sq, residual) = (rows.norms[place], rows.residuals[place]);
            let distance = nearest.bounds.key(metric, is_exact, score, norm_sq, residual);
            let id = rows.ids[place];
            nearest.push(Neighbour { id, distance }).expect("memory");
        }
        nearest.rows.into_sorted_vec()
    }

    fn check(dims: usize, values: &[f32], queries: &[f32], residual: f32, wanted: usize) {
        for metric in METRICS {
            for is_exact in [true, false] {
                let mut rows = Rows::default();
                for (row, tid) in values.chunks_exact(dims).zip(1..) {
                    rows.values.extend(row);
                    let residual = if is_exact { 0.0 } else { residual };
                    rows.push(tid, distance::norm_squared(row), residual);
                }
                let queries = queries.chunks_exact(dims);
                let mut nearest: Vec<Nearest<'_>> =
                    queries.map(|query| Nearest::new(query, wanted)).collect();
                let members: Vec<usize> = (0..nearest.len()).collect();
                let mut comparison = Comparison::new(metric, is_exact, dims);
                comparison.take(&members, &nearest).expect("memory");
                comparison
                    .compare(&rows, &members, &mut nearest, &mut || true)
                    .expect("not cancelled");
                for nearest in nearest {
                    let expected = by_scoring_all(metric, is_exact, &rows, nearest.values, wanted);
                    let left_out = rows.ids.len() > wanted;
                    let farthest = expected.last().expect("rows").distance;
                    let bound = if left_out { farthest } else { f64::INFINITY };
                    assert_eq!(nearest.bound().to_bits(), bound.to_bits());
                    assert_eq!(nearest.rows.into_sorted_vec(), expected, "{metric:?} {is_exact}");
                }
            }
        }
    }

    /// Magnitudes over the whole range of f32, most of them ordinary.
    fn wild() -> impl Strategy<Value = f32> {
        (any::<u32>(), 0u32..6).prop_map(|(bits, kind)| match kind {
            0 => f32::from_bits(bits & 0x8000_0000),
            1 => {
                let x = f32::from_bits(bits);
                if x.is_finite() { x } else { 1.0 }
            }
            _ => f32::from_bits((bits & 0x807f_ffff) | (124 + (bits >> 29)) << 23),
        })
    }

    proptest! {
        #![proptest_config(cases(300))]

        #[test]
        fn no_row_is_passed_over_that_is_among_the_nearest(
            (dims, rows, queries, residual, wanted) in (1usize..40).prop_flat_map(|dims| (
                Just(dims),
                prop::collection::vec(wild(), dims * 60),
                prop::collection::vec(wild(), dims * 5),
                0.0f32..2.0,
                1usize..20,
            ))
        ) {
            check(dims, &rows, &queries, residual, wanted);
            // Rows at the same places.
            check(dims, &[&rows[..dims * 30], &rows[..dims * 30]].concat(), &rows[..dims], residual, wanted);
        }
    }
}
