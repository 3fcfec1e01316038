//! Exact search without an index: every row against every query, in one pass over the rows.
//!
//! Rows are gathered into blocks, which are compared with all queries (`comparison.rs`). Must not know where rows come from. Invariant: distances are bit for bit those of the SQL operators, so the answers are those of a sort.

use crate::backend::KeepWaiting;
use crate::comparison::{Comparison, Nearest, Rows};
pub use crate::comparison::{NEIGHBOUR_BYTES, Neighbour};
use crate::distance;
use crate::error::Result;
use crate::metric::Metric;
use crate::vector::check_equal_dims;

/// Bytes of rows that are compared together.
const BLOCK_BYTES: usize = 1 << 20;

/// The nearest rows so far of each of many queries.
pub struct ExactSearch<'q> {
    metric: Metric,
    dims: usize,
    /// All queries.
    members: Vec<usize>,
    nearest: Vec<Nearest<'q>>,
    comparison: Comparison,
    rows: Rows,
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
        let nearest = queries.into_iter().map(|values| {
            check_equal_dims(dims, values.len())?;
            Ok(Nearest::new(values, k))
        });
        let nearest: Vec<Nearest<'q>> = nearest.collect::<Result<_>>()?;
        let members: Vec<usize> = (0..nearest.len()).collect();
        let mut comparison = Comparison::new(metric, true, dims);
        comparison.take(&members, &nearest)?;
        Ok(Self {
            metric,
            dims,
            members,
            nearest,
            comparison,
            rows: Rows::default(),
        })
    }

    /// Takes a row.
    ///
    /// # Errors
    /// `DataException` for other dimensions than the queries', `OutOfMemory`, `Cancelled`.
    pub fn push(&mut self, id: u64, vector: &[f32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        check_equal_dims(self.dims, vector.len())?;
        self.rows.values.extend_from_slice(vector);
        let norm_sq = match self.metric {
            Metric::Cosine => distance::norm_squared(vector),
            Metric::L2 | Metric::InnerProduct => 0.0,
        };
        self.rows.push(id, norm_sq, 0.0);
        if size_of_val(self.rows.values.as_slice()) >= BLOCK_BYTES {
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
        let nearest = self.nearest.into_iter();
        Ok(nearest.map(|nearest| nearest.rows.into_sorted_vec()).collect())
    }

    /// Compares the rows gathered.
    fn flush(&mut self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.comparison
            .compare(&self.rows, &self.members, &mut self.nearest, keep_waiting)?;
        self.rows.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
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
