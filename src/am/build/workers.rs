//! How many parallel workers a build asks for.

use pgrx::pg_sys;

use super::assign::Source;
use super::plan::Plan;
use crate::pg::relation::pages_with_toast;

/// Sort memory that is worth a participant, as in the server's own index builds.
const PARTICIPANT_MEMORY_KB: i32 = 32 * 1024;

/// How many workers to ask for. The server's own rule looks at the table's main pages only; vectors mostly lie in
/// TOAST, so for a plain column those pages count too.
///
/// # Safety
/// As `ambuild`'s caller.
pub(super) unsafe fn worker_count(source: Source, plan: &Plan) -> i32 {
    let Source {
        table,
        index,
        index_info,
    } = source;
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
