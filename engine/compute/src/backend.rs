//! `vectorgpu_core`'s `Backend` on the GPU.
//!
//! Checks shapes, then calls the kernels. Must not know wgpu. A backend and what it prepares keep the engine's inside
//! alive; all of them report `DeviceLost` once the device is lost.

use std::rc::Rc;

use vectorgpu_core::backend::{
    Backend, HeldRows, KeepWaiting, Nearest, NearestBy, Part, RowBlock, Unlabelled,
};
use vectorgpu_core::limits::{MAX_DIMS, MAX_LISTS};
use vectorgpu_core::metric::Score;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::kernels::kmeans::Centroids;
use crate::kernels::kmeans_parts::HeldArray;
use crate::kernels::search;
use crate::runtime::Runtime;

const BATCH_BYTES_MAX: u64 = 32 << 20;
const BATCH_BYTES_MIN: u64 = 64 << 10;

/// The index's arithmetic on one engine's GPU.
pub struct GpuBackend {
    runtime: Rc<Runtime>,
    batch_bytes: usize,
}

struct GpuNearest {
    runtime: Rc<Runtime>,
    centroids: Centroids,
    dims: usize,
    batch_bytes: usize,
}

struct GpuRows {
    runtime: Rc<Runtime>,
    rows: HeldArray,
}

impl GpuBackend {
    pub(crate) fn new(runtime: Rc<Runtime>) -> Self {
        let limits = runtime.capabilities();
        // An eighth of the budget: rows, results, read-back and centroids have to fit beside the staging ring.
        let batch_bytes = BATCH_BYTES_MAX
            .min(limits.binding_bytes)
            .min(runtime.budget.limit_bytes() / 8)
            .max(BATCH_BYTES_MIN);
        let batch_bytes = usize::try_from(batch_bytes).unwrap_or(usize::MAX);
        Self { runtime, batch_bytes }
    }
}

impl Backend for GpuBackend {
    fn label(&self) -> &str {
        &self.runtime.context.report().name
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        check_dims(block.dims)?;
        let row_bytes = block.element.code_bytes(block.dims);
        if query.len() != block.dims || !block.codes.len().is_multiple_of(row_bytes) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "a query of {} dimensions does not fit {} bytes of rows of {} dimensions",
                    query.len(),
                    block.codes.len(),
                    block.dims
                ),
            ));
        }
        if block.codes.is_empty() {
            return Ok(());
        }
        search::score(
            &self.runtime,
            score.into(),
            query,
            block,
            self.batch_bytes,
            scores,
            keep_waiting,
        )
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        check_dims(dims)?;
        let lists = centroids.len() / dims;
        if lists == 0
            || !centroids.len().is_multiple_of(dims)
            || u32::try_from(lists).is_ok_and(|n| n > MAX_LISTS)
        {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "{} numbers are not 1 to {MAX_LISTS} centroids of {dims} dimensions",
                    centroids.len()
                ),
            ));
        }
        let uploaded = Centroids::upload(&self.runtime, centroids, dims, by, keep_waiting)?;
        Ok(Box::new(GpuNearest {
            runtime: Rc::clone(&self.runtime),
            centroids: uploaded,
            dims,
            batch_bytes: self.batch_bytes,
        }))
    }

    fn hold(
        &mut self,
        rows: &[f32],
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        check_dims(dims)?;
        if !rows.len().is_multiple_of(dims) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{} numbers are not rows of {dims} dimensions", rows.len()),
            ));
        }
        let held = HeldArray::upload(&self.runtime, rows, dims, keep_waiting)?;
        Ok(held.map(|rows| {
            let runtime = Rc::clone(&self.runtime);
            let held: Box<dyn HeldRows> = Box::new(GpuRows { runtime, rows });
            held
        }))
    }
}

impl HeldRows for GpuRows {
    fn assign(
        &mut self,
        parts: &mut [Part<'_>],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (count, dims) = (self.rows.count(), self.rows.dims());
        for part in &*parts {
            let lists = part.centroids.len() / dims;
            let beyond = part.rows.iter().any(|row| as_index(*row) >= count);
            if beyond
                || part.labels.len() != part.rows.len()
                || lists == 0
                || !part.centroids.len().is_multiple_of(dims)
            {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!(
                        "{} labels of {} of {count} rows, and {} numbers for centroids of {dims} dimensions do not fit",
                        part.labels.len(),
                        part.rows.len(),
                        part.centroids.len()
                    ),
                ));
            }
        }
        self.rows.assign(&self.runtime, parts, by, keep_waiting)
    }
}

fn as_index(row: u32) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

impl Nearest for GpuNearest {
    fn assign(&mut self, rows: &[f32], labels: &mut [u32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.assign_each(&mut [Unlabelled { rows, labels }], keep_waiting)
    }

    fn assign_each(
        &mut self,
        blocks: &mut [Unlabelled<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        for Unlabelled { rows, labels } in &*blocks {
            if labels.len().checked_mul(self.dims) != Some(rows.len()) {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!(
                        "{} numbers are not {} rows of {} dimensions",
                        rows.len(),
                        labels.len(),
                        self.dims
                    ),
                ));
            }
        }
        self.centroids
            .assign(&self.runtime, blocks, self.batch_bytes, keep_waiting)
    }
}

fn check_dims(dims: usize) -> Result<()> {
    if (1..=MAX_DIMS).contains(&dims) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("{dims} dimensions are not between 1 and {MAX_DIMS}"),
    ))
}
