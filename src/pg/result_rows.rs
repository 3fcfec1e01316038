//! The rows of a set-returning function, kept by the server: in memory up to `work_mem`, then in a file.

use super::version;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// Where a function puts its rows: a virtual argument of a function declared to return a set of records.
///
/// The server raises its own error where the caller does not take a set.
pub(crate) struct ResultRows {
    store: *mut pg_sys::Tuplestorestate,
    row: pg_sys::TupleDesc,
}

/// A value of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// `int4`.
    Int4(i32),
    /// `int8`.
    Int8(i64),
    /// `float8`.
    Float8(f64),
    /// `tid`: block, offset.
    Tid((u32, u16)),
    /// A value of any type, which is copied.
    Datum(pg_sys::Datum),
}

impl ResultRows {
    /// The declared type of a column, counted from 0.
    ///
    /// # Panics
    /// When there is no such column.
    pub(crate) fn type_of(&self, column: usize) -> pg_sys::Oid {
        // SAFETY: the descriptor lives as long as the call, and is followed by as many attributes as it says.
        unsafe {
            let columns = usize::try_from((*self.row).natts).unwrap_or_default();
            assert!(column < columns, "a column of the row");
            version::attribute(self.row, column).atttypid
        }
    }

    /// Adds a row without NULLs.
    ///
    /// # Panics
    /// When its columns are not as many as the function declares.
    pub(crate) fn push<const N: usize>(&mut self, columns: [Column; N]) {
        // SAFETY: the descriptor lives as long as the call.
        let declared = unsafe { (*self.row).natts };
        assert_eq!(usize::try_from(declared), Ok(N), "columns of a row");
        let mut tids = [pg_sys::ItemPointerData::default(); N];
        let mut values = [pg_sys::Datum::null(); N];
        for ((value, tid), column) in values.iter_mut().zip(&mut tids).zip(columns) {
            *value = match column {
                Column::Int4(number) => pg_sys::Datum::from(number),
                Column::Int8(number) => pg_sys::Datum::from(number),
                Column::Datum(datum) => datum,
                Column::Float8(number) => pg_sys::Datum::from(number.to_bits()),
                Column::Tid((block, offset)) => {
                    item_pointer_set_all(tid, block, offset);
                    pg_sys::Datum::from(&raw mut *tid)
                }
            };
        }
        let mut nulls = [false; N];
        // SAFETY: both arrays have as many entries as the row has columns, and what they point to is copied.
        unsafe {
            pg_sys::tuplestore_putvalues(self.store, self.row, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
    }
}

// SAFETY: reads the call that the argument belongs to, and none of its arguments.
unsafe impl<'fcx> ArgAbi<'fcx> for ResultRows {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: every call has its call info.
        let call = unsafe { arg.unbox_unchecked::<pg_sys::FunctionCallInfo>() };
        // SAFETY: a valid call.
        unsafe { version::keep_rows(call) };
        // SAFETY: the call above has checked that there is one.
        let info = unsafe { &*(*call).resultinfo.cast::<pg_sys::ReturnSetInfo>() };
        Self {
            store: info.setResult,
            row: info.setDesc,
        }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: not an argument in SQL.
unsafe impl SqlTranslatable for ResultRows {
    const TYPE_IDENT: &'static str = "vectorgpu_result_rows";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}
