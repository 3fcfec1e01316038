//! What all kernels share: the context, memory, pipelines and pace of one open engine.
//!
//! Single-threaded, shared by `Rc`. Invariant: no `RefCell` is borrowed while a caller's keep-waiting closure runs,
//! because that closure may end the process through the host's exit callbacks without unwinding.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytemuck::Pod;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::context::Context;
use crate::memory::block::Block;
use crate::memory::budget::{Budget, Label};
use crate::memory::buffer::{DeviceBuffer, Purpose};
use crate::memory::params::ParamsRing;
use crate::memory::pool::Pool;
use crate::memory::read_back::ReadBackRing;
use crate::memory::segment::{self, Segments};
use crate::memory::staging::StagingRing;
use crate::memory::view::View;
use crate::pace::Pace;
use crate::pipeline::{BindGroups, Pipelines};
use crate::profile::Profile;
use crate::wait::WaitHook;

/// How an engine's inside is laid out.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    /// The hard limit on device memory, all of the following included.
    pub(crate) vram_limit_bytes: u64,
    /// Of the ring for uploads.
    pub(crate) staging_bytes: u64,
    /// Of the ring for results.
    pub(crate) read_back_bytes: u64,
    /// Of a segment of long-lived memory.
    pub(crate) segment_bytes: u64,
}

/// An open engine's inside; fields are dropped in this order.
pub(crate) struct Runtime {
    pub(crate) pipelines: Rc<Pipelines>,
    pub(crate) bind_groups: Rc<BindGroups>,
    pub(crate) profile: Profile,
    pub(crate) params: Rc<ParamsRing>,
    pub(crate) staging: Rc<StagingRing>,
    pub(crate) read_back: Rc<ReadBackRing>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) segments: Rc<Segments>,
    /// Of what is read rarely, apart from what is read whole, so that this lies in few segments.
    pub(crate) side_segments: Rc<Segments>,
    pub(crate) budget: Rc<Budget>,
    pub(crate) pace: Pace,
    pub(crate) wait_deadline: Duration,
    pub(crate) wait_hook: Option<WaitHook>,
    pub(crate) context: Context,
}

impl Runtime {
    /// A runtime over `context`. Kernels keep wgpu's bounds checks if `checked`; the driver's compiled kernels are kept
    /// in `cache_folder`.
    ///
    /// # Errors
    /// As [`Context::guarded`].
    pub(crate) fn new(
        context: Context,
        sizes: &Sizes,
        (wait_deadline, wait_hook): (Duration, Option<WaitHook>),
        checked: bool,
        cache_folder: Option<PathBuf>,
    ) -> Result<Rc<Self>> {
        let pipelines = Pipelines::new(&context, checked, cache_folder)?;
        let binding_bytes = context.capabilities().binding_bytes;
        let segment_bytes = sizes.segment_bytes.min(binding_bytes);
        let largest_bytes = (sizes.vram_limit_bytes / 4).min(binding_bytes).max(segment_bytes);
        Ok(Rc::new(Self {
            pipelines: Rc::new(pipelines),
            bind_groups: Rc::default(),
            profile: Profile::default(),
            params: Rc::new(ParamsRing::new(context.capabilities().uniform_alignment)),
            staging: Rc::new(StagingRing::new(sizes.staging_bytes)),
            read_back: Rc::new(ReadBackRing::new(sizes.read_back_bytes)),
            pool: Pool::new(sizes.vram_limit_bytes / 4),
            segments: Segments::new(segment_bytes, largest_bytes),
            side_segments: Segments::new(segment_bytes, largest_bytes),
            budget: Budget::new(sizes.vram_limit_bytes),
            pace: Pace::new(context.capabilities().kind),
            wait_deadline,
            wait_hook,
            context,
        }))
    }

    /// What the device can do.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        self.context.capabilities()
    }

    /// Transient memory for `len` elements, bound with all the room that there is, for kernels that are told how much of it is
    /// used; see [`View::roomy_front`].
    ///
    /// # Errors
    /// As [`Runtime::acquire`].
    pub(crate) fn roomy_array<T: Pod>(
        &self,
        label: &'static str,
        len: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<T>> {
        let bytes = as_u64(len.saturating_mul(size_of::<T>()))?;
        let block = self.acquire(label, Purpose::Storage, bytes, keep_waiting)?;
        let view = View::roomy_front(&block, bytes, self.capabilities().binding_bytes)?;
        Ok(Array::new(view, len, self.capabilities().storage_alignment))
    }

    /// A transient block of at least `bytes`: a buffer from the pool or a new one. Its contents are unspecified.
    ///
    /// When memory is short, idle buffers are freed first, then those whose work has to be waited for.
    ///
    /// # Errors
    /// `LimitExceeded` beyond what a kernel can bind, `OutOfMemory`, `Cancelled`, or as [`Context::guarded`].
    pub(crate) fn acquire(
        &self,
        label: impl Into<Label>,
        purpose: Purpose,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Rc<Block>> {
        let label = label.into();
        self.check_size(&label, bytes)?;
        let class_bytes = Pool::size_class(bytes, self.capabilities().buffer_bytes);
        self.reclaim();
        if let Some(block) = self.pool.take(label.clone(), purpose, class_bytes) {
            self.context.counters.update(|counters| counters.pool_hits += 1);
            return Ok(block);
        }
        let buffer = self.allocate(label, purpose, class_bytes, keep_waiting)?;
        Ok(self.pool.adopt(buffer))
    }

    /// A resident block of at least `bytes`, cut from a segment. Its contents are unspecified.
    ///
    /// # Errors
    /// As [`Runtime::acquire`].
    pub(crate) fn reserve(
        &self,
        label: impl Into<Label>,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Rc<Block>> {
        self.reserve_in(&self.segments, label, bytes, keep_waiting)
    }

    /// As [`Runtime::reserve`], from these segments of the runtime.
    ///
    /// # Errors
    /// As [`Runtime::acquire`].
    pub(crate) fn reserve_in(
        &self,
        segments: &Rc<Segments>,
        label: impl Into<Label>,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Rc<Block>> {
        let label = label.into();
        self.check_size(&label, bytes)?;
        self.reclaim();
        if let Some(block) = segments.take(label.clone(), bytes) {
            return Ok(block);
        }
        let segment_bytes = segments.next_bytes(bytes);
        let allocated = self.allocate(segment::FREE_LABEL, Purpose::Storage, segment_bytes, keep_waiting);
        let buffer = match allocated {
            // A segment of the usual size does not fit any more, but the block alone may.
            Err(error) if error.kind() == ErrorKind::OutOfMemory && segment_bytes > bytes => {
                let least = bytes.max(1).next_multiple_of(segment::BLOCK_ALIGNMENT);
                self.allocate(segment::FREE_LABEL, Purpose::Storage, least, keep_waiting)?
            }
            allocated => allocated?,
        };
        segments.add(buffer);
        segments
            .take(label, bytes)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a new segment has no room"))
    }

    /// Gives memory back that is only kept for re-use, and saves what the driver compiled.
    pub(crate) fn trim(&self) {
        self.reclaim();
        let freed = self.pool.trim() + self.segments.trim() + self.side_segments.trim();
        self.count_evictions(freed);
        if !self.context.is_busy() {
            self.staging.release();
            self.read_back.release();
        }
        self.bind_groups.forget_freed();
        self.pipelines.save(&self.context);
    }

    /// Charges and creates a buffer; frees what is only kept, or waits for what is still used, when memory is short.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, or as [`Context::guarded`].
    pub(crate) fn allocate(
        &self,
        label: impl Into<Label>,
        purpose: Purpose,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Rc<DeviceBuffer>> {
        let label = label.into();
        let create = || {
            self.bind_groups.forget_freed();
            let freed = self.bind_groups.freed();
            DeviceBuffer::create(&self.context, &self.budget, freed, label.clone(), purpose, bytes)
        };
        let is_full = |error: &Error| error.kind() == ErrorKind::OutOfMemory;
        match create() {
            Err(error) if is_full(&error) && self.free_idle() => {}
            Err(error) if is_full(&error) && self.context.is_busy() => {}
            outcome => return outcome,
        }
        match create() {
            Err(error) if is_full(&error) && self.context.is_busy() => {
                self.wait_idle(keep_waiting)?;
                self.reclaim();
                self.free_idle();
                create()
            }
            outcome => outcome,
        }
    }

    /// Makes what the device has finished with available again.
    pub(crate) fn reclaim(&self) {
        let freed = self.pool.reclaim(&self.context);
        self.count_evictions(freed);
        let completed = self.context.completed();
        self.segments.reclaim(completed);
        self.side_segments.reclaim(completed);
    }

    /// Frees what nothing uses; whether there was any.
    pub(crate) fn free_idle(&self) -> bool {
        let freed = self.pool.trim() + self.segments.trim() + self.side_segments.trim();
        self.count_evictions(freed);
        freed > 0
    }

    fn count_evictions(&self, freed: usize) {
        self.context
            .counters
            .update(|counters| counters.evictions += freed as u64);
    }

    fn check_size(&self, label: &Label, bytes: u64) -> Result<()> {
        let largest = self.capabilities().binding_bytes;
        if bytes > largest {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("{bytes} bytes for {label} exceed the device's limit of {largest} bytes"),
            ));
        }
        Ok(())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.context.is_foreign() {
            // Freeing means calling a driver whose threads did not survive the fork and may have held its locks.
            std::mem::forget((
                Rc::clone(&self.pipelines),
                Rc::clone(&self.bind_groups),
                self.profile.take(),
                Rc::clone(&self.params),
                Rc::clone(&self.staging),
                Rc::clone(&self.read_back),
                Rc::clone(&self.pool),
                Rc::clone(&self.segments),
                Rc::clone(&self.side_segments),
            ));
        } else if !self.context.is_lost() {
            self.pipelines.save(&self.context);
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
