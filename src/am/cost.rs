//! `amcostestimate`: what the planner believes a scan costs.
//!
//! The planner's estimate of the alternative, a sequential scan and sort, leaves out what it costs to read vectors
//! that are TOASTed, so an index that holds the same vectors in its own pages must not be charged for them either:
//! its pages weigh as much as the table's pages do for the vectors they stand for. Source of the idea: pgvector's
//! ivfflatcostestimate.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::store::PageStore;

use super::scan::probes_of;
use crate::error::OrRaise;
use crate::pg::store::PgStore;

/// Operator calls' worth of opening a scan: metapage, directory, ranking.
const START_OPERATIONS: f64 = 100.0;

#[expect(clippy::too_many_arguments, reason = "the server's signature")]
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amcostestimate(
    _root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    _loop_count: f64,
    startup_cost: *mut pg_sys::Cost,
    total_cost: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    index_pages: *mut f64,
) {
    // SAFETY: the server passes a valid path and places for the results.
    unsafe {
        let info = (*path).indexinfo;
        let cost = if (*path).indexorderbys.is_null() {
            Cost::NEVER
        } else {
            estimate(info).or_raise()
        };
        *startup_cost = cost.startup;
        *total_cost = cost.total;
        *selectivity = 1.0;
        *correlation = 0.0;
        *index_pages = f64::from((*info).pages);
    }
}

#[derive(Clone, Copy)]
struct Cost {
    startup: f64,
    total: f64,
}

impl Cost {
    /// A path that must not be chosen.
    const NEVER: Self = Self {
        startup: f64::INFINITY,
        total: f64::INFINITY,
    };
}

/// # Safety
/// `info` is a valid IndexOptInfo of an ivf index.
unsafe fn estimate(info: *mut pg_sys::IndexOptInfo) -> Result<Cost> {
    // SAFETY: as the caller's; the planner holds a lock on the index.
    let (table, rows, pages) = unsafe { ((*info).rel, (*info).tuples.max(1.0), f64::from((*info).pages)) };
    // SAFETY: as above.
    let table_pages = unsafe { f64::from((*table).pages) };
    let (mut random, mut sequential) = (0.0, 0.0);
    // SAFETY: fills in two numbers.
    unsafe { pg_sys::get_tablespace_page_costs((*info).reltablespace, &mut random, &mut sequential) };
    // SAFETY: settings of this process.
    let (operation, tuple) = unsafe { (pg_sys::cpu_operator_cost, pg_sys::cpu_index_tuple_cost) };
    // SAFETY: as the caller's.
    let (meta, probes) = unsafe { read_index((*info).indexoid) }?;
    let (lists, fixed_pages) = (f64::from(meta.lists), f64::from(meta.groups_first));
    let list_pages = (pages - fixed_pages).max(1.0);
    let weight = (table_pages.max(1.0) / list_pages).min(1.0);
    let share = (f64::from(probes) / lists).min(1.0);
    let scan = list_pages * weight * sequential + rows * operation;
    let ranking = fixed_pages * weight * sequential + (lists + START_OPERATIONS) * operation;
    let startup = ranking + f64::from(probes) * weight * random + share * scan;
    Ok(Cost {
        startup,
        total: startup + (1.0 - share) * scan + rows * tuple,
    })
}

/// # Safety
/// `oid` is an ivf index that the planner has locked.
unsafe fn read_index(oid: pg_sys::Oid) -> Result<(Meta, u32)> {
    // SAFETY: locked by the planner, closed below.
    let index = unsafe { pg_sys::index_open(oid, pg_sys::NoLock as pg_sys::LOCKMODE) };
    // SAFETY: open until the end of this function.
    let store = unsafe { PgStore::new(index, std::ptr::null_mut()) };
    let meta = store.share(0).and_then(|page| Meta::read(&page));
    let result = meta.map(|meta| (meta, probes_of(index, &meta)));
    // SAFETY: opened above.
    unsafe { pg_sys::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE) };
    result
}
