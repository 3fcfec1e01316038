//! A backend for tests that holds rows.

use super::{Backend, HeldRows, KeepWaiting, Nearest, NearestBy, Part, RowBlock};
use crate::cpu::CpuBackend;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Score;

/// The CPU, which holds rows until so many assignments of them have been made.
pub(crate) struct Holding {
    pub(crate) assignments: usize,
    pub(crate) fails_with: ErrorKind,
}

struct Held {
    rows: Vec<f32>,
    dims: usize,
    left: usize,
    fails_with: ErrorKind,
}

impl Backend for Holding {
    fn label(&self) -> &str {
        "holding"
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
        CpuBackend::new().score(score, query, block, scores, keep_waiting)
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        CpuBackend::new().nearest(centroids, dims, by, keep_waiting)
    }

    fn hold(
        &mut self,
        rows: &[f32],
        dims: usize,
        _: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        Ok(Some(Box::new(Held {
            rows: rows.to_vec(),
            dims,
            left: self.assignments,
            fails_with: self.fails_with,
        })))
    }
}

impl HeldRows for Held {
    fn assign(
        &mut self,
        parts: &mut [Part<'_>],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if self.left == 0 {
            parts.iter_mut().for_each(|part| part.labels.fill(u32::MAX));
            return Err(Error::new(self.fails_with, "gone"));
        }
        self.left -= 1;
        for part in parts {
            let rows = part
                .rows
                .iter()
                .map(|row| usize::try_from(*row).expect("a row") * self.dims);
            let rows: Vec<f32> = rows
                .flat_map(|at| &self.rows[at..][..self.dims])
                .copied()
                .collect();
            CpuBackend::new()
                .nearest(part.centroids, self.dims, by, keep_waiting)?
                .assign(&rows, part.labels, keep_waiting)?;
        }
        Ok(())
    }
}
