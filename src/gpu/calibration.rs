//! The machine's rates: measured once, and kept in a file below the data directory for all sessions.
//!
//! The file belongs to one CPU and one adapter; on another machine, to which a base backup may have taken it, rates are measured
//! again. A file that is damaged, or cannot be read or written, costs a measurement and nothing else.

use std::cell::RefCell;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vectorgpu_compute::{Engine, private_file};
use vectorgpu_core::backend::Backend;
use vectorgpu_core::cpu::{self, CpuBackend};
use vectorgpu_core::estimate::{CpuRates, GpuRates, Rates};
use vectorgpu_core::{ErrorKind, Result};

use crate::pg::interrupt;

/// Below the server's working directory, which is its data directory.
const FILE: &str = "vectorgpu/calibration.json";
/// Of what is measured, and how.
const VERSION: u32 = 1;
/// A longer file is not ours.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// What was measured of which machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    version: u32,
    /// The CPU's name and the instructions that the kernels use.
    pub(crate) cpu: String,
    /// The adapter's name and its driver.
    pub(crate) adapter: String,
    cpu_multiply_adds_per_s: f64,
    gpu_start_s: f64,
    gpu_search_s: f64,
    gpu_scan_bytes_per_s: f64,
    gpu_copy_bytes_per_s: f64,
    gpu_upload_bytes_per_s: f64,
    gpu_multiply_adds_per_s: f64,
}

impl Calibration {
    fn new(cpu: String, adapter: String, rates: &Rates) -> Self {
        Self {
            version: VERSION,
            cpu,
            adapter,
            cpu_multiply_adds_per_s: rates.cpu.multiply_adds_per_s,
            gpu_start_s: rates.gpu.start_s,
            gpu_search_s: rates.gpu.search_s,
            gpu_scan_bytes_per_s: rates.gpu.scan_bytes_per_s,
            gpu_copy_bytes_per_s: rates.gpu.copy_bytes_per_s,
            gpu_upload_bytes_per_s: rates.gpu.upload_bytes_per_s,
            gpu_multiply_adds_per_s: rates.gpu.multiply_adds_per_s,
        }
    }

    /// The rates.
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            cpu: CpuRates {
                multiply_adds_per_s: self.cpu_multiply_adds_per_s,
            },
            gpu: GpuRates {
                start_s: self.gpu_start_s,
                search_s: self.gpu_search_s,
                scan_bytes_per_s: self.gpu_scan_bytes_per_s,
                copy_bytes_per_s: self.gpu_copy_bytes_per_s,
                upload_bytes_per_s: self.gpu_upload_bytes_per_s,
                multiply_adds_per_s: self.gpu_multiply_adds_per_s,
            },
        }
    }
}

/// What this session knows.
#[derive(Default)]
struct Known {
    /// Whether the file was looked for.
    looked: bool,
    calibration: Option<Calibration>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// What was measured of this CPU and the adapter that was used last; `None` before anything was.
pub(crate) fn current() -> Option<Calibration> {
    KNOWN.with_borrow_mut(|known| known.look().clone())
}

/// The rates to estimate with: measured ones if there are any.
pub(crate) fn rates() -> Rates {
    KNOWN.with_borrow_mut(|known| known.look().as_ref().map_or(Rates::ASSUMED, Calibration::rates))
}

/// The rates with `engine`, measured now if the machine never did.
///
/// # Errors
/// `Cancelled`, `DeviceLost`. Where memory is too short for measuring, rates are assumed.
pub(crate) fn rates_with(engine: &Engine) -> Result<Rates> {
    let adapter = adapter_of(engine);
    let known = KNOWN.with_borrow_mut(|known| {
        let is_it = |calibration: &&Calibration| calibration.adapter == adapter;
        if known.look().as_ref().filter(is_it).is_none() {
            // Another session may have measured meanwhile.
            *known = Known::default();
            known.look();
        }
        known.calibration.as_ref().filter(is_it).map(Calibration::rates)
    });
    match known {
        Some(rates) => Ok(rates),
        None => match measure(engine) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                log::debug!(target: "vectorgpu::policy", "rates were not measured: {error}");
                Ok(Rates::ASSUMED)
            }
            measured => measured.map(|calibration| calibration.rates()),
        },
    }
}

/// Measures the machine with `engine`, and keeps that.
///
/// # Errors
/// `OutOfMemory`, `Cancelled`, `DeviceLost`.
pub(crate) fn measure(engine: &Engine) -> Result<Calibration> {
    let rates = Rates {
        cpu: cpu::measure(&mut interrupt::keep_waiting)?,
        gpu: engine.measure(&mut interrupt::keep_waiting)?,
    };
    let calibration = Calibration::new(cpu_name(), adapter_of(engine), &rates);
    log::debug!(target: "vectorgpu::policy", "measured {calibration:?}");
    if let Err(error) = write(&calibration) {
        log::debug!(target: "vectorgpu::policy", "the rates were not saved: {error}");
    }
    KNOWN.with_borrow_mut(|known| {
        known.looked = true;
        known.calibration = Some(calibration.clone());
    });
    Ok(calibration)
}

impl Known {
    fn look(&mut self) -> &Option<Calibration> {
        if !self.looked {
            self.looked = true;
            self.calibration = read();
        }
        &self.calibration
    }
}

/// The file's contents, if they are whole and of this CPU.
fn read() -> Option<Calibration> {
    let bytes = private_file::read(Path::new(FILE), FILE_BYTES_MAX).ok()?;
    let calibration: Calibration = serde_json::from_slice(&bytes).ok()?;
    let fits =
        calibration.version == VERSION && calibration.cpu == cpu_name() && calibration.rates().are_usable();
    fits.then_some(calibration)
}

fn write(calibration: &Calibration) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(calibration)?;
    private_file::write(Path::new(FILE), &[text.as_bytes()])
}

fn adapter_of(engine: &Engine) -> String {
    let adapter = engine.adapter();
    format!("{} ({} {})", adapter.name, adapter.driver, adapter.driver_info)
}

/// The model's name as Linux gives it, where it does, and what the kernels use of it.
fn cpu_name() -> String {
    let kernels = CpuBackend::new().label().to_owned();
    let described = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = described.lines().find(|line| line.starts_with("model name"));
    match model.and_then(|line| line.split_once(':')) {
        Some((_, model)) => format!("{}, {kernels}", model.trim()),
        None => kernels,
    }
}
