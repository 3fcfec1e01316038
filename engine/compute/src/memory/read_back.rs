//! The ring of buffers through which results come back.
//!
//! Two slots: while the host reads one, the device copies into the other. A slot whose wait was cancelled is mapped
//! later and used again then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::buffer::DeviceBuffer;

/// Account of the ring.
pub(crate) const LABEL: &str = "vectorgpu.read_back";

/// Slots of the ring.
pub(crate) const SLOTS: usize = 2;

/// The slots; created one by one when first needed.
pub(crate) struct ReadBackRing {
    slot_bytes: u64,
    slots: RefCell<Vec<Rc<DeviceBuffer>>>,
    next: Cell<usize>,
}

impl ReadBackRing {
    /// A ring that will hold `total_bytes` in all its slots.
    pub(crate) fn new(total_bytes: u64) -> Self {
        Self {
            slot_bytes: (total_bytes / SLOTS as u64) & !255,
            slots: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Bytes of one slot: the largest piece read at once.
    pub(crate) fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// The slot to use next; `None`: create it and pass it to [`ReadBackRing::add`].
    pub(crate) fn next(&self) -> Option<Rc<DeviceBuffer>> {
        let slots = self.slots.borrow();
        let slot = slots.get(self.next.get())?;
        self.next.set((self.next.get() + 1) % SLOTS);
        Some(Rc::clone(slot))
    }

    /// Adds a new slot, which [`ReadBackRing::next`] did not find; it counts as handed out.
    pub(crate) fn add(&self, slot: Rc<DeviceBuffer>) {
        let mut slots = self.slots.borrow_mut();
        slots.push(slot);
        self.next.set(slots.len() % SLOTS);
    }

    /// Frees the slots. Call only when the device is idle and nobody reads.
    pub(crate) fn release(&self) {
        self.slots.borrow_mut().clear();
        self.next.set(0);
    }
}
