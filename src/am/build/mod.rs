//! `ambuild`: sample, k-means, assign every row to a list, sort by list, write.

mod assign;
mod parallel;
mod phase;
mod plan;
mod sample;
mod write;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{PgBox, pg_sys};
use vectorgpu_core::Result;
use vectorgpu_core::ivf::build::Builder;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::kmeans;

use crate::error::OrRaise;
use crate::gpu::policy::{self, BuildWork};
use crate::logging;
use crate::pg::bulk::BulkFork;
use crate::pg::interrupt;
use phase::Phase;
use plan::Plan;
use sample::Sample;

pub(super) use phase::ambuildphasename;

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn ambuild(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the server passes open relations and a valid IndexInfo.
    let built = unsafe {
        super::kept::forget(index);
        build(table, index, index_info)
    }
    .or_raise();
    logging::flush();
    // SAFETY: zeroed memory of that type in the current context.
    let mut result = unsafe { PgBox::<pg_sys::IndexBuildResult>::alloc0() };
    result.heap_tuples = built.table_rows;
    result.index_tuples = built.index_rows as f64;
    result.into_pg()
}

/// Writes an unlogged index's initial fork: an index without rows, to which a crash resets it.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    // SAFETY: the server passes an open index whose initial fork exists and is empty.
    unsafe { build_empty(index) }.or_raise();
}

struct Built {
    table_rows: f64,
    index_rows: u64,
}

/// # Safety
/// As `ambuild`'s caller.
unsafe fn build(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
) -> Result<Built> {
    // SAFETY: as the caller's.
    let plan = unsafe { Plan::new(table, index) }?;
    // SAFETY: as the caller's.
    let sample = unsafe { Sample::draw(table, index, index_info, &plan) }?;
    let mut backend = policy::build_backend(work(&plan, &sample))?;
    let centroids = cluster(&plan, &sample, &mut *backend)?;
    drop(sample);
    Phase::Assigning.report(0.0);
    let mut nearest = backend.nearest(
        &centroids,
        plan.dims(),
        plan.nearest_by(),
        &mut interrupt::keep_waiting,
    )?;
    // SAFETY: as the caller's.
    let assigned = unsafe { parallel::assign(table, index, index_info, &plan, &centroids, &mut *nearest) }?;
    drop(nearest);
    let meta = plan.meta(assigned.rows());
    if assigned.rows() < u64::from(plan.lists) {
        notice_little_data(assigned.rows());
    }
    let (table_rows, index_rows) = (assigned.table_rows(), assigned.rows());
    // SAFETY: the index is open and new, so its main fork is empty.
    unsafe { write::write(index, meta, &centroids, assigned) }?;
    Ok(Built {
        table_rows,
        index_rows,
    })
}

fn work(plan: &Plan, sample: &Sample) -> BuildWork {
    let (dims, lists) = (plan.dims() as f64, f64::from(plan.lists));
    let vectors = sample.rows() as f64 * plan::KMEANS_ITERATIONS as f64 + plan.estimated_rows;
    BuildWork {
        multiply_adds: vectors * dims * lists,
        bytes: vectors * dims * 4.0,
    }
}

fn cluster(
    plan: &Plan,
    sample: &Sample,
    backend: &mut dyn vectorgpu_core::backend::Backend,
) -> Result<Vec<f32>> {
    Phase::Kmeans.report(0.0);
    let mut progress = |fraction: f32| {
        Phase::Kmeans.report(f64::from(fraction));
    };
    kmeans::kmeans(
        backend,
        &plan.kmeans(sample.vectors()),
        &mut progress,
        &mut interrupt::keep_waiting,
    )
}

fn notice_little_data(rows: u64) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        format!("ivf index created with little data: {rows} rows"),
        "vectorgpu",
    )
    .set_detail("This will cause low recall.")
    .set_hint("Drop the index until the table has more data.")
    .report(PgLogLevel::NOTICE);
}

/// # Safety
/// As `ambuildempty`'s caller.
unsafe fn build_empty(index: pg_sys::Relation) -> Result<()> {
    // SAFETY: as the caller's.
    let plan = unsafe { Plan::for_empty(index) }?;
    let mut backend = vectorgpu_core::cpu::CpuBackend::new();
    let centroids = kmeans::kmeans(
        &mut backend,
        &plan.kmeans(&[]),
        &mut |_| {},
        &mut interrupt::keep_waiting,
    )?;
    let meta: Meta = plan.meta(0);
    // SAFETY: as the caller's.
    let sink = unsafe { BulkFork::new(index, pg_sys::ForkNumber::INIT_FORKNUM) };
    Builder::new(sink, meta, &centroids, vec![0; plan.lists as usize])?
        .finish()?
        .finish();
    Ok(())
}
