//! What versions of the server call by different names, or lack: PostgreSQL 14 to 18, of which 14 and 16 were not compiled yet. The rest of the crate is the same for all
//! of them.

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
