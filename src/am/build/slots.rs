//! Batches of workers' rows whose lists the leader's GPU finds, in shared memory.
//!
//! Workers hold no GPU objects, so they hand rows to the leader and read on meanwhile. Protocol: a slot belongs to one worker,
//! which fills it with rows; once it is handed over, whoever takes it from [`FULL`] finds the lists: the leader, or the
//! worker itself where it has waited for as long as that takes on the CPU. Only who has it may touch its rows and labels,
//! so each change of the state hands them over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{array, slice};

use vectorgpu_core::Result;
use vectorgpu_core::backend::{Nearest, Unlabelled};

use super::segment::Shared;
use crate::pg::interrupt;

/// Slots of a worker: one is filled while the other is with the leader.
pub(super) const OF_WORKER: usize = 2;
/// Bytes of rows in a slot: enough to keep a GPU busy, few enough for the shared memory that containers have.
const ROWS_BYTES: usize = 2 << 20;
/// Of the build's memory, what all slots may take.
const MEMORY_PART: usize = 8;
/// With fewer rows in a slot, handing them over takes more than it saves.
const ROWS_MIN: usize = 16;

/// The worker's, to fill or to read.
const OWN: u32 = 0;
/// Handed over, and with nobody yet.
const FULL: u32 = 1;
/// With the leader.
const TAKEN: u32 = 2;
/// The worker's again, with labels.
const DONE: u32 = 3;

/// How the slots of a build look; all have the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotShape {
    count: usize,
    rows: usize,
    dims: usize,
}

impl SlotShape {
    /// Of `workers` workers whose build may use `memory_bytes`; `None` where so little pays nothing.
    pub(super) fn new(workers: usize, dims: usize, memory_bytes: usize) -> Option<Self> {
        let count = workers * OF_WORKER;
        let bytes = ROWS_BYTES.min(memory_bytes / MEMORY_PART / count.max(1));
        let rows = bytes / (dims.max(1) * size_of::<f32>());
        (count > 0 && rows >= ROWS_MIN).then_some(Self { count, rows, dims })
    }

    /// Rows of a slot.
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// Dimensions of a row.
    pub(super) fn dims(self) -> usize {
        self.dims
    }

    /// Bytes of all slots.
    pub(super) fn bytes(self) -> usize {
        self.count * (size_of::<Head>() + self.contents_bytes())
    }

    /// Bytes of a slot's labels and rows.
    fn contents_bytes(self) -> usize {
        self.rows * (1 + self.dims) * size_of::<f32>()
    }
}

/// A slot's state.
#[repr(C)]
struct Head {
    state: AtomicU32,
    /// Rows handed over.
    rows: AtomicU32,
    /// As large as a cache line, so that changes of one slot hardly slow others down.
    _apart: [u32; 14],
}

/// All slots of a build.
#[derive(Clone, Copy)]
pub(super) struct Slots<'a> {
    shared: &'a Shared,
    shape: SlotShape,
    heads: &'a [Head],
    /// Of each slot its labels, then its rows.
    contents: *mut u32,
}

impl<'a> Slots<'a> {
    /// Makes the slots, all of them empty.
    ///
    /// # Safety
    /// `memory` has [`SlotShape::bytes`], is aligned for `u32`, and nobody else's yet; it lives as long as the result.
    pub(super) unsafe fn create(shared: &'a Shared, shape: SlotShape, memory: *mut u8) -> Self {
        let heads: *mut Head = memory.cast();
        for slot in 0..shape.count {
            let head = Head {
                state: AtomicU32::new(OWN),
                rows: AtomicU32::new(0),
                _apart: [0; 14],
            };
            // SAFETY: within the memory, which is as large as that.
            unsafe { heads.add(slot).write(head) };
        }
        // SAFETY: `create` is the first to use the memory, and made the heads.
        unsafe { Self::attach(shared, shape, memory) }
    }

    /// The slots that the leader made in `memory`.
    ///
    /// # Safety
    /// `create` made slots of that shape there; the memory lives as long as the result.
    pub(super) unsafe fn attach(shared: &'a Shared, shape: SlotShape, memory: *mut u8) -> Self {
        // SAFETY: heads come first, and are only changed as atomics.
        let heads = unsafe { slice::from_raw_parts(memory.cast(), shape.count) };
        // SAFETY: contents follow the heads.
        let contents = unsafe { memory.add(shape.count * size_of::<Head>()) }.cast();
        Self {
            shared,
            shape,
            heads,
            contents,
        }
    }

    /// The slots of worker `worker`, each of which is given out once.
    ///
    /// # Panics
    /// When there is no such worker.
    pub(super) fn of_worker(self, worker: usize) -> [Slot<'a>; OF_WORKER] {
        assert!((worker + 1) * OF_WORKER <= self.shape.count, "a worker's number");
        array::from_fn(|place| Slot {
            slots: self,
            number: worker * OF_WORKER + place,
        })
    }

    /// Whether a worker waits for the leader.
    pub(super) fn is_awaited(&self) -> bool {
        self.shared.full_slots.load(Ordering::SeqCst) > 0
    }

    /// Finds the lists of the rows in all slots that are full, at once; how many rows that were.
    ///
    /// # Errors
    /// What `nearest` reports.
    pub(super) fn serve(&self, nearest: &mut dyn Nearest) -> Result<u64> {
        let taken = (0..self.shape.count).filter(|number| self.take(*number, TAKEN));
        let taken: Vec<usize> = taken.collect();
        // SAFETY: this process has taken the slots, each once.
        let blocks = taken.iter().map(|number| unsafe { self.unlabelled(*number) });
        let mut blocks: Vec<Unlabelled<'_>> = blocks.collect();
        nearest.assign_each(&mut blocks, &mut interrupt::keep_waiting)?;
        let rows = blocks.iter().map(|block| block.labels.len() as u64).sum();
        for number in taken {
            self.heads[number].state.store(DONE, Ordering::SeqCst);
        }
        self.shared.announce();
        Ok(rows)
    }

    /// Takes a slot that is full, and with nobody.
    fn take(&self, number: usize, into: u32) -> bool {
        let (state, order) = (&self.heads[number].state, Ordering::SeqCst);
        let taken = state.compare_exchange(FULL, into, order, order).is_ok();
        if taken {
            self.shared.full_slots.fetch_sub(1, order);
        }
        taken
    }

    /// The rows handed over in a slot, and where their labels go.
    ///
    /// # Safety
    /// This process has taken the slot, and uses nothing else of it meanwhile.
    unsafe fn unlabelled(&self, number: usize) -> Unlabelled<'a> {
        let rows = self.heads[number].rows.load(Ordering::SeqCst) as usize;
        let (labels, values) = self.contents(number);
        // SAFETY: as the caller's, so nobody touches them until the state changes; any bytes are numbers.
        unsafe {
            Unlabelled {
                rows: slice::from_raw_parts(values, rows * self.shape.dims),
                labels: slice::from_raw_parts_mut(labels, rows),
            }
        }
    }

    /// Where a slot's labels and rows lie: `[rows]` and `[rows, dims]`.
    fn contents(&self, number: usize) -> (*mut u32, *mut f32) {
        assert!(number < self.shape.count, "a slot's number");
        // SAFETY: within the memory of the contents.
        let labels = unsafe { self.contents.byte_add(number * self.shape.contents_bytes()) };
        // SAFETY: as above; the rows follow the labels.
        let values = unsafe { labels.add(self.shape.rows) }.cast();
        (labels, values)
    }
}

/// A slot, as the worker sees that it belongs to.
pub(super) struct Slot<'a> {
    slots: Slots<'a>,
    number: usize,
}

impl Slot<'_> {
    /// How it looks.
    pub(super) fn shape(&self) -> SlotShape {
        self.slots.shape
    }

    /// Room for rows, `[rows, dims]`.
    ///
    /// # Panics
    /// When the slot is handed over.
    pub(super) fn values(&mut self) -> &mut [f32] {
        self.check_own();
        let (_, values) = self.slots.contents(self.number);
        let shape = self.slots.shape;
        // SAFETY: the slot is this worker's, and borrowed exclusively for as long as the result.
        unsafe { slice::from_raw_parts_mut(values, shape.rows * shape.dims) }
    }

    /// The labels and rows of a slot that came back.
    ///
    /// # Panics
    /// When the slot is handed over.
    pub(super) fn labelled(&self) -> (&[u32], &[f32]) {
        self.check_own();
        let (labels, values) = self.slots.contents(self.number);
        let shape = self.slots.shape;
        // SAFETY: the slot is this worker's, and borrowed for as long as the result.
        unsafe {
            (
                slice::from_raw_parts(labels, shape.rows),
                slice::from_raw_parts(values, shape.rows * shape.dims),
            )
        }
    }

    /// Hands the first `rows` rows over.
    pub(super) fn hand_over(&mut self, rows: u32) {
        self.check_own();
        let head = &self.slots.heads[self.number];
        head.rows.store(rows, Ordering::SeqCst);
        self.slots.shared.full_slots.fetch_add(1, Ordering::SeqCst);
        head.state.store(FULL, Ordering::SeqCst);
        self.slots.shared.announce();
    }

    /// Waits until the lists of a slot that was handed over are found; where the leader does not begin for `patience`, `cpu`
    /// finds them.
    ///
    /// # Errors
    /// `Cancelled`, from `cpu`.
    pub(super) fn wait(&mut self, patience: Duration, cpu: &mut dyn Nearest) -> Result<()> {
        let (slots, head) = (self.slots, &self.slots.heads[self.number]);
        let is_done = || head.state.load(Ordering::SeqCst) == DONE;
        if !slots.shared.wait_for(patience, is_done) {
            if slots.take(self.number, OWN) {
                // SAFETY: taken just now, and the only reference to what is in it.
                let Unlabelled { rows, labels } = unsafe { slots.unlabelled(self.number) };
                return cpu.assign(rows, labels, &mut interrupt::keep_waiting);
            }
            slots.shared.wait_until(is_done);
        }
        head.state.store(OWN, Ordering::SeqCst);
        Ok(())
    }

    fn check_own(&self) {
        let state = self.slots.heads[self.number].state.load(Ordering::SeqCst);
        assert_eq!(state, OWN, "a slot is used by who has it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_to_their_part_of_the_memory() {
        for (workers, dims, memory_mb) in [(1, 1, 1), (2, 768, 64), (15, 768, 8192), (3, 16_000, 4096)] {
            let memory = memory_mb << 20;
            let shape = SlotShape::new(workers, dims, memory).expect("enough memory");
            let rows_bytes = workers * OF_WORKER * shape.rows() * dims * 4;
            assert!(rows_bytes <= memory / MEMORY_PART, "{shape:?}");
            assert!(shape.rows() >= ROWS_MIN && shape.rows() * dims * 4 <= ROWS_BYTES);
        }
        assert_eq!(SlotShape::new(2, 16_000, 4 << 20), None);
        assert_eq!(SlotShape::new(0, 3, 64 << 20), None);
    }
}
