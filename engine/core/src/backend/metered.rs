//! A backend whose assignments are counted and timed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Backend, HeldRows, KeepWaiting, Nearest, NearestBy, Part, RowBlock, Unlabelled};
use crate::error::Result;
use crate::estimate::AssignmentWork;
use crate::metric::Score;

/// What a [`Metered`] backend has done; its clones are the same meter.
#[derive(Debug, Clone, Default)]
pub struct Meter(Rc<Cell<(AssignmentWork, Duration)>>);

impl Meter {
    /// The work that was done, and how long it took.
    pub fn read(&self) -> (AssignmentWork, Duration) {
        self.0.get()
    }

    fn add(&self, more: AssignmentWork, time: Duration) {
        let (mut work, total) = self.0.get();
        work.multiply_adds += more.multiply_adds;
        work.bytes += more.bytes;
        self.0.set((work, total + time));
    }
}

/// A backend that tells a [`Meter`] what it assigned.
pub struct Metered {
    inner: Box<dyn Backend>,
    meter: Meter,
}

impl Metered {
    /// Counts what `inner` does.
    pub fn new(inner: Box<dyn Backend>, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

struct MeteredNearest {
    inner: Box<dyn Nearest>,
    meter: Meter,
    dims: usize,
    lists: usize,
}

struct MeteredRows {
    inner: Box<dyn HeldRows>,
    meter: Meter,
}

impl Backend for Metered {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }

    fn batch_bytes(&self) -> usize {
        self.inner.batch_bytes()
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.inner.score(score, query, block, scores, keep_waiting)
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        Ok(Box::new(MeteredNearest {
            inner: self.inner.nearest(centroids, dims, by, keep_waiting)?,
            meter: self.meter.clone(),
            dims,
            lists: centroids.len() / dims.max(1),
        }))
    }

    fn hold(
        &mut self,
        rows: &[f32],
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        let started = Instant::now();
        let Some(inner) = self.inner.hold(rows, dims, keep_waiting)? else {
            return Ok(None);
        };
        let sent = AssignmentWork {
            multiply_adds: 0.0,
            bytes: size_of_val(rows) as f64,
        };
        self.meter.add(sent, started.elapsed());
        let meter = self.meter.clone();
        Ok(Some(Box::new(MeteredRows { inner, meter })))
    }
}

impl HeldRows for MeteredRows {
    fn assign(
        &mut self,
        parts: &mut [Part<'_>],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let started = Instant::now();
        self.inner.assign(parts, by, keep_waiting)?;
        let done = AssignmentWork {
            multiply_adds: parts
                .iter()
                .map(|part| part.rows.len() as f64 * part.centroids.len() as f64)
                .sum(),
            bytes: 0.0,
        };
        self.meter.add(done, started.elapsed());
        Ok(())
    }
}

impl Nearest for MeteredNearest {
    fn assign(&mut self, rows: &[f32], labels: &mut [u32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.assign_each(&mut [Unlabelled { rows, labels }], keep_waiting)
    }

    fn assign_each(
        &mut self,
        blocks: &mut [Unlabelled<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let started = Instant::now();
        self.inner.assign_each(blocks, keep_waiting)?;
        let rows: usize = blocks.iter().map(|block| block.labels.len()).sum();
        let done = AssignmentWork {
            multiply_adds: rows as f64 * self.dims as f64 * self.lists as f64,
            bytes: rows as f64 * self.dims as f64 * 4.0,
        };
        self.meter.add(done, started.elapsed());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::holding::Holding;
    use super::*;
    use crate::cpu::CpuBackend;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_assigned_is_counted_and_comes_out_the_same() {
        let meter = Meter::default();
        let mut backend = Metered::new(Box::new(CpuBackend::new()), meter.clone());
        let centroids = [0.0, 0.0, 1.0, 1.0, 2.0, 2.0];
        let mut nearest = backend
            .nearest(&centroids, 2, NearestBy::L2, &mut || true)
            .expect("three centroids");
        let mut labels = [9; 2];
        let rows = [0.9, 1.2, 5.0, 5.0];
        nearest
            .assign(&rows, &mut labels, &mut || true)
            .expect("two rows");
        let block = Unlabelled {
            rows: &rows,
            labels: &mut labels,
        };
        nearest.assign_each(&mut [block], &mut || true).expect("two rows");
        assert_eq!(labels, [1, 2]);
        let (work, time) = meter.read();
        assert_eq!((work.multiply_adds, work.bytes), (24.0, 32.0));
        assert!(time > Duration::ZERO);
    }

    #[test]
    fn rows_that_are_held_count_as_sent_once() {
        let meter = Meter::default();
        let holding = Holding {
            assignments: 2,
            fails_with: ErrorKind::DeviceLost,
        };
        let mut backend = Metered::new(Box::new(holding), meter.clone());
        let rows = [1.0; 8];
        let mut held = backend.hold(&rows, 2, &mut || true).expect("rows").expect("held");
        let mut labels = [9; 3];
        for _ in 0..2 {
            let part = Part {
                rows: &[0, 1, 3],
                centroids: &[0.0; 10],
                labels: &mut labels,
            };
            held.assign(&mut [part], NearestBy::L2, &mut || true)
                .expect("labels");
        }
        assert_eq!(labels, [0; 3]);
        let (work, _) = meter.read();
        assert_eq!((work.multiply_adds, work.bytes), (60.0, 32.0));
        let mut backend = Metered::new(Box::new(CpuBackend::new()), meter.clone());
        assert!(backend.hold(&rows, 2, &mut || true).expect("rows").is_none());
        assert_eq!(meter.read().0.bytes, 32.0);
    }
}
