//! `vectorgpu.stats`, `vectorgpu.memory`, `vectorgpu.resident_indexes`, `vectorgpu.kernel_times`: what this session's GPU engines did, and hold.

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::gpu::{lifecycle, residency};

/// `vectorgpu.gpu_stats()`: counts over all engines of this session, one row. A view names it `vectorgpu.stats`.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn gpu_stats() -> TableIterator<
    'static,
    (
        name!(device, Option<String>),
        name!(engines_opened, i64),
        name!(engines_lost, i64),
        name!(dispatches, i64),
        name!(submissions, i64),
        name!(bytes_up, i64),
        name!(bytes_down, i64),
        name!(waits, i64),
        name!(wait_ms, f64),
        name!(cancellations, i64),
        name!(pipelines_compiled, i64),
        name!(compile_ms, f64),
        name!(pipeline_hits, i64),
        name!(bind_group_hits, i64),
        name!(allocations, i64),
        name!(pool_hits, i64),
        name!(evictions, i64),
        name!(vram_used_bytes, i64),
        name!(vram_peak_bytes, i64),
        name!(vram_limit_bytes, Option<i64>),
    ),
> {
    let totals = lifecycle::totals();
    let counters = totals.counters;
    let engine = lifecycle::open_engine();
    let memory = engine.as_ref().map(|engine| engine.memory());
    let bytes =
        |read: fn(&vectorgpu_compute::MemoryReport) -> u64| memory.as_ref().map_or(0, read).cast_signed();
    TableIterator::once((
        engine.as_ref().map(|engine| engine.adapter().name.clone()),
        totals.opened,
        totals.lost,
        counters.dispatches.cast_signed(),
        counters.submissions.cast_signed(),
        counters.bytes_up.cast_signed(),
        counters.bytes_down.cast_signed(),
        counters.waits.cast_signed(),
        milliseconds(counters.wait_time),
        counters.cancellations.cast_signed(),
        counters.pipelines.cast_signed(),
        milliseconds(counters.compile_time),
        counters.pipeline_hits.cast_signed(),
        counters.bind_group_hits.cast_signed(),
        counters.allocations.cast_signed(),
        counters.pool_hits.cast_signed(),
        counters.evictions.cast_signed(),
        bytes(|memory| memory.used_bytes),
        bytes(|memory| memory.peak_bytes),
        memory.as_ref().map(|memory| memory.limit_bytes.cast_signed()),
    ))
}

/// `vectorgpu.gpu_memory()`: GPU memory of this session by label; no rows while no GPU is open.
#[pg_extern(sql = false)]
fn gpu_memory() -> TableIterator<
    'static,
    (
        name!(label, String),
        name!(bytes, i64),
        name!(blocks, i64),
        name!(peak_bytes, i64),
    ),
> {
    let labels = lifecycle::open_engine().map_or_else(Vec::new, |engine| engine.memory().labels);
    TableIterator::new(labels.into_iter().map(|usage| {
        (
            usage.label,
            usage.bytes.cast_signed(),
            usage.buffers.cast_signed(),
            usage.peak_bytes.cast_signed(),
        )
    }))
}

/// `vectorgpu.gpu_indexes()`: what of which index is in GPU memory of this session.
#[pg_extern(sql = false)]
fn gpu_indexes() -> TableIterator<
    'static,
    (
        name!(index, pg_sys::Oid),
        name!(lists, i64),
        name!(rows, i64),
        name!(bytes, i64),
    ),
> {
    let residents = residency::residents().into_iter();
    TableIterator::new(residents.map(|resident| {
        let usage = resident.usage;
        (
            resident.index,
            usage.lists.cast_signed(),
            usage.rows.cast_signed(),
            usage.bytes.cast_signed(),
        )
    }))
}

/// `vectorgpu.gpu_kernel_times()`: device time by kernel, measured while `vectorgpu.profile` was on.
#[pg_extern(sql = false)]
fn gpu_kernel_times() -> TableIterator<
    'static,
    (
        name!(kernel, String),
        name!(dispatches, i64),
        name!(total_ms, f64),
        name!(longest_ms, f64),
    ),
> {
    let times = lifecycle::open_engine().map_or_else(Vec::new, |engine| engine.profile());
    TableIterator::new(times.into_iter().map(|time| {
        (
            time.kernel.to_owned(),
            time.dispatches.cast_signed(),
            milliseconds(time.total),
            milliseconds(time.longest),
        )
    }))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
