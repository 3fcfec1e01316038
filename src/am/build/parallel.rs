//! The assignment, by this process alone or with parallel workers.
//!
//! Workers read the table, assign and sort their share on the CPU; the leader takes part and then merges. They get the
//! centroids through shared memory. Source of the protocol: nbtsort.c in PostgreSQL 15.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::backend::{Backend, Nearest};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::assign::Assigner;
use super::plan::Plan;
use crate::error::OrRaise;
use crate::pg::interrupt;
use crate::pg::sort::{Part, RowSort};

const KEY_SHARED: u64 = 1;
const KEY_TABLE_SCAN: u64 = 2;
const KEY_SORT: u64 = 3;
const KEY_CENTROIDS: u64 = 4;
const KEY_LIST_ROWS: u64 = 5;
/// Sort memory that is worth a participant, as in the server's own index builds.
const PARTICIPANT_MEMORY_KB: i32 = 32 * 1024;

/// All rows with their lists, sorted; to be drained once.
pub(super) struct Assigned {
    sort: RowSort,
    list_rows: Vec<u64>,
    table_rows: f64,
    leader: Option<Leader>,
}

/// What every participant has to know.
#[repr(C)]
struct Shared {
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    concurrent: bool,
    metric: u8,
    storage: u8,
    dims: u32,
    lists: u32,
    seed: u64,
    work_mem_kb: i32,
    finished: AtomicU32,
    table_rows: AtomicU64,
}

struct Leader {
    context: *mut pg_sys::ParallelContext,
    snapshot: pg_sys::Snapshot,
}

impl Assigned {
    /// Rows in the index.
    pub(super) fn rows(&self) -> u64 {
        self.list_rows.iter().sum()
    }

    /// Rows in the table.
    pub(super) fn table_rows(&self) -> f64 {
        self.table_rows
    }

    /// Rows of each list.
    pub(super) fn list_rows(&self) -> &[u64] {
        &self.list_rows
    }

    /// Calls `row(list, tid, payload)` in order of lists; then ends sort and workers.
    pub(super) fn drain(mut self, row: &mut dyn FnMut(u32, u64, &[u8])) {
        self.sort.drain(row);
        self.sort.end();
        if let Some(leader) = self.leader {
            // SAFETY: started by `start`, ended once; the sort no longer uses its shared memory.
            unsafe { leader.end() };
        }
    }
}

/// Assigns all rows of `table`.
///
/// # Errors
/// `DataException` for a row of other dimensions; what the device reports.
///
/// # Safety
/// As `ambuild`'s caller.
pub(super) unsafe fn assign(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
    plan: &Plan,
    centroids: &[f32],
    nearest: &mut dyn Nearest,
) -> Result<Assigned> {
    // SAFETY: as the caller's, here and below.
    let workers = unsafe { worker_count(table, index, index_info, plan) };
    if workers > 0 {
        // SAFETY: as above.
        let started = unsafe { start(table, index, index_info, plan, centroids, workers) };
        if let Some(team) = started {
            // SAFETY: as above.
            return unsafe { lead(team, table, index, index_info, plan, centroids, nearest) };
        }
    }
    let sort = RowSort::begin(Part::Whole, plan.memory_kb);
    let mut assigner = Assigner::new(plan, centroids, nearest, sort, true);
    // SAFETY: as above; a NULL scan makes the server start its own.
    let table_rows = unsafe { assigner.scan(table, index, index_info, std::ptr::null_mut()) }?;
    let (sort, list_rows) = assigner.finish();
    Ok(Assigned {
        sort,
        list_rows,
        table_rows,
        leader: None,
    })
}

/// How many workers to ask for. The server's own rule looks at the table's main pages only; vectors mostly lie in
/// TOAST, so for a plain column those pages count too.
///
/// # Safety
/// As `ambuild`'s caller.
unsafe fn worker_count(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
    plan: &Plan,
) -> i32 {
    // SAFETY: as the caller's.
    let (by_server, plain, pages) = unsafe {
        if (*(*table).rd_rel).relpersistence.cast_unsigned() == pg_sys::RELPERSISTENCE_TEMP {
            return 0;
        }
        let by_server = pg_sys::plan_create_index_workers((*table).rd_id, (*index).rd_id);
        let plain = (*index_info).ii_Expressions.is_null() && (*index_info).ii_Predicate.is_null();
        (by_server, plain, pages_with_toast(table))
    };
    // SAFETY: the options, if any, are a table's.
    let set = unsafe {
        let options = (*table).rd_options.cast::<pg_sys::StdRdOptions>();
        if options.is_null() {
            -1
        } else {
            (*options).parallel_workers
        }
    };
    if by_server > 0 || !plain || set >= 0 {
        return by_server;
    }
    // SAFETY: settings of this process.
    let (least_pages, most) = unsafe {
        (
            pg_sys::min_parallel_table_scan_size.cast_unsigned().max(1),
            pg_sys::max_parallel_maintenance_workers,
        )
    };
    let mut workers = 0;
    let mut threshold = u64::from(least_pages);
    while pages >= threshold && workers < most {
        workers += 1;
        threshold *= 3;
    }
    while workers > 0 && plan.memory_kb / (workers + 1) < PARTICIPANT_MEMORY_KB {
        workers -= 1;
    }
    workers
}

/// # Safety
/// `table` is open.
unsafe fn pages_with_toast(table: pg_sys::Relation) -> u64 {
    let pages = |relation| {
        // SAFETY: the caller's relation is open.
        u64::from(unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        })
    };
    // SAFETY: as the caller's; the TOAST table is opened and closed here.
    unsafe {
        let toast_oid = (*(*table).rd_rel).reltoastrelid;
        if toast_oid == pg_sys::InvalidOid {
            return pages(table);
        }
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let toast = pg_sys::table_open(toast_oid, lock);
        let both = pages(table) + pages(toast);
        pg_sys::table_close(toast, lock);
        both
    }
}

/// A parallel build whose workers run.
struct Team {
    leader: Leader,
    shared: *mut Shared,
    scan: pg_sys::ParallelTableScanDesc,
    sort: *mut pg_sys::Sharedsort,
    list_rows: *const AtomicU64,
    participants: i32,
}

/// Starts workers; `None` when none could be had.
///
/// # Safety
/// As `ambuild`'s caller.
unsafe fn start(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
    plan: &Plan,
    centroids: &[f32],
    workers: i32,
) -> Option<Team> {
    let lists = plan.lists as usize;
    // SAFETY: the sequence of nbtsort.c; every chunk is estimated before the segment is made.
    unsafe {
        pg_sys::EnterParallelMode();
        let context =
            pg_sys::CreateParallelContext(c"vectorgpu".as_ptr(), c"vectorgpu_build_worker".as_ptr(), workers);
        let concurrent = (*index_info).ii_Concurrent;
        let snapshot = if concurrent {
            pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot())
        } else {
            (&raw mut pg_sys::SnapshotAnyData).cast()
        };
        let leader = Leader { context, snapshot };
        let scan_bytes = pg_sys::table_parallelscan_estimate(table, snapshot);
        let sort_bytes = pg_sys::tuplesort_estimate_shared(workers + 1);
        let sizes = [
            size_of::<Shared>(),
            scan_bytes,
            sort_bytes,
            size_of_val(centroids),
            lists * size_of::<AtomicU64>(),
        ];
        for bytes in sizes {
            estimate(&raw mut (*context).estimator, bytes);
        }
        pg_sys::InitializeParallelDSM(context);
        if (*context).seg.is_null() {
            leader.end();
            return None;
        }
        let toc = (*context).toc;
        let shared: *mut Shared = allocate(toc, KEY_SHARED, sizes[0]).cast();
        shared.write(Shared {
            table: (*table).rd_id,
            index: (*index).rd_id,
            concurrent,
            metric: plan.metric.code(),
            storage: plan.storage.code(),
            dims: plan.dims,
            lists: plan.lists,
            seed: plan.seed,
            work_mem_kb: plan.memory_kb / (workers + 1),
            finished: AtomicU32::new(0),
            table_rows: AtomicU64::new(0),
        });
        let scan: pg_sys::ParallelTableScanDesc = allocate(toc, KEY_TABLE_SCAN, sizes[1]).cast();
        pg_sys::table_parallelscan_initialize(table, scan, snapshot);
        let sort: *mut pg_sys::Sharedsort = allocate(toc, KEY_SORT, sizes[2]).cast();
        pg_sys::tuplesort_initialize_shared(sort, workers + 1, (*context).seg);
        let shared_centroids: *mut f32 = allocate(toc, KEY_CENTROIDS, sizes[3]).cast();
        shared_centroids.copy_from_nonoverlapping(centroids.as_ptr(), centroids.len());
        let list_rows: *mut AtomicU64 = allocate(toc, KEY_LIST_ROWS, sizes[4]).cast();
        (0..lists).for_each(|list| list_rows.add(list).write(AtomicU64::new(0)));
        pg_sys::LaunchParallelWorkers(context);
        let launched = (*context).nworkers_launched;
        if launched == 0 {
            leader.end();
            return None;
        }
        pgrx::debug1!("using {launched} parallel workers");
        Some(Team {
            leader,
            shared,
            scan,
            sort,
            list_rows,
            participants: launched + 1,
        })
    }
}

/// The leader's own share, and the merge.
///
/// # Safety
/// As `ambuild`'s caller.
unsafe fn lead(
    team: Team,
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
    plan: &Plan,
    centroids: &[f32],
    nearest: &mut dyn Nearest,
) -> Result<Assigned> {
    let lists = plan.lists as usize;
    // SAFETY: the segment lives until the leader ends; the relations are open.
    unsafe {
        let shared = &*team.shared;
        let list_rows = std::slice::from_raw_parts(team.list_rows, lists);
        let sort = RowSort::begin(Part::Worker(team.sort), shared.work_mem_kb);
        let mut assigner = Assigner::new(plan, centroids, nearest, sort, true);
        take_part(&mut assigner, table, index, index_info, team.scan, shared)?;
        add_up(assigner, list_rows).end();
        pg_sys::WaitForParallelWorkersToFinish(team.leader.context);
        if shared.finished.load(Ordering::SeqCst).cast_signed() != team.participants {
            return Err(Error::new(
                ErrorKind::Internal,
                "a parallel worker of the index build did not finish",
            ));
        }
        let mut merge = RowSort::begin(Part::Leader(team.sort, team.participants), plan.memory_kb);
        merge.perform();
        let list_rows = list_rows.iter().map(|rows| rows.load(Ordering::SeqCst)).collect();
        let table_rows = shared.table_rows.load(Ordering::SeqCst) as f64;
        Ok(Assigned {
            sort: merge,
            list_rows,
            table_rows,
            leader: Some(team.leader),
        })
    }
}

/// # Safety
/// The relations are open and `scan` is the shared scan of the table.
unsafe fn take_part(
    assigner: &mut Assigner<'_>,
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
    scan: pg_sys::ParallelTableScanDesc,
    shared: &Shared,
) -> Result<()> {
    // SAFETY: as the caller's; table_index_build_scan ends the scan.
    let seen = unsafe {
        let scan = pg_sys::table_beginscan_parallel(table, scan);
        assigner.scan(table, index, index_info, scan)
    }?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of rows"
    )]
    shared.table_rows.fetch_add(seen as u64, Ordering::SeqCst);
    shared.finished.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

fn add_up(assigner: Assigner<'_>, list_rows: &[AtomicU64]) -> RowSort {
    let (sort, own) = assigner.finish();
    for (total, rows) in list_rows.iter().zip(own) {
        total.fetch_add(rows, Ordering::SeqCst);
    }
    sort
}

/// Entry point of a parallel worker; named in `start`.
#[unsafe(no_mangle)]
#[pg_guard]
pub(crate) unsafe extern "C-unwind" fn vectorgpu_build_worker(
    segment: *mut pg_sys::dsm_segment,
    toc: *mut pg_sys::shm_toc,
) {
    // SAFETY: the server calls this in a worker of a context that `start` made.
    unsafe { work(segment, toc) }.or_raise();
}

/// # Safety
/// As `vectorgpu_build_worker`'s caller.
unsafe fn work(segment: *mut pg_sys::dsm_segment, toc: *mut pg_sys::shm_toc) -> Result<()> {
    // SAFETY: the leader has put every key; the leader's relations exist and are locked in the worker's group.
    unsafe {
        let shared = &*pg_sys::shm_toc_lookup(toc, KEY_SHARED, false).cast::<Shared>();
        let lists = shared.lists as usize;
        let centroids: *const f32 = pg_sys::shm_toc_lookup(toc, KEY_CENTROIDS, false).cast();
        let centroids = std::slice::from_raw_parts(centroids, lists * shared.dims as usize);
        let list_rows: *const AtomicU64 = pg_sys::shm_toc_lookup(toc, KEY_LIST_ROWS, false).cast();
        let list_rows = std::slice::from_raw_parts(list_rows, lists);
        let scan: pg_sys::ParallelTableScanDesc = pg_sys::shm_toc_lookup(toc, KEY_TABLE_SCAN, false).cast();
        let sort: *mut pg_sys::Sharedsort = pg_sys::shm_toc_lookup(toc, KEY_SORT, false).cast();
        pg_sys::tuplesort_attach_shared(sort, segment);
        let (table_lock, index_lock) = locks(shared.concurrent);
        let table = pg_sys::table_open(shared.table, table_lock);
        let index = pg_sys::index_open(shared.index, index_lock);
        let index_info = pg_sys::BuildIndexInfo(index);
        (*index_info).ii_Concurrent = shared.concurrent;
        let plan = worker_plan(shared)?;
        let mut nearest = CpuBackend::new().nearest(
            centroids,
            plan.dims(),
            plan.nearest_by(),
            &mut interrupt::keep_waiting,
        )?;
        let sort = RowSort::begin(Part::Worker(sort), shared.work_mem_kb);
        let mut assigner = Assigner::new(&plan, centroids, &mut *nearest, sort, false);
        take_part(&mut assigner, table, index, index_info, scan, shared)?;
        add_up(assigner, list_rows).end();
        pg_sys::index_close(index, index_lock);
        pg_sys::table_close(table, table_lock);
    }
    Ok(())
}

fn worker_plan(shared: &Shared) -> Result<Plan> {
    Ok(Plan {
        metric: Metric::from_code(shared.metric)?,
        storage: Storage::from_code(shared.storage)?,
        dims: shared.dims,
        lists: shared.lists,
        seed: shared.seed,
        estimated_rows: 0.0,
        table_pages: 0,
        memory_kb: shared.work_mem_kb,
    })
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

/// `shm_toc_estimate_chunk` and `shm_toc_estimate_keys(1)`.
///
/// # Safety
/// `estimator` is a parallel context's.
unsafe fn estimate(estimator: *mut pg_sys::shm_toc_estimator, bytes: usize) {
    let bytes = bytes.next_multiple_of(pg_sys::ALIGNOF_BUFFER as usize);
    // SAFETY: as the caller's.
    unsafe {
        (*estimator).space_for_chunks += bytes;
        (*estimator).number_of_keys += 1;
    }
}

/// # Safety
/// `bytes` were estimated for `toc`.
unsafe fn allocate(toc: *mut pg_sys::shm_toc, key: u64, bytes: usize) -> *mut c_void {
    // SAFETY: as the caller's.
    unsafe {
        let memory = pg_sys::shm_toc_allocate(toc, bytes);
        pg_sys::shm_toc_insert(toc, key, memory);
        memory
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
            if (*self.snapshot).snapshot_type == pg_sys::SnapshotType::SNAPSHOT_MVCC {
                pg_sys::UnregisterSnapshot(self.snapshot);
            }
            if !(*self.context).seg.is_null() {
                pg_sys::WaitForParallelWorkersToFinish(self.context);
            }
            pg_sys::DestroyParallelContext(self.context);
            pg_sys::ExitParallelMode();
        }
    }
}
