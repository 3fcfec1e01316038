//! `ambuild`: sample, k-means, assign every row to a list, sort by list, write.

mod assign;
mod batches;
mod encoded;
mod parallel;
mod phase;
mod plan;
mod ranges;
mod readers;
mod sample;
mod segment;
mod slots;
mod workers;
mod write;

use std::sync::atomic::AtomicU64;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{PgBox, pg_sys};
use vectorgpu_core::backend::{Backend, Nearest};
use vectorgpu_core::crew::Crew;
use vectorgpu_core::estimate::AssignmentWork;
use vectorgpu_core::ivf::build::Placement;
use vectorgpu_core::{Result, kmeans};

use crate::error::OrRaise;
use crate::gpu::ledger::Job;
use crate::gpu::threads::crew_of;
use crate::gpu::{policy, residency};
use crate::logging;
use crate::pg::bulk::BulkFork;
use crate::pg::sort::Part;
use crate::pg::{interrupt, progress};
use assign::{Assigner, Source};
use batches::OwnBatch;
use parallel::Team;
use phase::{Phase, Tally};
use plan::Plan;
use ranges::{ListRanges, RangeSorts};
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
        residency::forget((*index).rd_id);
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
    let source = Source {
        table,
        index,
        index_info,
    };
    // SAFETY: as the caller's.
    let workers = unsafe { workers::worker_count(source, &plan) };
    // SAFETY: as the caller's.
    let sample = unsafe { Sample::draw(source, &plan, workers) }?;
    let (mut backend, book) = policy::build_backend(Job::Build, work(&plan, &sample))?;
    let centroids = cluster(&plan, &sample, &mut *backend, workers)?;
    drop(sample);
    Phase::Assigning.report(0.0);
    let nearest = backend.nearest(
        &centroids,
        plan.dims(),
        plan.nearest_by(),
        &mut interrupt::keep_waiting,
    )?;
    let patience_s = book.patience_s(assignment(&plan, 1.0));
    // SAFETY: as the caller's, here and below.
    let built = match unsafe { Team::start(source, &plan, &centroids, patience_s) } {
        // SAFETY: as above.
        Some(team) => unsafe { team.build(source, &plan, &centroids, nearest) },
        // SAFETY: as above.
        None => unsafe { build_alone(source, &plan, &centroids, nearest) },
    }?;
    book.close();
    Ok(built)
}

/// Assigns, sorts and writes in this process.
///
/// # Safety
/// As `ambuild`'s caller.
unsafe fn build_alone(
    source: Source,
    plan: &Plan,
    centroids: &[f32],
    mut nearest: Box<dyn Nearest>,
) -> Result<Built> {
    let (assigned, written) = (AtomicU64::new(0), AtomicU64::new(0));
    let tally = Tally::shown(Phase::Assigning, &assigned, plan.estimated_rows);
    let sorts = RangeSorts::begin(ListRanges::new(plan.lists, 1), plan.memory_kb, |_| Part::Whole);
    let mut batch = OwnBatch::new(plan.dims(), &mut *nearest);
    let mut assigner = Assigner::new(plan, centroids, &mut batch, sorts, tally);
    // SAFETY: as the caller's; a NULL scan makes the server start its own.
    let table_rows = unsafe { assigner.scan(source, std::ptr::null_mut()) }?;
    let (mut sorts, list_rows) = assigner.finish();
    drop(nearest);
    sorts.perform();
    let placement = place(plan, list_rows)?;
    announce_writing(&placement);
    let tally = Tally::shown(Phase::Writing, &written, placement.rows() as f64);
    // SAFETY: the index is open and new, so its main fork is empty.
    let mut fork = unsafe { BulkFork::new(source.index, pg_sys::ForkNumber::MAIN_FORKNUM) };
    placement.write_front(&mut fork, centroids)?;
    write::write_lists(fork, &placement, 0..plan.lists, sorts.into_whole(), tally)?;
    Ok(Built {
        table_rows,
        index_rows: placement.rows(),
    })
}

/// Where lists of `list_rows` rows lie; the same in every participant.
fn place(plan: &Plan, list_rows: Vec<u64>) -> Result<Placement> {
    Placement::new(plan.meta(list_rows.iter().sum()), list_rows)
}

fn announce_writing(placement: &Placement) {
    if placement.rows() < u64::from(placement.lists()) {
        notice_little_data(placement.rows());
    }
    Phase::Writing.report(0.0);
    progress::tuples_total(placement.rows());
}

/// The sample is sent once for all iterations, where a GPU holds it.
fn work(plan: &Plan, sample: &Sample) -> AssignmentWork {
    let sampled = sample.rows() as f64;
    AssignmentWork {
        bytes: assignment(plan, sampled + plan.estimated_rows).bytes,
        ..assignment(plan, sampled * kmeans::ITERATIONS as f64 + plan.estimated_rows)
    }
}

/// Finding the lists of `rows` rows.
fn assignment(plan: &Plan, rows: f64) -> AssignmentWork {
    let (dims, lists) = (plan.dims() as f64, f64::from(plan.lists));
    AssignmentWork {
        multiply_adds: rows * dims * lists,
        bytes: rows * dims * 4.0,
    }
}

/// Uses as many threads as the workers that will assign, and this one; those start later.
fn cluster(plan: &Plan, sample: &Sample, backend: &mut dyn Backend, workers: i32) -> Result<Vec<f32>> {
    Phase::Kmeans.report(0.0);
    let mut progress = |fraction: f32| {
        Phase::Kmeans.report(f64::from(fraction));
    };
    kmeans::kmeans(
        backend,
        crew_of(workers),
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
        Crew::ALONE,
        &plan.kmeans(&[]),
        &mut |_| {},
        &mut interrupt::keep_waiting,
    )?;
    let placement = place(&plan, vec![0; plan.lists as usize])?;
    // SAFETY: as the caller's.
    let mut fork = unsafe { BulkFork::new(index, pg_sys::ForkNumber::INIT_FORKNUM) };
    placement.write_front(&mut fork, &centroids)?;
    fork.finish();
    Ok(())
}
