//! Exact search without an index: every row against every query, in one pass over the rows.
//!
//! Rows are gathered into blocks that stay in a core's cache while all queries are scored against them. Must not know where
//! rows come from. Invariant: distances are bit for bit those of the SQL operators, so the answers are those of a sort.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::backend::{Backend, KeepWaiting, RowBlock};
use crate::cpu::CpuBackend;
use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::{Element, Metric};
use crate::vector::check_equal_dims;

/// Bytes of rows that are scored together.
const BLOCK_BYTES: usize = 128 << 10;

/// A row near a query; ordered by distance (NaN last, as in SQL), then by id.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour {
    /// Which row, as given to [`ExactSearch::push`].
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

/// The nearest rows so far of each of many queries.
pub struct ExactSearch<'q> {
    metric: Metric,
    dims: usize,
    k: usize,
    queries: Vec<Query<'q>>,
    codes: Vec<u8>,
    rows: Vec<Row>,
    scores: Vec<f32>,
    backend: CpuBackend,
}

struct Query<'q> {
    values: &'q [f32],
    norm_sq: f32,
    /// The farthest on top.
    nearest: BinaryHeap<Neighbour>,
}

struct Row {
    id: u64,
    norm_sq: f32,
}

impl<'q> ExactSearch<'q> {
    /// A search for the `k` (at least 1) nearest rows of each of `queries`, which have `dims` dimensions.
    ///
    /// ```
    /// use vectorgpu_core::exact::ExactSearch;
    /// use vectorgpu_core::metric::Metric;
    ///
    /// let queries: [&[f32]; 1] = [&[0.0, 0.0]];
    /// let mut search = ExactSearch::new(Metric::L2, 2, 2, queries)?;
    /// for (id, row) in [(1, [3.0, 4.0]), (2, [0.0, 1.0]), (3, [9.0, 9.0])] {
    ///     search.push(id, &row, &mut || true)?;
    /// }
    /// let nearest = search.finish(&mut || true)?;
    /// let found: Vec<_> = nearest[0].iter().map(|row| (row.id, row.distance)).collect();
    /// assert_eq!(found, [(2, 1.0), (1, 5.0)]);
    /// # Ok::<(), vectorgpu_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DataException` for a query of other dimensions, `OutOfMemory`.
    ///
    /// # Panics
    /// When `dims` or `k` is 0.
    pub fn new(
        metric: Metric,
        dims: usize,
        k: usize,
        queries: impl IntoIterator<Item = &'q [f32]>,
    ) -> Result<Self> {
        assert!(dims > 0 && k > 0, "nothing to search");
        let prepared = queries.into_iter().map(|values| {
            check_equal_dims(dims, values.len())?;
            Ok(Query {
                values,
                norm_sq: distance::norm_squared(values),
                nearest: BinaryHeap::new(),
            })
        });
        Ok(Self {
            metric,
            dims,
            k,
            queries: prepared.collect::<Result<_>>()?,
            codes: Vec::new(),
            rows: Vec::new(),
            scores: Vec::new(),
            backend: CpuBackend::new(),
        })
    }

    /// Takes a row.
    ///
    /// # Errors
    /// `DataException` for other dimensions than the queries', `OutOfMemory`, `Cancelled`.
    pub fn push(&mut self, id: u64, vector: &[f32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        check_equal_dims(self.dims, vector.len())?;
        self.codes.extend_from_slice(bytemuck::cast_slice(vector));
        let norm_sq = match self.metric {
            Metric::Cosine => distance::norm_squared(vector),
            Metric::L2 | Metric::InnerProduct => 0.0,
        };
        self.rows.push(Row { id, norm_sq });
        if self.codes.len() >= BLOCK_BYTES {
            self.flush(keep_waiting)?;
        }
        Ok(())
    }

    /// The rows found for each query, in the queries' order, each nearest first.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`.
    pub fn finish(mut self, keep_waiting: &mut KeepWaiting<'_>) -> Result<Vec<Vec<Neighbour>>> {
        self.flush(keep_waiting)?;
        let nearest = self
            .queries
            .into_iter()
            .map(|query| query.nearest.into_sorted_vec());
        Ok(nearest.collect())
    }

    /// Scores the rows gathered.
    fn flush(&mut self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let block = RowBlock {
            codes: &self.codes,
            element: Element::F32,
            dims: self.dims,
        };
        for query in &mut self.queries {
            self.scores.clear();
            let score = self.metric.score();
            self.backend
                .score(score, query.values, block, &mut self.scores, keep_waiting)?;
            for (row, score) in self.rows.iter().zip(&self.scores) {
                let distance = match self.metric {
                    Metric::L2 => distance::l2_from_squared(*score),
                    Metric::InnerProduct => -f64::from(*score),
                    Metric::Cosine => distance::cosine_from_parts(*score, query.norm_sq, row.norm_sq),
                };
                query.keep(Neighbour { id: row.id, distance }, self.k)?;
            }
        }
        self.codes.clear();
        self.rows.clear();
        Ok(())
    }
}

impl Query<'_> {
    /// Keeps `row` if it is among the `k` nearest so far.
    fn keep(&mut self, row: Neighbour, k: usize) -> Result<()> {
        if self.nearest.len() < k {
            self.nearest.try_reserve(1).map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, "no memory for the rows found")
                    .with_detail(error.to_string())
            })?;
            self.nearest.push(row);
        } else if let Some(mut farthest) = self.nearest.peek_mut()
            && row < *farthest
        {
            *farthest = row;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "test data need not be exact")]
    fn finds_what_a_sort_by_the_operator_finds() {
        let mut random = Random::new(7);
        let rows_max: usize = if cfg!(miri) { 30 } else { 3000 };
        for (dims, k, rows) in [(1, 1, 10), (3, 5, 4), (17, 7, rows_max), (300, 10, rows_max / 4)] {
            let mut vector = || -> Vec<f32> { (0..dims).map(|_| random.normal() as f32).collect() };
            let queries: Vec<_> = (0..5).map(|_| vector()).collect();
            let mut table: Vec<_> = (0..rows).map(|_| vector()).collect();
            table[1] = vec![0.0; dims];
            table[2] = table[0].clone();
            for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
                let operator = |a: &[f32], b: &[f32]| match metric {
                    Metric::L2 => distance::l2(a, b),
                    Metric::InnerProduct => distance::negative_inner_product(a, b),
                    Metric::Cosine => distance::cosine(a, b),
                };
                let slices = queries.iter().map(Vec::as_slice);
                let mut search = ExactSearch::new(metric, dims, k, slices).unwrap();
                for (id, row) in (0..).zip(&table) {
                    search.push(id, row, &mut || true).unwrap();
                }
                let found = search.finish(&mut || true).unwrap();
                for (query, found) in queries.iter().zip(found) {
                    let mut expected: Vec<_> = (0..)
                        .zip(&table)
                        .map(|(id, row)| Neighbour {
                            id,
                            distance: operator(query, row),
                        })
                        .collect();
                    expected.sort();
                    expected.truncate(k);
                    assert_eq!(found, expected, "{metric:?} {dims}");
                }
            }
        }
    }

    #[test]
    fn other_dimensions_are_refused() {
        let error = ExactSearch::new(Metric::L2, 2, 1, [&[1.0_f32][..]])
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::DataException);
        let mut search = ExactSearch::new(Metric::L2, 2, 1, []).unwrap();
        let error = search.push(1, &[1.0; 3], &mut || true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataException);
    }
}
