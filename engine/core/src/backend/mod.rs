//! The arithmetic of the index, as operations that a CPU or a GPU can carry out.
//!
//! Must not know pages, SQL or wgpu. Invariant: a backend whose [`Backend::is_exact`] is true computes, for f32 rows,
//! bit for bit the score from which the SQL operator computes its value; any other backend only has to stay within
//! the any-order rounding bound of an f32 sum, and its results choose candidates, never the final order.

mod fallback;
#[cfg(test)]
pub(crate) mod holding;
mod metered;

pub use fallback::{Fallback, OnFailure, is_device_failure};
pub use metered::{Meter, Metered};

use crate::error::Result;
use crate::metric::{Element, Metric, Score};

/// Asked between steps of long work; `false` stops it with `ErrorKind::Cancelled`.
pub type KeepWaiting<'a> = dyn FnMut() -> bool + 'a;

/// Rows that lie one after the other, as an index page or a gathered batch holds them.
#[derive(Debug, Clone, Copy)]
pub struct RowBlock<'a> {
    /// `[rows, code_bytes]` row-major, little-endian, of any alignment.
    pub codes: &'a [u8],
    /// How a row is encoded.
    pub element: Element,
    /// Dimensions of a row.
    pub dims: usize,
}

impl RowBlock<'_> {
    /// Number of whole rows in the block.
    pub fn rows(&self) -> usize {
        self.codes.len() / self.element.code_bytes(self.dims)
    }
}

/// Which centroid counts as the nearest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearestBy {
    /// Smallest Euclidean distance.
    L2,
    /// Largest inner product; for spherical k-means, whose centroids have unit length.
    Dot,
}

impl From<Metric> for NearestBy {
    fn from(metric: Metric) -> Self {
        if metric.is_spherical() {
            Self::Dot
        } else {
            Self::L2
        }
    }
}

/// Centroids prepared for repeated assignment (norms computed, uploaded to the device).
pub trait Nearest {
    /// Writes to `labels[i]` the nearest centroid of row `i`; ties go to the lower centroid number.
    ///
    /// `rows` is `[labels.len(), dims]` row-major f32. A row with a NaN or infinite score gets a valid label.
    ///
    /// # Errors
    /// `Cancelled`, or what the device reports.
    fn assign(&mut self, rows: &[f32], labels: &mut [u32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()>;

    /// As [`Nearest::assign`] for several blocks of rows, which a device takes at once: small ones leave it idle.
    ///
    /// # Errors
    /// As [`Nearest::assign`].
    fn assign_each(
        &mut self,
        blocks: &mut [Unlabelled<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        for block in blocks {
            self.assign(block.rows, block.labels, keep_waiting)?;
        }
        Ok(())
    }
}

/// Rows to label.
pub struct Unlabelled<'a> {
    /// `[labels.len(), dims]` row-major.
    pub rows: &'a [f32],
    /// Where the labels go.
    pub labels: &'a mut [u32],
}

/// Rows of which a device keeps a copy, so that they are sent once for many assignments.
pub trait HeldRows {
    /// Labels the rows of every part by the part's own centroids, as [`Nearest::assign`] does, all parts at once: small ones leave
    /// a device idle.
    ///
    /// # Errors
    /// `Cancelled`, `OutOfMemory` or `Unsupported` where centroids do not fit beside the rows, or what the device reports.
    fn assign(
        &mut self,
        parts: &mut [Part<'_>],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()>;
}

/// Some of the rows that are held, and the centroids among which they find the nearest.
pub struct Part<'a> {
    /// Numbers of rows, each less than the number of rows held.
    pub rows: &'a [u32],
    /// `[lists, dims]` row-major, `lists` >= 1.
    pub centroids: &'a [f32],
    /// `[rows.len()]`: where the labels go, numbers of the part's centroids.
    pub labels: &'a mut [u32],
}

/// One implementor of the index's arithmetic.
pub trait Backend {
    /// What ran, for the user: "cpu (avx512)" or the adapter's name.
    fn label(&self) -> &str;

    /// Whether f32 scores are bit for bit those of the SQL operators.
    fn is_exact(&self) -> bool;

    /// How many bytes of codes to gather before a call to [`Backend::score`]; 0: score rows where they lie.
    fn batch_bytes(&self) -> usize;

    /// Appends to `scores` the score of `query` (length `dims`) against every row of `block`, in row order.
    ///
    /// # Errors
    /// `Cancelled`, or what the device reports; `scores` then holds an unspecified number of new entries.
    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()>;

    /// Prepares `centroids` (`[lists, dims]` row-major f32, `lists` >= 1) for assignment.
    ///
    /// # Errors
    /// `Cancelled`, or what the device reports.
    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>>;

    /// Copies `rows` (`[n, dims]` row-major f32) to where they stay for many assignments; `None` where that saves nothing, or
    /// there is no room: the rows then go to [`Nearest::assign`] each time.
    ///
    /// # Errors
    /// `Cancelled`, or what the device reports.
    fn hold(
        &mut self,
        _rows: &[f32],
        _dims: usize,
        _keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        Ok(None)
    }
}
