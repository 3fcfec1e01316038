//! A table's column of vectors, read row by row.

use pgrx::pg_sys;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::am::indexed_by;
use crate::pg::relation::OpenIndex;
use crate::pg::table_scan::TableColumn;
use crate::types::elements::ElementType;

/// Bytes of a row besides its vector: two headers, a line pointer, a number.
const ROW_BYTES: usize = 44;

/// An open column of vectors.
pub(super) struct VectorColumn {
    column: TableColumn,
    elements: ElementType,
}

impl VectorColumn {
    /// Opens the column `name` of `relation`, of type `vector`, which is `vector_type`, or of the `halfvec` beside that.
    ///
    /// # Errors
    /// As [`TableColumn::open`], and `InvalidArgument` for a column of another type.
    pub(super) fn open(relation: pg_sys::Oid, name: &str, vector_type: pg_sys::Oid) -> Result<Self> {
        let column = TableColumn::open(relation, name)?;
        let elements = if column.type_oid() == vector_type {
            ElementType::Single
        } else if column.type_oid() == type_beside(vector_type, c"halfvec") {
            ElementType::Half
        } else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("column \"{name}\" is not of type vector or halfvec"),
            ));
        };
        Ok(Self { column, elements })
    }

    /// Opens the column `name` of `relation` for a search of `index`, whose column is of the same type.
    ///
    /// # Errors
    /// As [`TableColumn::open`], and `InvalidArgument` for a column of another type; what the operator class reports.
    pub(super) fn open_for(relation: pg_sys::Oid, name: &str, index: &OpenIndex) -> Result<Self> {
        let column = TableColumn::open(relation, name)?;
        if column.type_oid() == index.input_type() {
            let elements = indexed_by(index.index())?.elements;
            return Ok(Self { column, elements });
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "column \"{name}\" is not of type {}, which index \"{}\" is on",
                type_name(index.input_type()),
                index.name()
            ),
        ))
    }

    /// What its values are.
    pub(super) fn elements(&self) -> ElementType {
        self.elements
    }

    /// About how many rows the table has, where that is known.
    pub(super) fn estimated_rows(&self) -> Option<u64> {
        self.column.estimated_rows()
    }

    /// About how many rows the table has: where that is not known, as many vectors of `dims` dimensions as fill its pages.
    pub(super) fn rows_about(&self, dims: usize) -> f64 {
        let by_pages = || {
            let bytes = self.column.pages_with_toast() as f64 * f64::from(pg_sys::BLCKSZ);
            bytes / (size_of::<f32>() * dims + ROW_BYTES) as f64
        };
        self.estimated_rows().map_or_else(by_pages, |rows| rows as f64)
    }

    /// Hands every visible row that has a vector to `take`.
    ///
    /// # Errors
    /// What `take` reports.
    pub(super) fn for_each(&self, take: &mut dyn FnMut(Tid, &[f32]) -> Result<()>) -> Result<()> {
        let mut decoded = Vec::new();
        self.column.for_each(&mut |(block, offset), value| {
            #[expect(unsafe_code, reason = "a column says its type only at run time")]
            // SAFETY: the column's type was checked; the value lives as long as this call.
            let vector = unsafe { self.elements.read(value, &mut decoded) }?;
            take(Tid::new(block, offset), &vector)
        })
    }
}

/// The type of that name in the schema of `other`; `InvalidOid` when there is none.
#[expect(unsafe_code, reason = "catalog look-ups of the server")]
fn type_beside(other: pg_sys::Oid, name: &std::ffi::CStr) -> pg_sys::Oid {
    let id = |cache: pg_sys::SysCacheIdentifier::Type| cache.cast_signed();
    // SAFETY: looks up a pg_type row; NULL when there is none, which a type of an argument cannot be.
    let schema = unsafe {
        let tuple = pg_sys::SearchSysCache1(
            id(pg_sys::SysCacheIdentifier::TYPEOID),
            pg_sys::Datum::from(other),
        );
        if tuple.is_null() {
            return pg_sys::InvalidOid;
        }
        let schema = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_type>(tuple)).typnamespace;
        pg_sys::ReleaseSysCache(tuple);
        schema
    };
    // SAFETY: a NUL-terminated name; the first column of pg_type is the OID.
    unsafe {
        pg_sys::GetSysCacheOid(
            id(pg_sys::SysCacheIdentifier::TYPENAMENSP),
            1,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    }
}

/// Its name as SQL writes it.
#[expect(unsafe_code, reason = "a function of the server")]
fn type_name(oid: pg_sys::Oid) -> String {
    // SAFETY: returns a NUL-terminated string of the current context, whatever the number.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::format_type_be(oid)) }
        .to_string_lossy()
        .into_owned()
}
