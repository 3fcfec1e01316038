//! `ambulkdelete` and `amvacuumcleanup`.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::layout::{Meta, Tid};
use vectorgpu_core::ivf::stats::index_stats;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::ivf::vacuum::bulk_delete;

use crate::error::OrRaise;
use crate::pg::store::PgStore;

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn ambulkdelete(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    callback_state: *mut c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    let stats = allocated(stats);
    // SAFETY: the server passes an open index and a strategy that outlive the call.
    let store = unsafe { PgStore::new((*info).index, (*info).strategy) };
    let callback = callback.expect("VACUUM always passes a callback");
    let mut is_dead = |tid: Tid| {
        let mut item = pg_sys::ItemPointerData::default();
        pgrx::itemptr::item_pointer_set_all(&mut item, tid.block(), tid.offset());
        // SAFETY: the server's callback takes a TID and the state it was passed with.
        unsafe { callback(&mut item, callback_state) }
    };
    let done = bulk_delete(&store, &mut is_dead).or_raise();
    // SAFETY: `stats` is not NULL and this call's own.
    unsafe {
        (*stats).tuples_removed += done.removed as f64;
        (*stats).num_index_tuples = done.left as f64;
        (*stats).estimated_count = false;
    }
    stats
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amvacuumcleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: the server passes a valid struct.
    if unsafe { (*info).analyze_only } {
        return stats;
    }
    let fresh = stats.is_null();
    let stats = allocated(stats);
    // SAFETY: the server passes an open index and a strategy that outlive the call.
    let store = unsafe { PgStore::new((*info).index, (*info).strategy) };
    let sizes = sizes(&store, fresh).or_raise();
    // SAFETY: `stats` is not NULL and this call's own.
    unsafe {
        (*stats).num_pages = sizes.pages;
        (*stats).pages_free = sizes.free_pages;
        (*stats).pages_deleted = sizes.free_pages;
        if let Some(rows) = sizes.rows {
            (*stats).num_index_tuples = rows as f64;
            (*stats).estimated_count = false;
        }
    }
    stats
}

struct Sizes {
    pages: u32,
    free_pages: u32,
    rows: Option<u64>,
}

fn sizes(store: &PgStore, count_rows: bool) -> Result<Sizes> {
    let meta = Meta::read(&store.share(0)?)?;
    let rows = if count_rows {
        Some(index_stats(store, &meta)?.rows)
    } else {
        None
    };
    let free_pages = meta.free_groups.saturating_mul(meta.shape().group_blocks());
    Ok(Sizes {
        pages: store.blocks()?,
        free_pages,
        rows,
    })
}

fn allocated(stats: *mut pg_sys::IndexBulkDeleteResult) -> *mut pg_sys::IndexBulkDeleteResult {
    if !stats.is_null() {
        return stats;
    }
    // SAFETY: zeroed memory of that size in the current context, or an error.
    unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexBulkDeleteResult>()).cast() }
}
