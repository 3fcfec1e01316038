//! A buffer on the device, its charge, and when the device last used it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vectorgpu_core::Result;

use super::budget::{Budget, Charge};
use crate::context::Context;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Read and written by kernels.
    Storage,
    /// Parameters of one dispatch.
    Uniform,
    /// Written by the host, source of copies to the device; born mapped.
    Upload,
    /// Target of copies from the device, read by the host.
    ReadBack,
}

impl Purpose {
    fn usages(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as Usages;
        match self {
            Self::Storage => Usages::STORAGE | Usages::COPY_DST | Usages::COPY_SRC,
            Self::Uniform => Usages::UNIFORM | Usages::COPY_DST,
            Self::Upload => Usages::MAP_WRITE | Usages::COPY_SRC,
            Self::ReadBack => Usages::MAP_READ | Usages::COPY_DST,
        }
    }

    /// The name that debuggers and the driver's allocator report show.
    fn label(self) -> &'static str {
        match self {
            Self::Storage => "vectorgpu.storage",
            Self::Uniform => "vectorgpu.params",
            Self::Upload => super::staging::LABEL,
            Self::ReadBack => "vectorgpu.read_back",
        }
    }
}

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

    /// Whether waiting on will change nothing.
    pub(crate) fn is_settled(&self) -> bool {
        self.state() != PENDING
    }
}

/// A device buffer with its charge.
pub(crate) struct DeviceBuffer {
    raw: wgpu::Buffer,
    bytes: u64,
    purpose: Purpose,
    charge: RefCell<Charge>,
    last_use: Cell<u64>,
    mapping: Mapping,
}

impl DeviceBuffer {
    /// Charges and creates a buffer of `bytes` (a multiple of 4).
    ///
    /// # Errors
    /// `OutOfMemory` from the budget or the device, or as [`Context::guarded`].
    pub(crate) fn create(
        context: &Context,
        budget: &Rc<Budget>,
        label: &'static str,
        purpose: Purpose,
        bytes: u64,
    ) -> Result<Rc<Self>> {
        let charge = budget.charge(label, bytes)?;
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
        Ok(Rc::new(Self {
            raw,
            bytes,
            purpose,
            charge: RefCell::new(charge),
            last_use: Cell::new(0),
            mapping,
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

    /// The number of the last submission that uses it; 0: none did.
    pub(crate) fn last_use(&self) -> u64 {
        self.last_use.get()
    }

    /// Notes that submission `number` uses it.
    pub(crate) fn stamp(&self, number: u64) {
        self.last_use.set(number);
    }

    /// Accounts it under another label.
    pub(crate) fn relabel(&self, label: &'static str) {
        self.charge.borrow_mut().relabel(label);
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
