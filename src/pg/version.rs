//! What versions of the server call by different names, or lack: PostgreSQL 14 to 18, of which 14 was compiled, and never run. The rest
//! of the crate is the same for all of them.

use std::ffi::CStr;

use pgrx::pg_sys;

/// What a relation's files are called by.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub(super) type FileNode = pg_sys::RelFileNode;
/// What a relation's files are called by.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub(super) type FileNode = pg_sys::RelFileLocator;

/// What the relation's files are called by.
///
/// # Safety
/// `relation` is open.
pub(super) unsafe fn file_node(relation: pg_sys::Relation) -> FileNode {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as the caller's.
    let node = unsafe { (*relation).rd_node };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: as the caller's.
    let node = unsafe { (*relation).rd_locator };
    node
}

/// Tablespace, database and number of the files.
pub(super) fn numbers_of(node: FileNode) -> [u32; 3] {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let numbers = [node.spcNode, node.dbNode, node.relNode];
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let numbers = [node.spcOid, node.dbOid, node.relNumber];
    numbers.map(pg_sys::Oid::to_u32)
}

/// The subtransaction that gave the relation new files, if that is one of the current transaction.
///
/// # Safety
/// `relation` is open.
pub(super) unsafe fn new_files_in(relation: pg_sys::Relation) -> pg_sys::SubTransactionId {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as the caller's.
    let subtransaction = unsafe { (*relation).rd_firstRelfilenodeSubid };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: as the caller's.
    let subtransaction = unsafe { (*relation).rd_firstRelfilelocatorSubid };
    subtransaction
}

/// The session's counts of the relation, if there are some.
///
/// # Safety
/// `relation` is open, and nothing else refers to its counts meanwhile.
unsafe fn counts<'a>(relation: pg_sys::Relation) -> Option<&'a mut pg_sys::PgStat_TableCounts> {
    // SAFETY: as the caller's; NULL where nothing is counted.
    let status = unsafe { (*relation).pgstat_info.as_mut() }?;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let counts = &mut status.t_counts;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let counts = &mut status.counts;
    Some(counts)
}

/// `pgstat_count_buffer_read` and `pgstat_count_buffer_hit`.
///
/// # Safety
/// `relation` is open.
pub(super) unsafe fn count_buffer_hit(relation: pg_sys::Relation) {
    // SAFETY: as the caller's; the reference is gone with this call.
    if let Some(counts) = unsafe { counts(relation) } {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        {
            counts.t_blocks_fetched += 1;
            counts.t_blocks_hit += 1;
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        {
            counts.blocks_fetched += 1;
            counts.blocks_hit += 1;
        }
    }
}

/// `pgstat_count_index_scan`.
///
/// # Safety
/// `index` is open.
pub(crate) unsafe fn count_index_scan(index: pg_sys::Relation) {
    // From 15 on the counts are there once something is to be counted.
    #[cfg(not(feature = "pg14"))]
    // SAFETY: as the caller's; the macro of pgstat.h does the same.
    unsafe {
        if (*index).pgstat_info.is_null() && (*index).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(index);
        }
    }
    // SAFETY: as the caller's; the reference is gone with this call.
    if let Some(counts) = unsafe { counts(index) } {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        {
            counts.t_numscans += 1;
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        {
            counts.numscans += 1;
        }
    }
}

/// Whether rows may be removed that an old snapshot sees (`old_snapshot_threshold`, until 16).
pub(super) fn snapshots_end() -> bool {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: a setting of the server.
    let ends = unsafe { pg_sys::old_snapshot_threshold } >= 0;
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    let ends = false;
    ends
}

/// The attribute at `place`, counted from 0, of a row's description.
///
/// # Safety
/// `row` is valid and has so many.
pub(crate) unsafe fn attribute<'a>(
    row: pg_sys::TupleDesc,
    place: usize,
) -> &'a pg_sys::FormData_pg_attribute {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller's.
    let attribute = unsafe { &(*row).attrs.as_slice(place + 1)[place] };
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller's; the full attributes lie behind the compact ones (tupdesc.h, TupleDescAttr).
    let attribute = unsafe {
        let count = usize::try_from((*row).natts).unwrap_or_default();
        let full = (*row).compact_attrs.as_ptr().add(count);
        &*full.cast::<pg_sys::FormData_pg_attribute>().add(place)
    };
    attribute
}

/// Has the planner take any other path, a sequential scan that is switched off included. Before 18 an infinite cost does that.
///
/// # Safety
/// `path` is being costed.
pub(crate) unsafe fn disable(path: *mut pg_sys::Path) {
    #[cfg(not(feature = "pg18"))]
    let _ = path;
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller's. The number counts before costs do, and a scan that is switched off has one.
    unsafe {
        (*path).disabled_nodes = 2;
    }
}

/// `index_beginscan` for one order-by key and no condition.
///
/// # Safety
/// Both relations are open until the scan has ended; `snapshot` is valid as long.
pub(crate) unsafe fn begin_ordered_scan(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
) -> pg_sys::IndexScanDesc {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller's.
    let scan = unsafe { pg_sys::index_beginscan(table, index, snapshot, 0, 1) };
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller's; nobody wants to know what the scan took.
    let scan = unsafe { pg_sys::index_beginscan(table, index, snapshot, std::ptr::null_mut(), 0, 1) };
    scan
}

/// Says that settings which begin with `prefix` and a dot are all known: from now on others are refused (14: those that
/// the configuration has already are warned of).
///
/// # Safety
/// Called from `_PG_init`, after they are defined.
pub(crate) unsafe fn reserve_settings(prefix: &CStr) {
    #[cfg(feature = "pg14")]
    // SAFETY: as the caller's.
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: as the caller's.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

/// Has the rows of a set-returning function kept by the server: `InitMaterializedSRF`, which 14 lacks.
///
/// # Safety
/// `call` is a valid call.
pub(super) unsafe fn keep_rows(call: pg_sys::FunctionCallInfo) {
    #[cfg(not(feature = "pg14"))]
    // SAFETY: as the caller's.
    unsafe {
        pg_sys::InitMaterializedSRF(call, 0);
    }
    #[cfg(feature = "pg14")]
    // SAFETY: as the caller's; the description and the store live as long as the query (funcapi.c of 15).
    unsafe {
        let info = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        let is_set_info = !info.is_null() && (*info).type_ == pg_sys::NodeTag::T_ReturnSetInfo;
        let kept = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
        if !is_set_info || (*info).allowedModes.cast_unsigned() & kept == 0 {
            crate::error::raise(&vectorgpu_core::Error::new(
                vectorgpu_core::ErrorKind::Unsupported,
                "set-valued function called in context that cannot accept a set",
            ));
        }
        let before = pg_sys::MemoryContextSwitchTo((*(*info).econtext).ecxt_per_query_memory);
        let mut row = std::ptr::null_mut();
        let class = pg_sys::get_call_result_type(call, std::ptr::null_mut(), &mut row);
        assert_eq!(
            class,
            pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE,
            "every set is one of records"
        );
        let random = (*info).allowedModes.cast_unsigned()
            & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random
            != 0;
        (*info).returnMode = kept;
        (*info).setResult = pg_sys::tuplestore_begin_heap(random, false, pg_sys::work_mem);
        (*info).setDesc = row;
        pg_sys::MemoryContextSwitchTo(before);
    }
}

/// What `tuplesort_begin_heap` is told by who reads what is sorted once, from the first row to the last.
#[cfg(feature = "pg14")]
pub(super) const SORT_ONCE: bool = false;
/// What `tuplesort_begin_heap` is told by who reads what is sorted once, from the first row to the last.
#[cfg(not(feature = "pg14"))]
pub(super) const SORT_ONCE: std::ffi::c_int = pg_sys::TUPLESORT_NONE.cast_signed();

/// A seed as `BlockSampler_Init` takes it.
#[cfg(feature = "pg14")]
pub(crate) fn sampler_seed(seed: u32) -> std::ffi::c_long {
    seed.into()
}
/// A seed as `BlockSampler_Init` takes it.
#[cfg(not(feature = "pg14"))]
pub(crate) const fn sampler_seed(seed: u32) -> u32 {
    seed
}

/// `shm_mq_send`, which waits for room, and need not tell the receiver at once.
///
/// # Safety
/// `queue` is attached by this process, its sender.
pub(crate) unsafe fn send_message(
    queue: *mut pg_sys::shm_mq_handle,
    message: &[u8],
) -> pg_sys::shm_mq_result::Type {
    let data = message.as_ptr().cast();
    let give_up = false;
    #[cfg(feature = "pg14")]
    // SAFETY: as the caller's; the bytes are read during the call.
    let result = unsafe { pg_sys::shm_mq_send(queue, message.len(), data, give_up) };
    #[cfg(not(feature = "pg14"))]
    // SAFETY: as the caller's; the bytes are read during the call.
    let result = unsafe { pg_sys::shm_mq_send(queue, message.len(), data, give_up, false) };
    result
}
