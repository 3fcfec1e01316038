//! Exact search without an index: every row against every query, in one pass over the rows.
//!
//! Rows are gathered into blocks, which are compared with all queries (`comparison.rs`), or searched by a device
//! (`exact/by_copies.rs`). Must not know where rows come from. Invariant: distances are bit for bit those of the SQL
//! operators, so the answers are those of a sort, whatever computes.

use std::time::{Duration, Instant};

use crate::backend::KeepWaiting;
use crate::comparison::{Comparison, Nearest, Rows};
pub use crate::comparison::{NEIGHBOUR_BYTES, Neighbour};
use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::ivf::copy::ListCopies;
use crate::metric::Metric;
use crate::vector::check_equal_dims;

mod by_copies;

use by_copies::ByCopies;
pub use by_copies::{COPIES_K_MAX, block_rows};

/// Bytes of rows that are compared together.
const BLOCK_BYTES: usize = 1 << 20;

/// The nearest rows so far of each of many queries.
pub struct ExactSearch<'q> {
    metric: Metric,
    dims: usize,
    k: usize,
    nearest: Vec<Nearest<'q>>,
    comparison: Comparison,
    /// The queries that the comparison holds.
    compared: Vec<usize>,
    rows: Rows,
    /// Rows of a block.
    block_rows: usize,
    by_copies: Option<ByCopies<'q>>,
    elapsed: Duration,
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
    /// let nearest = search.finish(&mut || true)?.nearest;
    /// let found: Vec<_> = nearest[0].iter().map(|row| (row.id, row.distance)).collect();
    /// assert_eq!(found, [(2, 1.0), (1, 5.0)]);
    /// # Ok::<(), vectorgpu_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DataException` for a query of other dimensions.
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
        Ok(Self {
            metric,
            dims,
            k,
            nearest: nearest.collect::<Result<_>>()?,
            comparison: Comparison::new(metric, true, dims),
            compared: Vec::new(),
            rows: Rows::default(),
            block_rows: (BLOCK_BYTES / (dims * size_of::<f32>())).max(1),
            by_copies: None,
            elapsed: Duration::ZERO,
        })
    }

    /// Has blocks of `block_rows` rows searched through copies of them from now on, which are the list 0 of `copies`;
    /// [`block_rows`] gives their number. Nothing changes where more than [`COPIES_K_MAX`] rows are wanted. What the device
    /// leaves uncertain, and what it fails in where [`ListCopies::failed`] lets it, is compared here.
    ///
    /// # Panics
    /// When `block_rows` is 0.
    pub fn use_copies(&mut self, copies: &'q mut dyn ListCopies, block_rows: usize) {
        assert!(block_rows > 0, "blocks have rows");
        if self.k <= COPIES_K_MAX {
            self.by_copies = Some(ByCopies::new(
                self.metric,
                self.dims,
                self.k,
                &self.nearest,
                copies,
            ));
            self.block_rows = block_rows;
        }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// `DataException` for other dimensions than the queries', `OutOfMemory`, `Cancelled`; what the copies report.
    pub fn push(&mut self, id: u64, vector: &[f32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        check_equal_dims(self.dims, vector.len())?;
        self.rows.values.try_reserve(self.dims).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for a block of rows").with_detail(error.to_string())
        })?;
        self.rows.values.extend_from_slice(vector);
        let norm_sq = match self.metric {
            Metric::Cosine | Metric::Jaccard => distance::norm_squared(vector),
            Metric::L2 | Metric::InnerProduct | Metric::L1 | Metric::Hamming => 0.0,
        };
        self.rows.push(id, norm_sq, 0.0);
        if self.rows.ids.len() >= self.block_rows {
            self.flush(keep_waiting)?;
        }
        Ok(())
    }

    /// The rows found.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self, keep_waiting: &mut KeepWaiting<'_>) -> Result<ExactFound> {
        self.flush(keep_waiting)?;
        if let Some(device) = self.by_copies.take() {
            device.end();
        }
        let nearest = self.nearest.into_iter();
        Ok(ExactFound {
            nearest: nearest.map(|nearest| nearest.rows.into_sorted_vec()).collect(),
            elapsed: self.elapsed,
        })
    }

    /// Compares the rows gathered.
    fn flush(&mut self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let started = Instant::now();
        let mut left: Vec<usize> = Vec::new();
        match &mut self.by_copies {
            None => left.extend(0..self.nearest.len()),
            Some(device) => {
                let searched = device.search(&self.rows, &mut self.nearest, &mut left, keep_waiting);
                if let Err(error) = searched {
                    device.failed(error)?;
                    self.by_copies = None;
                    self.block_rows = (BLOCK_BYTES / (self.dims * size_of::<f32>())).max(1);
                }
            }
        }
        self.compare(left, keep_waiting)?;
        self.rows.clear();
        self.elapsed += started.elapsed();
        Ok(())
    }

    /// Compares the rows gathered with some of the queries.
    fn compare(&mut self, queries: Vec<usize>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if queries.is_empty() || self.rows.ids.is_empty() {
            return Ok(());
        }
        if self.compared != queries {
            self.compared.clear();
            self.comparison.take(&queries, &self.nearest)?;
            self.compared = queries;
        }
        self.comparison
            .compare(&self.rows, &self.compared, &mut self.nearest, keep_waiting)
    }
}

/// What an exact search found.
#[derive(Debug, Clone)]
pub struct ExactFound {
    /// The rows of each query, in the queries' order, each nearest first.
    pub nearest: Vec<Vec<Neighbour>>,
    /// How long rows were compared with queries; handing them over took more.
    pub elapsed: Duration,
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
            for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1] {
                let operator = |a: &[f32], b: &[f32]| match metric {
                    Metric::L2 => distance::l2(a, b),
                    Metric::InnerProduct => distance::negative_inner_product(a, b),
                    Metric::Cosine => distance::cosine(a, b),
                    _ => distance::l1(a, b),
                };
                let slices = queries.iter().map(Vec::as_slice);
                let mut search = ExactSearch::new(metric, dims, k, slices).unwrap();
                for (id, row) in (0..).zip(&table) {
                    search.push(id, row, &mut || true).unwrap();
                }
                let found = search.finish(&mut || true).unwrap().nearest;
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
