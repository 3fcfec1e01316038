//! A build with parallel workers: they read, assign, sort and write, and the leader does as much as one of them.
//!
//! Every participant puts each row into the sort of its list's range. When all have done so, the number of rows of
//! every list is known, and with it every block number; then each takes range after range, merges what all have put
//! into its sort, and writes its lists where they belong. Workers compute on the CPU; where the leader has a GPU, they hand
//! it the rows whose lists are to be found. Source: nbtsort.c in PostgreSQL
//! 15, where only the leader merges; a tuplesort lets any process that is attached to it do so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::backend::{Backend, Nearest};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::ivf::build::Placement;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::assign::{Assigner, Source};
use super::batches::{Batches, HandedBatches, LeaderBatches, OwnBatch};
use super::phase::{Phase, Tally};
use super::plan::Plan;
use super::ranges::RangeSorts;
use super::segment::{Segment, TeamShape};
use super::slots::SlotShape;
use super::workers::worker_count;
use super::{Built, announce_writing, place, write};
use crate::error::OrRaise;
use crate::pg::bulk::{self, BulkFork};
use crate::pg::interrupt;
use crate::pg::sort::{Part, RowSort};

/// Memory of a merge for each participant's rows. The server divides all that it gets into read buffers: with more, they are new memory,
/// written and read once; with less than some 300 kB, it would merge in several passes.
const MERGE_KB: i32 = 512;

/// A parallel build whose workers run.
pub(super) struct Team {
    leader: Leader,
    segment: Segment<'static>,
    participants: u32,
}

struct Leader {
    context: *mut pg_sys::ParallelContext,
    snapshot: pg_sys::Snapshot,
}

impl Team {
    /// Starts workers; `None` when none are wanted or none could be had. With `patience_s`, the leader has a GPU, to which
    /// workers hand their rows over; they wait for so many seconds a row until it begins with them.
    ///
    /// # Safety
    /// As `ambuild`'s caller.
    pub(super) unsafe fn start(
        source: Source,
        plan: &Plan,
        centroids: &[f32],
        patience_s: Option<f64>,
    ) -> Option<Self> {
        // SAFETY: as the caller's.
        let workers = unsafe { worker_count(source, plan) };
        if workers <= 0 {
            return None;
        }
        // SAFETY: the sequence of nbtsort.c; the segment is not used after the leader has ended.
        unsafe {
            pg_sys::EnterParallelMode();
            let context = pg_sys::CreateParallelContext(
                c"vectorgpu".as_ptr(),
                c"vectorgpu_build_worker".as_ptr(),
                workers,
            );
            let snapshot = if (*source.index_info).ii_Concurrent {
                pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot())
            } else {
                (&raw mut pg_sys::SnapshotAnyData).cast()
            };
            let leader = Leader { context, snapshot };
            let team = team_shape(plan, workers.cast_unsigned(), patience_s);
            let made = Segment::create(context, source, snapshot, plan, centroids, team);
            let Some(segment) = made else {
                leader.end();
                return None;
            };
            pg_sys::LaunchParallelWorkers(context);
            let launched = (*context).nworkers_launched;
            if launched <= 0 {
                leader.end();
                return None;
            }
            pgrx::debug1!("using {launched} parallel workers");
            Some(Self {
                leader,
                segment,
                participants: launched.cast_unsigned() + 1,
            })
        }
    }

    /// Builds the index, taking part, and ends the workers.
    ///
    /// # Errors
    /// `DataException` for a row of other dimensions, `LimitExceeded` for an index that would be too large; what the
    /// device reports.
    ///
    /// # Safety
    /// As `ambuild`'s caller.
    pub(super) unsafe fn build(
        self,
        source: Source,
        plan: &Plan,
        centroids: &[f32],
        mut nearest: Box<dyn Nearest>,
    ) -> Result<Built> {
        let (segment, shared) = (self.segment, self.segment.shared);
        let tally = Tally::shown(Phase::Assigning, &shared.assigned_rows, plan.estimated_rows);
        let mut batches = LeaderBatches::new(segment.slots, plan.dims(), &mut *nearest);
        // SAFETY: the relations are open.
        let assigned = unsafe { assign(segment, source, plan, &mut batches, tally) }?;
        // SAFETY: the context lives. A worker that never started would be waited for without end below.
        unsafe { pg_sys::WaitForParallelWorkersToAttach(self.leader.context) };
        // Workers wait for their last rows' lists, so this process sorts its own only then.
        let all_labelled = || shared.labelled.load(Ordering::SeqCst) == self.participants;
        while segment.slots.is_some() && !all_labelled() {
            interrupt::check();
            batches.serve()?;
            shared.wait_until(|| {
                tally.show();
                all_labelled() || batches.is_awaited()
            });
        }
        if segment.slots.is_some() {
            pgrx::debug1!("found lists for {} rows of workers", batches.served());
        }
        drop(batches);
        drop(nearest);
        assigned.sort(segment);
        shared.wait_until(|| {
            tally.show();
            shared.sorted.load(Ordering::SeqCst) == self.participants
        });
        let placement = place(plan, segment.list_rows())?;
        announce_writing(&placement);
        // SAFETY: the index is open and its main fork empty; workers do not write before `merged` is set.
        unsafe { bulk::reserve(source.index, placement.blocks()) };
        shared.merged.store(self.participants, Ordering::SeqCst);
        shared.announce();
        // SAFETY: the index is open; workers write behind what lies before the first list.
        let mut front = unsafe { BulkFork::within(source.index, 0, shared.logged) };
        placement.write_front(&mut front, centroids)?;
        front.finish();
        let tally = Tally::shown(Phase::Writing, &shared.written_rows, placement.rows() as f64);
        // SAFETY: as above.
        unsafe { write_ranges(segment, source.index, &placement, tally) }?;
        shared.wait_until(|| {
            tally.show();
            shared.written_ranges.load(Ordering::SeqCst) == shared.ranges().count()
        });
        let built = Built {
            table_rows: shared.table_rows.load(Ordering::SeqCst) as f64,
            index_rows: placement.rows(),
        };
        // SAFETY: made by `start`, ended once; nothing uses the segment after this.
        unsafe { self.leader.end() };
        Ok(built)
    }
}

impl Leader {
    /// Ends the workers and parallel mode.
    ///
    /// # Safety
    /// Once, with nothing using the segment any more.
    unsafe fn end(self) {
        // SAFETY: as the caller's; the sequence of nbtsort.c.
        unsafe {
            if !(*self.context).seg.is_null() {
                pg_sys::WaitForParallelWorkersToFinish(self.context);
            }
            if (*self.snapshot).snapshot_type == pg_sys::SnapshotType::SNAPSHOT_MVCC {
                pg_sys::UnregisterSnapshot(self.snapshot);
            }
            pg_sys::DestroyParallelContext(self.context);
            pg_sys::ExitParallelMode();
        }
    }
}

fn team_shape(plan: &Plan, workers: u32, patience_s: Option<f64>) -> TeamShape {
    let memory_bytes = usize::try_from(plan.memory_kb).unwrap_or(0).saturating_mul(1024);
    let slots = patience_s.and_then(|_| SlotShape::new(workers as usize, plan.dims(), memory_bytes));
    let rows = slots.map_or(0, SlotShape::rows) as f64;
    let patience = Duration::try_from_secs_f64(rows * patience_s.unwrap_or_default());
    TeamShape {
        workers,
        slots,
        patience: patience.unwrap_or(Duration::MAX),
    }
}

/// A participant's rows, in the sorts of their lists' ranges.
struct Assigned {
    sorts: RangeSorts,
    /// Of each list.
    list_rows: Vec<u64>,
    /// Rows of the table that it has seen.
    seen: f64,
}

/// Reads a participant's share of the table, finds the lists of its rows, and says so.
///
/// # Safety
/// The relations are open.
unsafe fn assign(
    segment: Segment<'_>,
    source: Source,
    plan: &Plan,
    batches: &mut dyn Batches,
    tally: Tally<'_>,
) -> Result<Assigned> {
    let shared = segment.shared;
    let part = |range| Part::Worker(segment.sort(range));
    let sorts = RangeSorts::begin(shared.ranges(), shared.work_mem_kb, part);
    let mut assigner = Assigner::new(plan, segment.centroids, batches, sorts, tally);
    // SAFETY: as the caller's; the scan is ended by the server's function that `scan` calls.
    let seen = unsafe {
        let scan = pg_sys::table_beginscan_parallel(source.table, segment.scan);
        assigner.scan(source, scan)
    }?;
    let (sorts, list_rows) = assigner.finish();
    shared.labelled.fetch_add(1, Ordering::SeqCst);
    shared.announce();
    Ok(Assigned {
        sorts,
        list_rows,
        seen,
    })
}

impl Assigned {
    /// Sorts the rows, counts them, and says so.
    fn sort(mut self, segment: Segment<'_>) {
        let shared = segment.shared;
        self.sorts.perform();
        self.sorts.end();
        segment.add_list_rows(&self.list_rows);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of rows"
        )]
        shared.table_rows.fetch_add(self.seen as u64, Ordering::SeqCst);
        shared.sorted.fetch_add(1, Ordering::SeqCst);
        shared.announce();
    }
}

/// Writes ranges of lists until every one is taken.
///
/// # Safety
/// The index is open, its main fork has its final length, and every participant's rows are sorted.
unsafe fn write_ranges(
    segment: Segment<'_>,
    index: pg_sys::Relation,
    placement: &Placement,
    tally: Tally<'_>,
) -> Result<()> {
    let shared = segment.shared;
    let participants = shared.merged.load(Ordering::SeqCst).cast_signed();
    while let Some(range) = shared.claim() {
        let lists = shared.ranges().lists(range);
        let part = Part::Leader(segment.sort(range), participants);
        let memory_kb = participants.saturating_mul(MERGE_KB).min(shared.work_mem_kb);
        let mut merge = RowSort::begin(part, memory_kb);
        merge.perform();
        // SAFETY: as the caller's; nobody else has claimed the range, whose lists lie in blocks of their own.
        let fork = unsafe { BulkFork::within(index, placement.first_block(lists.start), shared.logged) };
        write::write_lists(fork, placement, lists, merge, tally)?;
        shared.written_ranges.fetch_add(1, Ordering::SeqCst);
        shared.announce();
    }
    Ok(())
}

/// Entry point of a parallel worker; named in `start`.
#[unsafe(no_mangle)]
#[pg_guard]
pub(crate) unsafe extern "C-unwind" fn vectorgpu_build_worker(
    segment: *mut pg_sys::dsm_segment,
    toc: *mut pg_sys::shm_toc,
) {
    // SAFETY: the server calls this in a worker of a context that `start` made.
    unsafe { work(Segment::attach(segment, toc)) }.or_raise();
}

/// # Safety
/// As `vectorgpu_build_worker`'s caller.
unsafe fn work(segment: Segment<'_>) -> Result<()> {
    let shared = segment.shared;
    let (table_lock, index_lock) = locks(shared.concurrent);
    // SAFETY: the leader's relations exist and are locked in the worker's lock group.
    let source = unsafe {
        let table = pg_sys::table_open(shared.table, table_lock);
        let index = pg_sys::index_open(shared.index, index_lock);
        let index_info = pg_sys::BuildIndexInfo(index);
        (*index_info).ii_Concurrent = shared.concurrent;
        Source {
            table,
            index,
            index_info,
        }
    };
    let plan = shared.plan()?;
    let mut nearest = CpuBackend::new().nearest(
        segment.centroids,
        plan.dims(),
        plan.nearest_by(),
        &mut interrupt::keep_waiting,
    )?;
    let tally = Tally::silent(Phase::Assigning, &shared.assigned_rows);
    let mut own;
    let mut handed;
    let batches: &mut dyn Batches = match segment.slots {
        Some(slots) => {
            // SAFETY: set once when the process starts.
            let number = unsafe { pg_sys::ParallelWorkerNumber };
            let number =
                usize::try_from(number).map_err(|_| Error::new(ErrorKind::Internal, "not a worker"))?;
            handed = HandedBatches::new(slots.of_worker(number), shared.patience, &mut *nearest);
            &mut handed
        }
        None => {
            own = OwnBatch::new(plan.dims(), &mut *nearest);
            &mut own
        }
    };
    // SAFETY: opened above.
    unsafe { assign(segment, source, &plan, batches, tally) }?.sort(segment);
    drop(nearest);
    shared.wait_until(|| shared.merged.load(Ordering::SeqCst) > 0);
    let placement = place(&plan, segment.list_rows())?;
    let tally = Tally::silent(Phase::Writing, &shared.written_rows);
    // SAFETY: the leader has set `merged` after it made the fork as long as it will be.
    unsafe { write_ranges(segment, source.index, &placement, tally) }?;
    // SAFETY: opened above, closed once.
    unsafe {
        pg_sys::index_close(source.index, index_lock);
        pg_sys::table_close(source.table, table_lock);
    }
    Ok(())
}

/// The locks that the leader holds on table and index.
fn locks(concurrent: bool) -> (pg_sys::LOCKMODE, pg_sys::LOCKMODE) {
    if concurrent {
        (
            pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE,
            pg_sys::RowExclusiveLock as pg_sys::LOCKMODE,
        )
    } else {
        (
            pg_sys::ShareLock as pg_sys::LOCKMODE,
            pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}
