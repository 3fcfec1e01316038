//! A column of a table, read row by row under the active snapshot.

use std::ffi::CString;

use pgrx::itemptr::item_pointer_get_both;
use pgrx::pg_sys;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::interrupt;
use super::relation::{
    check_not_foreign, check_row_security, check_select, estimated_rows, pages_with_toast, relation_name,
};

/// An open table or materialised view and one of its columns; its lock is held to the end of the transaction.
pub(crate) struct TableColumn {
    table: pg_sys::Relation,
    attribute: pg_sys::AttrNumber,
    type_oid: pg_sys::Oid,
}

impl TableColumn {
    /// Opens the table `oid` for reading its column `name`.
    ///
    /// # Errors
    /// `InvalidArgument` for what has no rows of its own or no such column, `Unsupported` for a table with row-level
    /// security or of another session; the server's own error when the caller may not read it.
    pub(crate) fn open(oid: pg_sys::Oid, name: &str) -> Result<Self> {
        check_select(oid);
        // SAFETY: the server raises an error where the OID is no table's.
        let table = unsafe { pg_sys::table_open(oid, pg_sys::AccessShareLock.cast_signed()) };
        // Closed by its drop, if one of the checks fails.
        let mut open = Self {
            table,
            attribute: 0,
            type_oid: pg_sys::InvalidOid,
        };
        open.check_kind()?;
        check_row_security(table)?;
        let missing = || {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "column \"{name}\" of relation \"{}\" does not exist",
                    relation_name(table)
                ),
            )
        };
        let name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: a catalog look-up; 0 when there is no such column.
        open.attribute = unsafe { pg_sys::get_attnum(oid, name.as_ptr()) };
        if open.attribute <= 0 {
            return Err(missing());
        }
        // SAFETY: as above; a domain has the values of its base type.
        open.type_oid = unsafe { pg_sys::getBaseType(pg_sys::get_atttype(oid, open.attribute)) };
        Ok(open)
    }

    fn check_kind(&self) -> Result<()> {
        // SAFETY: the table is open.
        let kind = unsafe { (*(*self.table).rd_rel).relkind }.cast_unsigned();
        let name = relation_name(self.table);
        if kind != pg_sys::RELKIND_RELATION && kind != pg_sys::RELKIND_MATVIEW {
            let error = Error::new(
                ErrorKind::InvalidArgument,
                format!("relation \"{name}\" is not a table or materialized view"),
            );
            return Err(if kind == pg_sys::RELKIND_PARTITIONED_TABLE {
                error.with_hint("Name a partition; pg_partition_tree lists them.")
            } else {
                error
            });
        }
        check_not_foreign(self.table, "table")
    }

    /// The column's type; its base type where it is a domain.
    pub(crate) fn type_oid(&self) -> pg_sys::Oid {
        self.type_oid
    }

    /// Rows of the table as of the last VACUUM or ANALYZE, if there was one.
    pub(crate) fn estimated_rows(&self) -> Option<u64> {
        estimated_rows(self.table)
    }

    /// Pages of the table and of what is TOASTed of it.
    pub(crate) fn pages_with_toast(&self) -> u64 {
        // SAFETY: the table is open.
        unsafe { pages_with_toast(self.table) }
    }

    /// Hands every visible row's TID (block, offset) and value to `take`, NULLs left out.
    ///
    /// # Errors
    /// What `take` reports.
    pub(crate) fn for_each(
        &self,
        take: &mut dyn FnMut((u32, u16), pg_sys::Datum) -> Result<()>,
    ) -> Result<()> {
        let mut scan = Scan::begin(self.table);
        while let Some((tid, value)) = scan.next(self.attribute) {
            interrupt::check();
            if let Some(value) = value {
                take(tid, value)?;
            }
        }
        Ok(())
    }
}

impl Drop for TableColumn {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: opened in `open`, closed once; the lock stays until the transaction ends.
        unsafe { pg_sys::table_close(self.table, pg_sys::NoLock as pg_sys::LOCKMODE) };
    }
}

struct Scan {
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Scan {
    fn begin(table: pg_sys::Relation) -> Self {
        // SAFETY: the table is open; a function runs with an active snapshot.
        let scan =
            unsafe { pg_sys::table_beginscan(table, pg_sys::GetActiveSnapshot(), 0, std::ptr::null_mut()) };
        // SAFETY: the table is open; without a list the slot is the caller's to free.
        let slot = unsafe { pg_sys::table_slot_create(table, std::ptr::null_mut()) };
        Self { scan, slot }
    }

    /// The next row and its value, `None` for NULL.
    fn next(&mut self, attribute: pg_sys::AttrNumber) -> Option<((u32, u16), Option<pg_sys::Datum>)> {
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: both are valid until they are dropped.
        if !unsafe { pg_sys::table_scan_getnextslot(self.scan, forward, self.slot) } {
            return None;
        }
        let mut is_null = false;
        // SAFETY: the slot holds a row, which has the attribute.
        let value = unsafe { pg_sys::slot_getattr(self.slot, attribute.into(), &raw mut is_null) };
        // SAFETY: as above.
        let tid = item_pointer_get_both(unsafe { (*self.slot).tts_tid });
        Some((tid, (!is_null).then_some(value)))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: both were made in `begin` and are given back once.
        unsafe {
            pg_sys::table_endscan(self.scan);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
        }
    }
}
