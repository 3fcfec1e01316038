//! Which device a piece of work runs on.
//!
//! `auto` compares estimates: a GPU that is not clearly faster is not even opened. Scans stay on the CPU under `auto`
//! until lists are kept in GPU memory, because sending a list costs more than reading it. `gpu` and an adapter's name
//! force the GPU and report its errors; under `auto` a GPU that fails costs one warning and the CPU goes on.

use std::rc::Rc;

use vectorgpu_compute::{DeviceChoice, Engine};
use vectorgpu_core::Result;
use vectorgpu_core::backend::{Backend, Fallback};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::metric::Storage;

use super::lifecycle;
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

/// The backend for a scan of rows in `storage`. Integer codes are scored on the CPU: sent for each query, they would
/// only take longer.
///
/// # Errors
/// Under `gpu` or an adapter's name: what opening the GPU reports.
pub(crate) fn scan_backend(storage: Storage) -> Result<Box<dyn Backend>> {
    match forced().filter(|_| storage.element().is_some()) {
        Some(choice) => forced_backend(&choice),
        None => Ok(Box::new(CpuBackend::new())),
    }
}

/// The backend for an index build.
///
/// # Errors
/// As [`scan_backend`].
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
        let warn = Box::new(|error: &vectorgpu_core::Error| {
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
