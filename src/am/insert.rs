//! `aminsert`: one row into its nearest list. Always on the CPU.

use pgrx::itemptr::item_pointer_get_both;
use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::ivf::layout::{Meta, Tid};
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::vector::check_expected_dims;

use super::opclass::indexed_by;
use crate::error::OrRaise;
use crate::pg::interrupt;
use crate::pg::store::PgStore;
use crate::types::elements::Elements;

#[expect(clippy::too_many_arguments, reason = "the server's signature")]
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn aminsert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    is_null: *mut bool,
    heap_tid: pg_sys::ItemPointer,
    _table: pg_sys::Relation,
    _check_unique: pg_sys::IndexUniqueCheck::Type,
    _index_unchanged: bool,
    _index_info: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: the server passes one value and its null flag for the one column.
    if !unsafe { *is_null } {
        let elements = indexed_by(index).or_raise().elements;
        let mut decoded = Vec::new();
        // SAFETY: as above; the value is of the operator class's type, unchanged during the call.
        let vector = unsafe { elements.read(*values, &mut decoded) }.or_raise();
        // SAFETY: the server passes a valid TID.
        let tid = tid_of(unsafe { *heap_tid });
        // SAFETY: the index is open during the call.
        let store = unsafe { PgStore::new(index, std::ptr::null_mut()) };
        insert(&store, tid, &vector).or_raise();
    }
    false
}

/// The server's TID as the index stores it.
pub(super) fn tid_of(tid: pg_sys::ItemPointerData) -> Tid {
    let (block, offset) = item_pointer_get_both(tid);
    Tid::new(block, offset)
}

fn insert(store: &PgStore, tid: Tid, value: &Elements<'_>) -> Result<()> {
    let meta = Meta::read(&store.share(0)?)?;
    check_expected_dims(meta.value_dims as usize, value.value_dims())?;
    vectorgpu_core::ivf::insert::insert(
        store,
        &meta,
        &mut CpuBackend::new(),
        tid,
        value.as_index_value(),
        &mut interrupt::keep_waiting,
    )
}
