//! `amcostestimate`: reads the server's numbers for [`vectorgpu_core::ivf::cost`], which says what a scan costs.
//!
//! A scan is dear beyond its first lists, which no straight line from the first row to the last can say. So where the
//! planner knows how many rows a query takes, that is used here: `limit_tuples`, as long as the index's table is the only one
//! of the query. `rows / tuples` of the table is the selectivity of its conditions.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::cost::{Cost, Prices, Scan, Table, scan_cost};
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::quantize::Summation;

use super::opclass::indexed_by;
use super::settings::ScanSettings;
use crate::error::OrRaise;
use crate::pg::store::PgStore;
use crate::pg::version;

#[expect(clippy::too_many_arguments, reason = "the server's signature")]
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amcostestimate(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    _loop_count: f64,
    startup_cost: *mut pg_sys::Cost,
    total_cost: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    index_pages: *mut f64,
) {
    // SAFETY: the server passes a valid query, path and places for the results.
    unsafe {
        let info = (*path).indexinfo;
        let cost = if (*path).indexorderbys.is_null() {
            version::disable(&raw mut (*path).path);
            NEVER
        } else {
            estimate(root, info).or_raise()
        };
        *startup_cost = cost.startup;
        *total_cost = cost.total;
        *selectivity = 1.0;
        *correlation = 0.0;
        *index_pages = f64::from((*info).pages);
    }
}

/// The cost of a path that must not be chosen.
const NEVER: Cost = Cost {
    startup: f64::INFINITY,
    total: f64::INFINITY,
};

/// # Safety
/// `root` is the query being planned, `info` is an ivf index of one of its tables.
unsafe fn estimate(root: *mut pg_sys::PlannerInfo, info: *mut pg_sys::IndexOptInfo) -> Result<Cost> {
    // SAFETY: as the caller's; the planner holds a lock on the index.
    let (meta, settings, summation) = unsafe { read_index((*info).indexoid) }?;
    // SAFETY: as the caller's.
    let (scan, table, prices) = unsafe {
        let scan = Scan {
            storage: meta.storage,
            dims: meta.dims,
            rows: (*info).tuples,
            lists: meta.lists,
            probes: settings.probes,
            max_probes: settings.max_probes,
            iterate: settings.iterate,
            wanted: wanted_rows(root),
            summation,
        };
        (scan, table_of(info), prices_of(info))
    };
    Ok(scan_cost(&scan, &table, &prices))
}

/// # Safety
/// As [`estimate`].
unsafe fn table_of(info: *mut pg_sys::IndexOptInfo) -> Table {
    // SAFETY: as the caller's; an index belongs to a table.
    let table = unsafe { &*(*info).rel };
    Table {
        pages: f64::from(table.pages),
        rows: table.tuples,
        kept: table.rows,
    }
}

/// Rows that the scan of the query's only table has to return; `None` when the planner does not know, or joins.
///
/// # Safety
/// As [`estimate`].
unsafe fn wanted_rows(root: *mut pg_sys::PlannerInfo) -> Option<f64> {
    // SAFETY: as the caller's; both are set before paths are made (grouping_planner, make_one_rel).
    let (limit, tables) = unsafe { ((*root).limit_tuples, pg_sys::bms_membership((*root).all_baserels)) };
    (limit > 0.0 && tables == pg_sys::BMS_Membership::BMS_SINGLETON).then_some(limit)
}

/// # Safety
/// As [`estimate`].
unsafe fn prices_of(info: *mut pg_sys::IndexOptInfo) -> Prices {
    let (mut table_page, mut index_page, mut index_random_page) = (0.0, 0.0, 0.0);
    // SAFETY: as the caller's; fills in numbers.
    unsafe {
        pg_sys::get_tablespace_page_costs(
            (*(*info).rel).reltablespace,
            std::ptr::null_mut(),
            &mut table_page,
        );
        pg_sys::get_tablespace_page_costs((*info).reltablespace, &mut index_random_page, &mut index_page);
    }
    // SAFETY: settings of this process.
    unsafe {
        Prices {
            table_page,
            index_page,
            index_random_page,
            tuple: pg_sys::cpu_tuple_cost,
            index_tuple: pg_sys::cpu_index_tuple_cost,
            operator: pg_sys::cpu_operator_cost,
        }
    }
}

/// # Safety
/// `oid` is an ivf index that the planner has locked.
unsafe fn read_index(oid: pg_sys::Oid) -> Result<(Meta, ScanSettings, Summation)> {
    // SAFETY: locked by the planner, closed below.
    let index = unsafe { pg_sys::index_open(oid, pg_sys::NoLock as pg_sys::LOCKMODE) };
    // SAFETY: open until the end of this function.
    let store = unsafe { PgStore::new(index, std::ptr::null_mut()) };
    let meta = store.share(0).and_then(|page| Meta::read(&page));
    let result = meta.and_then(|meta| {
        let settings = ScanSettings::of(index, &meta)?;
        Ok((meta, settings, indexed_by(index)?.summation))
    });
    // SAFETY: opened above.
    unsafe { pg_sys::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE) };
    result
}
