//! Where the pages of an index were in the buffer cache when they were last read.
//!
//! Looking a page up takes several cache misses in the server's hash table, which for a page of a few vectors is a large
//! part of reading it. A buffer that held the page a moment ago nearly always still does, and says so itself.

use std::cell::{Cell, RefCell};

use super::version;
use pgrx::pg_sys;

use super::buffers;

/// A page in so many is looked up all the same: only that tells the server that it is in use (`ReadRecentBuffer` does
/// not raise a buffer's usage count before PostgreSQL 17).
const LOOK_UP_EVERY: u32 = 64;
/// Pages that are remembered at most, from the first; four bytes each.
const PAGES_MAX: usize = 1 << 20;

/// Buffers by block.
#[derive(Debug, Default)]
pub(crate) struct RecentBuffers {
    buffers: RefCell<Vec<pg_sys::Buffer>>,
    reads: Cell<u32>,
}

impl RecentBuffers {
    /// Pins and locks the buffer that held `block` of `index` last, if it still does.
    ///
    /// # Safety
    /// `index` is open and has the block, which this backend has not locked; `mode` is one of `LockBuffer`'s.
    pub(super) unsafe fn lock(
        &self,
        index: pg_sys::Relation,
        block: u32,
        mode: u32,
    ) -> Option<pg_sys::Buffer> {
        let reads = self.reads.get().wrapping_add(1);
        self.reads.set(reads);
        let buffer = *self.buffers.borrow().get(block as usize)?;
        if buffer == 0 || reads.is_multiple_of(LOOK_UP_EVERY) {
            return None;
        }
        // SAFETY: the caller's.
        let node = unsafe { version::file_node(index) };
        // SAFETY: the buffer was one of the server's, which never go away; the rest is the caller's.
        if !unsafe { buffers::lock_recent(node, block, buffer, mode) } {
            return None;
        }
        // SAFETY: as the caller's.
        unsafe { version::count_buffer_hit(index) };
        Some(buffer)
    }

    /// The shared buffer that held `block` last.
    pub(super) fn last(&self, block: u32) -> Option<pg_sys::Buffer> {
        let buffer = self.buffers.borrow().get(block as usize).copied();
        buffer.filter(|buffer| *buffer > 0)
    }

    /// Notes that `buffer` holds `block`.
    pub(super) fn note(&self, block: u32, buffer: pg_sys::Buffer) {
        let place = block as usize;
        if place >= PAGES_MAX {
            return;
        }
        let mut buffers = self.buffers.borrow_mut();
        if place >= buffers.len() {
            let len = (place + 1).next_power_of_two();
            let missing = len - buffers.len();
            if buffers.try_reserve_exact(missing).is_err() {
                return;
            }
            buffers.resize(len, 0);
        }
        buffers[place] = buffer;
    }
}
