//! What all kernels share: the context, memory, pipelines and pace of one open engine.
//!
//! Single-threaded, shared by `Rc`. Invariant: no `RefCell` is borrowed while a caller's keep-waiting closure runs,
//! because that closure may end the process through the host's exit callbacks without unwinding.

use std::rc::Rc;
use std::time::Duration;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::context::Context;
use crate::memory::budget::Budget;
use crate::memory::buffer::{DeviceBuffer, Purpose};
use crate::memory::pool::{Pool, Pooled};
use crate::memory::staging::{self, NextSlot, Source, StagingRing};
use crate::pace::Pace;
use crate::pipeline::Pipelines;
use crate::recording::Recording;

/// An open engine's inside; fields are dropped in this order.
pub(crate) struct Runtime {
    pub(crate) pipelines: Rc<Pipelines>,
    pub(crate) staging: Rc<StagingRing>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) budget: Rc<Budget>,
    pub(crate) pace: Pace,
    pub(crate) wait_deadline: Duration,
    pub(crate) context: Context,
}

impl Runtime {
    /// A runtime over `context` with `vram_limit_bytes`, of which `staging_bytes` are for the ring.
    pub(crate) fn new(
        context: Context,
        vram_limit_bytes: u64,
        staging_bytes: u64,
        wait_deadline: Duration,
    ) -> Rc<Self> {
        Rc::new(Self {
            pipelines: Rc::default(),
            staging: Rc::new(StagingRing::new(staging_bytes)),
            pool: Pool::new(vram_limit_bytes / 4),
            budget: Budget::new(vram_limit_bytes),
            pace: Pace::new(context.report().kind),
            wait_deadline,
            context,
        })
    }

    /// A buffer of at least `bytes` for `label`, from the pool or new.
    ///
    /// When memory is short, idle buffers are freed first, then those whose work has to be waited for.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, or as [`Context::guarded`].
    pub(crate) fn acquire(
        &self,
        label: &'static str,
        purpose: Purpose,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Pooled> {
        let limits = self.context.limits();
        let largest = if purpose == Purpose::Storage {
            limits.binding_bytes
        } else {
            limits.buffer_bytes
        };
        if bytes > largest {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("{bytes} bytes for {label} exceed the device's limit of {largest} bytes"),
            ));
        }
        let class_bytes = Pool::size_class(bytes, limits.buffer_bytes);
        self.pool.reclaim(&self.context);
        if let Some(buffer) = self.pool.take(label, purpose, class_bytes) {
            return Ok(buffer);
        }
        let buffer = self.allocate(label, purpose, class_bytes, keep_waiting)?;
        Ok(self.pool.adopt(buffer))
    }

    /// Writes `source` to `target` at `offset` (a multiple of 4) through the staging ring.
    ///
    /// The copies go to the end of `recording`; when a slot fills up, what is recorded so far is submitted.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, or as [`Context::guarded`].
    pub(crate) fn stage(
        &self,
        recording: &mut Recording,
        mut source: Source<'_>,
        target: &Rc<DeviceBuffer>,
        mut offset: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        while source.bytes() > 0 {
            let (slot, start, room) = self.open_slot(recording, source.piece_bytes(), keep_waiting)?;
            let piece = source.split_front(as_usize(room)?);
            let bytes = as_u64(piece.bytes())?;
            let outcome = self.context.guarded("filling the staging ring", |_| {
                slot.raw()
                    .slice(start..start + bytes)
                    .get_mapped_range_mut()
                    .map(|mut view| piece.write(view.slice(..)))
            })?;
            outcome.map_err(|error| {
                Error::new(ErrorKind::Internal, "a staging slot is not mapped").with_detail(error.to_string())
            })?;
            self.staging.advance(bytes);
            self.context
                .counters
                .update(|counters| counters.bytes_up += bytes);
            recording.copy(&slot, start, target, offset, bytes);
            offset += bytes;
        }
        Ok(())
    }

    /// Frees idle buffers, and the staging ring if the device is idle.
    pub(crate) fn trim(&self) {
        self.pool.reclaim(&self.context);
        self.pool.trim();
        if !self.context.is_busy() {
            self.staging.release();
        }
    }

    /// The open slot with room for `piece_bytes`: its buffer, the start of its free part, the free bytes.
    fn open_slot(
        &self,
        recording: &mut Recording,
        piece_bytes: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<(Rc<DeviceBuffer>, u64, u64)> {
        let piece_bytes = as_u64(piece_bytes)?;
        if piece_bytes > self.staging.slot_bytes() {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "a staging slot of {} bytes cannot hold {piece_bytes}",
                    self.staging.slot_bytes()
                ),
            ));
        }
        if let Some((slot, start, room)) = self.staging.room() {
            if room >= piece_bytes {
                return Ok((slot, start, room));
            }
            if !self.staging.feeds(recording) {
                // What fills the slot belongs to a step that was cancelled before it was submitted.
                self.staging.rewind();
                return Ok((slot, 0, self.staging.slot_bytes()));
            }
            self.submit(std::mem::take(recording))?;
        }
        match self.staging.next_slot() {
            NextSlot::Create => {
                let bytes = self.staging.slot_bytes();
                let buffer = self.allocate(staging::LABEL, Purpose::Upload, bytes, keep_waiting)?;
                self.staging.add(buffer);
            }
            NextSlot::Wait(buffer, copied_by) => {
                let settled = || buffer.mapping().is_settled();
                self.wait_until(&settled, copied_by.as_ref(), keep_waiting)?;
                if !buffer.mapping().is_mapped() {
                    return Err(self
                        .context
                        .mark_lost("a staging slot could not be mapped again".to_owned()));
                }
                self.staging.open();
            }
        }
        self.staging
            .room()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no staging slot is open"))
    }

    fn allocate(
        &self,
        label: &'static str,
        purpose: Purpose,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Rc<DeviceBuffer>> {
        let create = || DeviceBuffer::create(&self.context, &self.budget, label, purpose, bytes);
        let is_full = |error: &Error| error.kind() == ErrorKind::OutOfMemory;
        match create() {
            Err(error) if is_full(&error) && self.pool.trim() => {}
            Err(error) if is_full(&error) && self.context.is_busy() => {}
            outcome => return outcome,
        }
        match create() {
            Err(error) if is_full(&error) && self.context.is_busy() => {
                self.wait_idle(keep_waiting)?;
                self.pool.reclaim(&self.context);
                self.pool.trim();
                create()
            }
            outcome => outcome,
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.context.is_foreign() {
            // Freeing means calling a driver whose threads did not survive the fork and may have held its locks.
            std::mem::forget((
                Rc::clone(&self.pipelines),
                Rc::clone(&self.staging),
                Rc::clone(&self.pool),
            ));
        }
    }
}

/// Widens a host size.
pub(crate) fn as_u64(size: usize) -> Result<u64> {
    u64::try_from(size)
        .map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("{size} bytes are too many")))
}

/// Narrows a device size to a host size.
pub(crate) fn as_usize(size: u64) -> Result<usize> {
    usize::try_from(size)
        .map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("{size} bytes are too many")))
}

/// Narrows a count to what kernels count with.
pub(crate) fn as_u32(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("{count} are too many")))
}
