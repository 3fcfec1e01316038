//! The ring of uniform blocks that holds parameters on a device without immediates.
//!
//! A submission takes a block for each of its dispatches; they are free again when it has finished.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use super::buffer::DeviceBuffer;
use super::ring::Ring;
use crate::device::PARAMS_BYTES_MAX;

/// Account of the ring.
pub(crate) const LABEL: &str = "vectorgpu.params";

/// Dispatches whose parameters fit at once.
const BLOCKS: u64 = 512;
/// Most dispatches of one submission on such a device: two submissions fit the ring.
pub(crate) const DISPATCHES_MAX: usize = 256;

/// The ring; its buffer is made at first use.
pub(crate) struct ParamsRing {
    block_bytes: u64,
    ring: RefCell<Ring>,
    buffer: OnceCell<(Rc<DeviceBuffer>, wgpu::BindGroup)>,
}

impl ParamsRing {
    /// A ring whose blocks start at multiples of `alignment`.
    pub(crate) fn new(alignment: u64) -> Self {
        let block_bytes = u64::from(PARAMS_BYTES_MAX).next_multiple_of(alignment.max(1));
        Self {
            block_bytes,
            ring: RefCell::new(Ring::new(BLOCKS * block_bytes)),
            buffer: OnceCell::new(),
        }
    }

    /// The size of its buffer.
    pub(crate) fn bytes(&self) -> u64 {
        BLOCKS * self.block_bytes
    }

    /// The distance from one block to the next.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Its buffer and the bind group over it, once made.
    pub(crate) fn buffer(&self) -> Option<&(Rc<DeviceBuffer>, wgpu::BindGroup)> {
        self.buffer.get()
    }

    /// Gives it its buffer; a second one is dropped.
    pub(crate) fn adopt(&self, buffer: Rc<DeviceBuffer>, group: wgpu::BindGroup) {
        // Set before by nobody else: the engine is used from one thread.
        let _ = self.buffer.set((buffer, group));
    }

    /// The offset of `blocks` free blocks in a row, given that submissions up to `completed` have finished.
    pub(crate) fn reserve(&self, blocks: usize, completed: u64) -> Option<u64> {
        let mut ring = self.ring.borrow_mut();
        ring.release(completed);
        let bytes = u64::try_from(blocks).ok()?.checked_mul(self.block_bytes)?;
        ring.reserve(bytes, self.block_bytes)
    }

    /// What was reserved last belongs to submission `number`.
    pub(crate) fn seal(&self, number: u64) {
        self.ring.borrow_mut().seal(number);
    }
}
