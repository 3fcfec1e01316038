//! A buffer on the device, its charge, and the host's view of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vectorgpu_core::Result;

use super::budget::{Budget, Charge, Label};
use crate::context::Context;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Read and written by kernels.
    Storage,
    /// Parameters of dispatches.
    Uniform,
    /// Written by the host, source of copies to the device; born mapped.
    Upload,
    /// Target of copies from the device, read by the host.
    ReadBack,
    /// Target of timestamps, source of their copy to the host.
    Queries,
}

impl Purpose {
    fn usages(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as Usages;
        match self {
            Self::Storage => Usages::STORAGE | Usages::COPY_DST | Usages::COPY_SRC,
            Self::Uniform => Usages::UNIFORM | Usages::COPY_DST,
            Self::Upload => Usages::MAP_WRITE | Usages::COPY_SRC,
            Self::ReadBack => Usages::MAP_READ | Usages::COPY_DST,
            Self::Queries => Usages::QUERY_RESOLVE | Usages::COPY_SRC,
        }
    }

    /// The name that debuggers and the driver's allocator report show.
    fn label(self) -> &'static str {
        match self {
            Self::Storage => "vectorgpu.storage",
            Self::Uniform => "vectorgpu.params",
            Self::Upload => super::staging::LABEL,
            Self::ReadBack => super::read_back::LABEL,
            Self::Queries => "vectorgpu.queries",
        }
    }
}

/// Numbers of freed buffers, for who keeps things by them; shared by all buffers of an engine.
pub(crate) type Freed = Rc<RefCell<Vec<u64>>>;

/// Whether the host can see a buffer's bytes; set by wgpu's callback.
#[derive(Clone, Default)]
pub(crate) struct Mapping(Arc<AtomicU8>);

const UNMAPPED: u8 = 0;
const PENDING: u8 = 1;
const MAPPED: u8 = 2;
const FAILED: u8 = 3;

impl Mapping {
    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Release);
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    /// Whether the host may read or write now.
    pub(crate) fn is_mapped(&self) -> bool {
        self.state() == MAPPED
    }

    /// Whether nobody asked for the host's view, or it was taken away again.
    pub(crate) fn is_unmapped(&self) -> bool {
        self.state() == UNMAPPED
    }

    /// Whether waiting on will change nothing.
    pub(crate) fn is_settled(&self) -> bool {
        self.state() != PENDING
    }
}

/// A device buffer with its charge.
pub(crate) struct DeviceBuffer {
    raw: wgpu::Buffer,
    number: u64,
    bytes: u64,
    purpose: Purpose,
    charge: RefCell<Charge>,
    mapping: Mapping,
    freed: Freed,
}

impl DeviceBuffer {
    /// Charges and creates a buffer of `bytes` (a multiple of 4).
    ///
    /// # Errors
    /// `OutOfMemory` from the budget or the device, or as [`Context::guarded`].
    pub(crate) fn create(
        context: &Context,
        budget: &Rc<Budget>,
        freed: &Freed,
        label: impl Into<Label>,
        purpose: Purpose,
        bytes: u64,
    ) -> Result<Rc<Self>> {
        let label = label.into();
        let charge = budget.charge(label.clone(), bytes)?;
        let mapped = purpose == Purpose::Upload;
        let raw = context.guarded("allocating a buffer", |gpu| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(purpose.label()),
                size: bytes,
                usage: purpose.usages(),
                mapped_at_creation: mapped,
            })
        })?;
        let mapping = Mapping::default();
        mapping.set(if mapped { MAPPED } else { UNMAPPED });
        log::trace!(target: "vectorgpu::gpu", "allocated {bytes} bytes for {label}");
        context.counters.update(|counters| counters.allocations += 1);
        Ok(Rc::new(Self {
            raw,
            number: context.next_buffer(),
            bytes,
            purpose,
            charge: RefCell::new(charge),
            mapping,
            freed: Rc::clone(freed),
        }))
    }

    /// wgpu's buffer, for encoding.
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it is for.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Its number, never given twice in an engine.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Accounts it under another label.
    pub(crate) fn relabel(&self, label: impl Into<Label>) {
        self.charge.borrow_mut().relabel(label);
    }

    /// Accounts `bytes` of it under `label` until [`DeviceBuffer::join_charge`].
    pub(super) fn split_charge(&self, label: impl Into<Label>, bytes: u64) -> Charge {
        self.charge.borrow_mut().split(label, bytes)
    }

    /// Takes back what [`DeviceBuffer::split_charge`] gave.
    pub(super) fn join_charge(&self, part: Charge) {
        self.charge.borrow_mut().join(part);
    }

    /// The host's view of it.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Asks for the host's view once the device is done; call inside [`Context::guarded`].
    pub(crate) fn start_mapping(&self, mode: wgpu::MapMode) {
        let mapping = self.mapping.clone();
        mapping.set(PENDING);
        self.raw.slice(..).map_async(mode, move |outcome| {
            mapping.set(if outcome.is_ok() { MAPPED } else { FAILED });
        });
    }

    /// Takes the host's view away, or stops asking for it; call inside [`Context::guarded`].
    pub(crate) fn unmap(&self) {
        if self.mapping.state() != UNMAPPED {
            self.raw.unmap();
            self.mapping.set(UNMAPPED);
        }
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        self.freed.borrow_mut().push(self.number);
    }
}
