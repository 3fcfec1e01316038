//! The CPU's implementation of `Backend`: scores rows where they lie, on the calling thread.

use super::nearest::CpuNearest;
use super::{Kernels, kernels};
use crate::backend::{Backend, KeepWaiting, Nearest, NearestBy, RowBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Score;

/// Bytes scored between two calls of the keep-waiting closure: a fraction of a millisecond with SIMD.
const POLL_BYTES: usize = 1 << 20;

/// The arithmetic of the index on SIMD instructions of this machine.
///
/// ```
/// use vectorgpu_core::backend::{Backend, NearestBy, RowBlock};
/// use vectorgpu_core::cpu::CpuBackend;
/// use vectorgpu_core::metric::{Score, Element};
///
/// let rows = [[3.0f32, 4.0], [0.0, 1.0], [0.0, 0.0]];
/// let block = RowBlock {
///     codes: bytemuck::cast_slice(&rows),
///     element: Element::F32,
///     dims: 2,
/// };
/// let mut backend = CpuBackend::new();
/// let mut scores = Vec::new();
/// backend.score(Score::SquaredL2, &[0.0, 0.0], block, &mut scores, &mut || true)?;
/// assert_eq!(scores, [25.0, 1.0, 0.0]);
///
/// let centroids = [3.0, 3.0, 0.0, 0.0];
/// let mut labels = [0; 3];
/// let mut nearest = backend.nearest(&centroids, 2, NearestBy::L2, &mut || true)?;
/// nearest.assign(rows.as_flattened(), &mut labels, &mut || true)?;
/// assert_eq!(labels, [0, 1, 1]);
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CpuBackend {
    kernels: &'static Kernels,
    label: String,
}

impl CpuBackend {
    /// A backend with the fastest kernels that this machine supports.
    pub fn new() -> Self {
        Self::with_kernels(kernels())
    }

    /// A backend with the given kernels; all of them compute the same bits.
    pub fn with_kernels(kernels: &'static Kernels) -> Self {
        Self {
            kernels,
            label: format!("cpu ({})", kernels.name()),
        }
    }
}

impl Default for CpuBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for CpuBackend {
    fn label(&self) -> &str {
        &self.label
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn batch_bytes(&self) -> usize {
        0
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let row_bytes = block.element.code_bytes(block.dims);
        if query.len() != block.dims || row_bytes == 0 || !block.codes.len().is_multiple_of(row_bytes) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} bytes do not make rows of {} dimensions for a query of {}",
                    block.codes.len(),
                    block.dims,
                    query.len()
                ),
            ));
        }
        let out_of_memory = |_| Error::new(ErrorKind::OutOfMemory, "out of memory while scoring rows");
        scores.try_reserve(block.rows()).map_err(out_of_memory)?;
        let part_bytes = POLL_BYTES.div_ceil(row_bytes) * row_bytes;
        for (i, part) in block.codes.chunks(part_bytes).enumerate() {
            if i > 0 && !keep_waiting() {
                return Err(cancelled());
            }
            let start = scores.len();
            scores.resize(start + part.len() / row_bytes, 0.0);
            self.kernels
                .block(score, block.element, query, part, &mut scores[start..]);
        }
        Ok(())
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        _keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        Ok(Box::new(CpuNearest::new(self.kernels, centroids, dims, by)?))
    }
}

/// The error of work that the keep-waiting closure stopped.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled on request")
}
