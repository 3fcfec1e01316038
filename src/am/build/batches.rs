//! Rows gathered until there are enough of them to find their lists.
//!
//! Implementors: a batch in this process's memory; the same with a leader's GPU that serves workers in between; and a
//! worker's slots, one of which is filled while the leader has the other.

use std::time::Duration;

use vectorgpu_core::Result;
use vectorgpu_core::backend::Nearest;
use vectorgpu_core::ivf::layout::Tid;

use super::slots::{OF_WORKER, Slot, SlotShape, Slots};
use crate::pg::interrupt;

/// Bytes of vectors in a batch: enough to use the kernel well, few enough to stay in the cache's reach.
const BATCH_BYTES: usize = 4 << 20;
/// The same for a leader whose workers hand it rows: they wait while it encodes and sorts a batch of its own, and fill a slot in some
/// 10 ms.
const SERVING_BATCH_BYTES: usize = 512 << 10;

/// Rows whose lists are found.
pub(super) struct Labelled<'b> {
    pub(super) tids: &'b [Tid],
    /// `[tids, dims]`, or more.
    pub(super) vectors: &'b [f32],
    /// As many as there are TIDs, or more.
    pub(super) lists: &'b [u32],
}

/// Where a participant gathers its rows.
pub(super) trait Batches {
    /// Adds a row, for which there is room; its dimensions are those of all rows.
    ///
    /// # Errors
    /// What work for others reports.
    fn push(&mut self, tid: Tid, vector: &[f32]) -> Result<()>;

    /// Whether [`Batches::turn`] has to come before the next row.
    fn is_full(&self) -> bool;

    /// Ends the batch at hand; rows whose lists are known now, which [`Batches::clear`] drops. `None` may mean that they are to
    /// come; with an empty batch at hand, that there are no more.
    ///
    /// # Errors
    /// What finding lists reports.
    fn turn(&mut self) -> Result<Option<Labelled<'_>>>;

    /// Drops the rows that [`Batches::turn`] returned.
    fn clear(&mut self);

    /// Whether rows are left of which [`Batches::turn`] has not told.
    fn has_rows(&self) -> bool;
}

/// A batch in this process's memory.
pub(super) struct OwnBatch<'a> {
    nearest: &'a mut dyn Nearest,
    dims: usize,
    room: usize,
    tids: Vec<Tid>,
    vectors: Vec<f32>,
    lists: Vec<u32>,
}

impl<'a> OwnBatch<'a> {
    /// Of rows of `dims` dimensions, whose lists `nearest` finds.
    pub(super) fn new(dims: usize, nearest: &'a mut dyn Nearest) -> Self {
        Self::of_bytes(BATCH_BYTES, dims, nearest)
    }

    fn of_bytes(bytes: usize, dims: usize, nearest: &'a mut dyn Nearest) -> Self {
        let room = (bytes / (dims * size_of::<f32>())).clamp(16, 8192);
        Self {
            nearest,
            dims,
            room,
            tids: Vec::with_capacity(room),
            vectors: Vec::with_capacity(room * dims),
            lists: vec![0; room],
        }
    }
}

impl Batches for OwnBatch<'_> {
    fn push(&mut self, tid: Tid, vector: &[f32]) -> Result<()> {
        debug_assert_eq!(vector.len(), self.dims);
        self.vectors.extend_from_slice(vector);
        self.tids.push(tid);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.tids.len() == self.room
    }

    fn turn(&mut self) -> Result<Option<Labelled<'_>>> {
        let rows = self.tids.len();
        if rows == 0 {
            return Ok(None);
        }
        let lists = &mut self.lists[..rows];
        self.nearest
            .assign(&self.vectors, lists, &mut interrupt::keep_waiting)?;
        Ok(Some(Labelled {
            tids: &self.tids,
            vectors: &self.vectors,
            lists,
        }))
    }

    fn clear(&mut self) {
        self.tids.clear();
        self.vectors.clear();
    }

    fn has_rows(&self) -> bool {
        !self.tids.is_empty()
    }
}

/// A leader's own batch, and the slots of its workers, if they hand rows over: those come first.
pub(super) struct LeaderBatches<'a> {
    slots: Option<Slots<'a>>,
    own: OwnBatch<'a>,
    served: u64,
}

impl<'a> LeaderBatches<'a> {
    /// Of rows of `dims` dimensions, all of whose lists `nearest` finds.
    pub(super) fn new(slots: Option<Slots<'a>>, dims: usize, nearest: &'a mut dyn Nearest) -> Self {
        let bytes = if slots.is_some() {
            SERVING_BATCH_BYTES
        } else {
            BATCH_BYTES
        };
        Self {
            slots,
            own: OwnBatch::of_bytes(bytes, dims, nearest),
            served: 0,
        }
    }

    /// Whether a worker waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.slots.as_ref().is_some_and(Slots::is_awaited)
    }

    /// Finds the lists of the rows that workers have handed over.
    ///
    /// # Errors
    /// What finding lists reports.
    pub(super) fn serve(&mut self) -> Result<()> {
        if let Some(slots) = self.slots.filter(Slots::is_awaited) {
            self.served += slots.serve(&mut *self.own.nearest)?;
        }
        Ok(())
    }

    /// Rows of workers whose lists it found.
    pub(super) fn served(&self) -> u64 {
        self.served
    }
}

impl Batches for LeaderBatches<'_> {
    fn push(&mut self, tid: Tid, vector: &[f32]) -> Result<()> {
        self.serve()?;
        self.own.push(tid, vector)
    }

    fn is_full(&self) -> bool {
        self.own.is_full()
    }

    fn turn(&mut self) -> Result<Option<Labelled<'_>>> {
        self.own.turn()
    }

    fn clear(&mut self) {
        self.own.clear();
    }

    fn has_rows(&self) -> bool {
        self.own.has_rows()
    }
}

/// A worker's slots. Rows come back one batch late.
pub(super) struct HandedBatches<'a> {
    slots: [Slot<'a>; OF_WORKER],
    /// Of the rows in each slot.
    tids: [Vec<Tid>; OF_WORKER],
    shape: SlotShape,
    /// The slot that is filled; others are with the leader if they have rows.
    filled: usize,
    patience: Duration,
    nearest: &'a mut dyn Nearest,
}

impl<'a> HandedBatches<'a> {
    /// Where the leader does not begin with a slot for `patience`, `nearest` finds its lists.
    pub(super) fn new(
        slots: [Slot<'a>; OF_WORKER],
        patience: Duration,
        nearest: &'a mut dyn Nearest,
    ) -> Self {
        Self {
            shape: slots[0].shape(),
            slots,
            tids: [const { Vec::new() }; OF_WORKER],
            filled: 0,
            patience,
            nearest,
        }
    }
}

impl Batches for HandedBatches<'_> {
    fn push(&mut self, tid: Tid, vector: &[f32]) -> Result<()> {
        let tids = &mut self.tids[self.filled];
        let at = tids.len() * self.shape.dims();
        self.slots[self.filled].values()[at..at + self.shape.dims()].copy_from_slice(vector);
        tids.push(tid);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.tids[self.filled].len() == self.shape.rows()
    }

    fn turn(&mut self) -> Result<Option<Labelled<'_>>> {
        let rows = u32::try_from(self.tids[self.filled].len()).expect("at most a slot's rows");
        if rows > 0 {
            self.slots[self.filled].hand_over(rows);
        }
        self.filled = (self.filled + 1) % OF_WORKER;
        let (slot, tids) = (&mut self.slots[self.filled], &self.tids[self.filled]);
        if tids.is_empty() {
            return Ok(None);
        }
        slot.wait(self.patience, self.nearest)?;
        let (lists, vectors) = slot.labelled();
        Ok(Some(Labelled { tids, vectors, lists }))
    }

    fn clear(&mut self) {
        self.tids[self.filled].clear();
    }

    fn has_rows(&self) -> bool {
        self.tids.iter().any(|tids| !tids.is_empty())
    }
}
