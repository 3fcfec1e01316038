//! `vectorgpu.estimates`, `vectorgpu.calibration`, `vectorgpu.calibrate`: what decides between CPU and GPU.

use pgrx::prelude::*;
use vectorgpu_compute::DeviceChoice;

use crate::error::OrRaise;
use crate::gpu::calibration::{self, Calibration};
use crate::gpu::{ledger, lifecycle};
use crate::guc::Device;
use crate::logging;

/// `vectorgpu.device_estimates()`: what this session's work was estimated to take, and what it took. A view names it
/// `vectorgpu.estimates`.
#[pg_extern(sql = false)]
fn device_estimates() -> TableIterator<
    'static,
    (
        name!(job, String),
        name!(device, String),
        name!(runs, i64),
        name!(estimated_cpu_ms, f64),
        name!(estimated_gpu_ms, f64),
        name!(actual_ms, f64),
    ),
> {
    TableIterator::new(ledger::entries().into_iter().map(|(job, device, entry)| {
        (
            job.name().to_owned(),
            device.name().to_owned(),
            entry.runs,
            entry.estimate.cpu_s * 1e3,
            entry.estimate.gpu_s * 1e3,
            entry.actual_s * 1e3,
        )
    }))
}

/// `vectorgpu.device_calibration()`: the rates that estimates are made with, no row before they were measured. A view names it
/// `vectorgpu.calibration`.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn device_calibration() -> TableIterator<
    'static,
    (
        name!(cpu, String),
        name!(adapter, String),
        name!(cpu_multiply_adds_per_s, f64),
        name!(gpu_start_ms, f64),
        name!(gpu_search_us, f64),
        name!(gpu_scan_bytes_per_s, f64),
        name!(gpu_copy_bytes_per_s, f64),
        name!(gpu_upload_bytes_per_s, f64),
        name!(gpu_multiply_adds_per_s, f64),
    ),
> {
    TableIterator::new(
        calibration::current()
            .into_iter()
            .map(|calibration| row_of(&calibration)),
    )
}

/// `vectorgpu.calibrate()`: measures the CPU and the GPU that the session would use anew, and keeps that for all sessions
/// that begin later.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn calibrate() -> TableIterator<
    'static,
    (
        name!(cpu, String),
        name!(adapter, String),
        name!(cpu_multiply_adds_per_s, f64),
        name!(gpu_start_ms, f64),
        name!(gpu_search_us, f64),
        name!(gpu_scan_bytes_per_s, f64),
        name!(gpu_copy_bytes_per_s, f64),
        name!(gpu_upload_bytes_per_s, f64),
        name!(gpu_multiply_adds_per_s, f64),
    ),
> {
    let choice = match Device::chosen() {
        Device::Gpu(choice) => choice,
        Device::Auto | Device::Cpu => DeviceChoice::Auto,
    };
    let measured = lifecycle::engine(&choice).and_then(|engine| calibration::measure(&engine));
    logging::flush();
    TableIterator::once(row_of(&measured.or_raise()))
}

type CalibrationRow = (String, String, f64, f64, f64, f64, f64, f64, f64);

fn row_of(calibration: &Calibration) -> CalibrationRow {
    let rates = calibration.rates();
    (
        calibration.cpu.clone(),
        calibration.adapter.clone(),
        rates.cpu.multiply_adds_per_s,
        rates.gpu.start_s * 1e3,
        rates.gpu.search_s * 1e6,
        rates.gpu.scan_bytes_per_s,
        rates.gpu.copy_bytes_per_s,
        rates.gpu.upload_bytes_per_s,
        rates.gpu.multiply_adds_per_s,
    )
}
