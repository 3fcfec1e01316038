//! Which device a piece of work runs on.
//!
//! `auto` compares estimates: a GPU that is not clearly faster is not even opened. Scans stay on the CPU under `auto`
//! unless the index's lists have copies in GPU memory, because sending a list costs more than reading it. `gpu` and an
//! adapter's name force the GPU and report its errors; under `auto` a GPU that fails costs one warning and the CPU goes on.

use std::rc::Rc;

use pgrx::pg_sys;
use vectorgpu_compute::{DeviceChoice, Engine, IndexCopies, OnFailure};
use vectorgpu_core::backend::{Backend, Fallback, is_device_failure};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::{lifecycle, residency};
use crate::guc::Device;
use crate::pg::interrupt;

/// Multiply-adds a second of one CPU core in the assignment kernel.
const CPU_RATE: f64 = 40e9;
/// Multiply-adds a second of a small GPU.
const GPU_RATE: f64 = 1e12;
/// Bytes a second to the GPU.
const UPLOAD_RATE: f64 = 4e9;
/// Seconds until a GPU is open.
const GPU_START: f64 = 0.6;

/// The size of an index build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuildWork {
    /// Multiply-adds of k-means and assignment.
    pub(crate) multiply_adds: f64,
    /// Bytes of vectors to send.
    pub(crate) bytes: f64,
}

/// Where a scan computes.
pub(crate) struct ScanPlace {
    /// The copies that it searches; `None`: it reads the pages.
    pub(crate) copies: Option<IndexCopies>,
    /// Why, for the user.
    pub(crate) why: &'static str,
}

impl ScanPlace {
    fn pages(why: &'static str) -> Self {
        Self { copies: None, why }
    }
}

/// Where a scan of `index` computes.
///
/// # Errors
/// Under `gpu` or an adapter's name: what opening the GPU reports.
///
/// # Safety
/// `index` is open.
pub(crate) unsafe fn scan_place(index: pg_sys::Relation, meta: &Meta) -> Result<ScanPlace> {
    if !interrupt::is_client_backend() {
        return Ok(ScanPlace::pages("workers do not use the GPU"));
    }
    match Device::chosen() {
        Device::Cpu => Ok(ScanPlace::pages("vectorgpu.device is cpu")),
        Device::Gpu(choice) => {
            // SAFETY: as the caller's.
            let copies = unsafe { residency::copies(index, meta, &choice, Box::new(|_| false)) }?;
            Ok(ScanPlace {
                copies: Some(copies),
                why: "vectorgpu.device asks for the GPU",
            })
        }
        Device::Auto => {
            // SAFETY: as the caller's.
            if !unsafe { residency::is_resident(index, meta) } {
                return Ok(ScanPlace::pages("no lists of the index are in GPU memory"));
            }
            // SAFETY: as the caller's.
            match unsafe { residency::copies(index, meta, &DeviceChoice::Auto, Box::new(go_on)) } {
                Ok(copies) => Ok(ScanPlace {
                    copies: Some(copies),
                    why: "lists of the index are in GPU memory",
                }),
                Err(error) if go_on(&error) => Ok(ScanPlace::pages("the GPU failed")),
                Err(error) => Err(error),
            }
        }
    }
}

/// What many searches at once compute with.
pub(crate) struct ManyPlace {
    pub(crate) lists: IndexCopies,
    pub(crate) centroids: IndexCopies,
    /// Why there, for the user.
    pub(crate) why: &'static str,
}

/// The copies that many searches at once of an open `index` go through; `None`: they are scans of their own.
///
/// # Errors
/// As [`scan_place`].
pub(crate) fn many_place(index: pg_sys::Relation, meta: &Meta) -> Result<Option<ManyPlace>> {
    // SAFETY: the caller's index is open.
    let place = unsafe { scan_place(index, meta) }?;
    let Some(lists) = place.copies else {
        return Ok(None);
    };
    let (choice, on_failure): (_, OnFailure) = match Device::chosen() {
        Device::Gpu(choice) => (choice, Box::new(|_| false)),
        Device::Auto | Device::Cpu => (DeviceChoice::Auto, Box::new(go_on)),
    };
    // SAFETY: the caller's index is open.
    match unsafe { residency::centroid_copies(index, meta, &choice, on_failure) } {
        Ok(centroids) => Ok(Some(ManyPlace {
            lists,
            centroids,
            why: place.why,
        })),
        Err(error) if Device::chosen() == Device::Auto && go_on(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The copies that are to be made of all lists of `index`.
///
/// # Errors
/// `Unsupported` under `cpu`; what opening the GPU reports.
pub(crate) fn prewarm_copies(index: pg_sys::Relation, meta: &Meta) -> Result<IndexCopies> {
    let (choice, on_failure): (_, OnFailure) = match Device::chosen() {
        Device::Cpu => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "vectorgpu.device is cpu, which keeps no copies of lists",
            )
            .with_hint("SET vectorgpu.device = auto, or gpu."));
        }
        Device::Gpu(choice) => (choice, Box::new(|_| false)),
        Device::Auto => (DeviceChoice::Auto, Box::new(go_on)),
    };
    // SAFETY: the caller's index is open.
    unsafe { residency::copies(index, meta, &choice, on_failure) }
}

/// Whether the CPU takes over after `error`; warns.
fn go_on(error: &Error) -> bool {
    let goes_on = is_device_failure(error);
    if goes_on {
        pgrx::warning!("the GPU failed and the CPU goes on: {error}");
    }
    goes_on
}

/// The backend for an index build.
///
/// # Errors
/// As [`scan_place`].
pub(crate) fn build_backend(work: BuildWork) -> Result<Box<dyn Backend>> {
    if let Some(choice) = forced() {
        return forced_backend(&choice);
    }
    let cpu_seconds = work.multiply_adds / CPU_RATE;
    let gpu_seconds = work.multiply_adds / GPU_RATE + work.bytes / UPLOAD_RATE;
    let worthwhile = Device::chosen() == Device::Auto && cpu_seconds > 2.0 * (gpu_seconds + GPU_START);
    if worthwhile && let Some(engine) = hardware_engine() {
        log::debug!(
            target: "vectorgpu::policy",
            "build on {}: about {gpu_seconds:.1} s against {cpu_seconds:.1} s on the CPU",
            engine.adapter().name
        );
        let warn = Box::new(|error: &Error| {
            pgrx::warning!("the GPU failed and the CPU goes on: {error}");
        });
        return Ok(Box::new(Fallback::new(
            Box::new(engine.backend()),
            Box::new(CpuBackend::new()),
            warn,
        )));
    }
    Ok(Box::new(CpuBackend::new()))
}

/// The adapter that the session's setting forces, if any.
fn forced() -> Option<DeviceChoice> {
    match Device::chosen() {
        Device::Auto | Device::Cpu => None,
        Device::Gpu(choice) => Some(choice),
    }
}

fn forced_backend(choice: &DeviceChoice) -> Result<Box<dyn Backend>> {
    if !interrupt::is_client_backend() {
        return Ok(Box::new(CpuBackend::new()));
    }
    lifecycle::engine(choice).map(|engine| Box::new(engine.backend()) as Box<dyn Backend>)
}

/// An engine on real hardware; software Vulkan is slower than the CPU path that stands in for it.
fn hardware_engine() -> Option<Rc<Engine>> {
    lifecycle::engine(&DeviceChoice::Auto)
        .ok()
        .filter(|engine| !engine.adapter().software)
}
