//! The shared memory of a parallel build: what every participant reads, counts in, and waits for.
//!
//! Invariant: the leader makes all of it before it launches workers; later changes are atomic, and those that somebody
//! may wait for are announced. Source of the protocol: nbtsort.c in PostgreSQL 15.

use std::cell::UnsafeCell;
use std::ffi::{c_long, c_void};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::assign::Source;
use super::plan::Plan;
use super::ranges::ListRanges;
use super::slots::{SlotShape, Slots};
use crate::pg::bulk;
use crate::types::elements::ElementType;

const KEY_SHARED: u64 = 1;
const KEY_TABLE_SCAN: u64 = 2;
const KEY_SORTS: u64 = 3;
const KEY_CENTROIDS: u64 = 4;
const KEY_LIST_ROWS: u64 = 5;
const KEY_SLOTS: u64 = 6;
/// How long a participant sleeps before it looks, and shows progress, again.
const WAIT_MS: c_long = 100;

/// What every participant has to know.
#[repr(C)]
pub(super) struct Shared {
    pub(super) table: pg_sys::Oid,
    pub(super) index: pg_sys::Oid,
    pub(super) concurrent: bool,
    /// Whether the index's pages go to the WAL; the leader's relation cache knows, a worker's may not.
    pub(super) logged: bool,
    metric: u8,
    elements: u8,
    storage: u8,
    dims: u32,
    value_dims: u32,
    lists: u32,
    ranges: u32,
    seed: u64,
    sort_bytes: usize,
    slots: Option<SlotShape>,
    /// How long a worker waits for the leader to begin with a slot.
    pub(super) patience: Duration,
    /// Slots that are handed over, and with nobody yet.
    pub(super) full_slots: AtomicU32,
    /// A participant's memory, for all its sorts or for the merge of one range.
    pub(super) work_mem_kb: i32,
    /// Participants that know the lists of all their rows, so that they hand over no more.
    pub(super) labelled: AtomicU32,
    /// Participants that have sorted all their rows.
    pub(super) sorted: AtomicU32,
    /// Participants whose rows are to be merged; 0 until the lists may be written.
    pub(super) merged: AtomicU32,
    next_range: AtomicU32,
    pub(super) written_ranges: AtomicU32,
    pub(super) table_rows: AtomicU64,
    pub(super) assigned_rows: AtomicU64,
    pub(super) written_rows: AtomicU64,
    changed: UnsafeCell<pg_sys::ConditionVariable>,
}

/// The segment, as this process sees it.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) shared: &'a Shared,
    pub(super) scan: pg_sys::ParallelTableScanDesc,
    pub(super) centroids: &'a [f32],
    /// Where workers hand rows to the leader, if they do.
    pub(super) slots: Option<Slots<'a>>,
    list_rows: &'a [AtomicU64],
    sorts: *mut c_void,
}

impl Shared {
    fn new(source: Source, plan: &Plan, team: TeamShape, sort_bytes: usize) -> Self {
        let participants = team.workers + 1;
        // SAFETY: the relations are open, and their creator is this process.
        let (table, index, concurrent, logged) = unsafe {
            (
                (*source.table).rd_id,
                (*source.index).rd_id,
                (*source.index_info).ii_Concurrent,
                bulk::relation_needs_wal(source.index),
            )
        };
        let mut changed = pg_sys::ConditionVariable::default();
        // SAFETY: initialises the variable, which holds no address of itself and may be moved.
        unsafe { pg_sys::ConditionVariableInit(&mut changed) };
        Self {
            table,
            index,
            concurrent,
            logged,
            metric: plan.metric.code(),
            elements: plan.elements.code(),
            storage: plan.storage.code(),
            dims: plan.dims,
            value_dims: plan.value_dims,
            lists: plan.lists,
            ranges: ListRanges::new(plan.lists, participants).count(),
            seed: plan.seed,
            sort_bytes,
            slots: team.slots,
            patience: team.patience,
            full_slots: AtomicU32::new(0),
            work_mem_kb: team.work_mem_kb(plan),
            labelled: AtomicU32::new(0),
            sorted: AtomicU32::new(0),
            merged: AtomicU32::new(0),
            next_range: AtomicU32::new(0),
            written_ranges: AtomicU32::new(0),
            table_rows: AtomicU64::new(0),
            assigned_rows: AtomicU64::new(0),
            written_rows: AtomicU64::new(0),
            changed: UnsafeCell::new(changed),
        }
    }

    /// A worker's view of the plan.
    ///
    /// # Errors
    /// `CorruptIndex` for codes that no leader writes.
    pub(super) fn plan(&self) -> Result<Plan> {
        Ok(Plan {
            metric: Metric::from_code(self.metric)?,
            elements: ElementType::from_code(self.elements)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "unknown type of elements"))?,
            storage: Storage::from_code(self.storage)?,
            dims: self.dims,
            value_dims: self.value_dims,
            lists: self.lists,
            seed: self.seed,
            estimated_rows: 0.0,
            table_pages: 0,
            memory_kb: self.work_mem_kb,
        })
    }

    /// How lists are cut into ranges.
    pub(super) fn ranges(&self) -> ListRanges {
        ListRanges::new(self.lists, self.ranges)
    }

    /// Takes the next range that nobody writes yet.
    pub(super) fn claim(&self) -> Option<u32> {
        let range = self.next_range.fetch_add(1, Ordering::SeqCst);
        (range < self.ranges).then_some(range)
    }

    /// Wakes all who wait in [`Shared::wait_until`].
    pub(super) fn announce(&self) {
        // SAFETY: initialised by `new`; the server guards it by its own lock.
        unsafe { pg_sys::ConditionVariableBroadcast(self.changed.get()) };
    }

    /// Sleeps until `ready` says so, which is asked after each announcement and every 100 ms. Processes interrupts,
    /// and so raises what another participant has raised.
    pub(super) fn wait_until(&self, ready: impl FnMut() -> bool) {
        self.wait_for(Duration::MAX, ready);
    }

    /// As [`Shared::wait_until`], but not longer than about `patience`; whether it is ready.
    pub(super) fn wait_for(&self, patience: Duration, mut ready: impl FnMut() -> bool) -> bool {
        let started = Instant::now();
        let mut is_ready = true;
        let event = pg_sys::WaitEventIPC::WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN;
        // SAFETY: as in `announce`; preparing before the first look makes sure that no announcement is missed. An
        // error that leaves the sleep cancels it when the transaction aborts.
        unsafe {
            pg_sys::ConditionVariablePrepareToSleep(self.changed.get());
            while !ready() {
                let left = patience.saturating_sub(started.elapsed());
                if left.is_zero() {
                    is_ready = false;
                    break;
                }
                let left_ms = c_long::try_from(left.as_millis()).unwrap_or(c_long::MAX);
                let wait_ms = left_ms.clamp(1, WAIT_MS);
                pg_sys::ConditionVariableTimedSleep(self.changed.get(), wait_ms, event);
            }
            pg_sys::ConditionVariableCancelSleep();
        }
        is_ready
    }
}

/// Who takes part in a build, and how.
#[derive(Clone, Copy)]
pub(super) struct TeamShape {
    pub(super) workers: u32,
    /// Where workers hand rows to the leader, if they do.
    pub(super) slots: Option<SlotShape>,
    /// How long a worker waits for the leader to begin with a slot.
    pub(super) patience: Duration,
}

impl TeamShape {
    /// A participant's memory: slots take theirs from all of it.
    fn work_mem_kb(self, plan: &Plan) -> i32 {
        let slots_kb = self.slots.map_or(0, |slots| slots.bytes().div_ceil(1024));
        let left_kb = plan.memory_kb - i32::try_from(slots_kb).unwrap_or(i32::MAX);
        left_kb.max(0) / i32::try_from(self.workers + 1).unwrap_or(i32::MAX)
    }
}

/// A segment's chunks, in bytes.
struct Sizes {
    scan: usize,
    /// Of one range's sort.
    sort: usize,
    sorts: usize,
    centroids: usize,
    list_rows: usize,
    slots: usize,
}

impl<'a> Segment<'a> {
    /// Makes and fills the segment of `context`; `None` when there was no segment to be had. `snapshot` is the scan's.
    ///
    /// # Safety
    /// `context` is new; the result is used only while it lives.
    pub(super) unsafe fn create(
        context: *mut pg_sys::ParallelContext,
        source: Source,
        snapshot: pg_sys::Snapshot,
        plan: &Plan,
        centroids: &[f32],
        team: TeamShape,
    ) -> Option<Self> {
        let participants = team.workers + 1;
        let workers = participants.cast_signed();
        let ranges = ListRanges::new(plan.lists, participants).count();
        // SAFETY: the sequence of nbtsort.c; every chunk is estimated before the segment is made, and every reference
        // points to memory that was written first.
        unsafe {
            let sort =
                pg_sys::tuplesort_estimate_shared(workers).next_multiple_of(pg_sys::ALIGNOF_BUFFER as usize);
            let sizes = Sizes {
                scan: pg_sys::table_parallelscan_estimate(source.table, snapshot),
                sort,
                sorts: sort * ranges as usize,
                centroids: size_of_val(centroids),
                list_rows: plan.lists as usize * size_of::<AtomicU64>(),
                slots: team.slots.map_or(0, SlotShape::bytes),
            };
            sizes.estimate(&raw mut (*context).estimator);
            pg_sys::InitializeParallelDSM(context);
            if (*context).seg.is_null() {
                return None;
            }
            let toc = (*context).toc;
            let shared: *mut Shared = allocate(toc, KEY_SHARED, size_of::<Shared>()).cast();
            shared.write(Shared::new(source, plan, team, sizes.sort));
            let shared: &Shared = &*shared;
            let scan: pg_sys::ParallelTableScanDesc = allocate(toc, KEY_TABLE_SCAN, sizes.scan).cast();
            pg_sys::table_parallelscan_initialize(source.table, scan, snapshot);
            let sorts = allocate(toc, KEY_SORTS, sizes.sorts);
            for range in 0..ranges as usize {
                let sort = sorts.byte_add(range * sizes.sort).cast();
                pg_sys::tuplesort_initialize_shared(sort, workers, (*context).seg);
            }
            let shared_centroids: *mut f32 = allocate(toc, KEY_CENTROIDS, sizes.centroids).cast();
            shared_centroids.copy_from_nonoverlapping(centroids.as_ptr(), centroids.len());
            let list_rows: *mut AtomicU64 = allocate(toc, KEY_LIST_ROWS, sizes.list_rows).cast();
            (0..plan.lists as usize).for_each(|list| list_rows.add(list).write(AtomicU64::new(0)));
            let slots = team.slots.map(|shape| {
                let memory = allocate(toc, KEY_SLOTS, sizes.slots).cast();
                Slots::create(shared, shape, memory)
            });
            Some(Self {
                shared,
                scan,
                slots,
                centroids: std::slice::from_raw_parts(shared_centroids, centroids.len()),
                list_rows: std::slice::from_raw_parts(list_rows, plan.lists as usize),
                sorts,
            })
        }
    }

    /// The segment that the leader made, in a worker.
    ///
    /// # Safety
    /// `segment` and `toc` are what the server passed to the worker; the result is used only while it runs.
    pub(super) unsafe fn attach(segment: *mut pg_sys::dsm_segment, toc: *mut pg_sys::shm_toc) -> Self {
        // SAFETY: `create` has put every key, with the lengths that `Shared` tells.
        unsafe {
            let shared = &*pg_sys::shm_toc_lookup(toc, KEY_SHARED, false).cast::<Shared>();
            let centroids: *const f32 = pg_sys::shm_toc_lookup(toc, KEY_CENTROIDS, false).cast();
            let list_rows: *const AtomicU64 = pg_sys::shm_toc_lookup(toc, KEY_LIST_ROWS, false).cast();
            let lists = shared.lists as usize;
            let slots = shared.slots.map(|shape| {
                let memory = pg_sys::shm_toc_lookup(toc, KEY_SLOTS, false).cast();
                Slots::attach(shared, shape, memory)
            });
            let attached = Self {
                shared,
                scan: pg_sys::shm_toc_lookup(toc, KEY_TABLE_SCAN, false).cast(),
                slots,
                centroids: std::slice::from_raw_parts(centroids, lists * shared.dims as usize),
                list_rows: std::slice::from_raw_parts(list_rows, lists),
                sorts: pg_sys::shm_toc_lookup(toc, KEY_SORTS, false),
            };
            for range in 0..shared.ranges {
                pg_sys::tuplesort_attach_shared(attached.sort(range), segment);
            }
            attached
        }
    }

    /// The shared state of the sort of range `range`.
    pub(super) fn sort(&self, range: u32) -> *mut pg_sys::Sharedsort {
        assert!(range < self.shared.ranges);
        // SAFETY: `create` made so many sorts, one after the other.
        unsafe {
            self.sorts
                .byte_add(range as usize * self.shared.sort_bytes)
                .cast()
        }
    }

    /// Adds one participant's rows of each list.
    pub(super) fn add_list_rows(&self, own: &[u64]) {
        for (total, rows) in self.list_rows.iter().zip(own) {
            total.fetch_add(*rows, Ordering::SeqCst);
        }
    }

    /// All participants' rows of each list.
    pub(super) fn list_rows(&self) -> Vec<u64> {
        self.list_rows
            .iter()
            .map(|rows| rows.load(Ordering::SeqCst))
            .collect()
    }
}

impl Sizes {
    /// `shm_toc_estimate_chunk` and `shm_toc_estimate_keys` for each chunk.
    ///
    /// # Safety
    /// `estimator` is a parallel context's.
    unsafe fn estimate(&self, estimator: *mut pg_sys::shm_toc_estimator) {
        let chunks = [
            size_of::<Shared>(),
            self.scan,
            self.sorts,
            self.centroids,
            self.list_rows,
            self.slots,
        ];
        for bytes in chunks {
            // SAFETY: as the caller's.
            unsafe {
                (*estimator).space_for_chunks += bytes.next_multiple_of(pg_sys::ALIGNOF_BUFFER as usize);
                (*estimator).number_of_keys += 1;
            }
        }
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
