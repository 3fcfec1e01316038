//! A table's column of vectors, read row by row.

use pgrx::pg_sys;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::pg::table_scan::TableColumn;
use crate::types::vector::Vector;

/// Bytes of a row besides its vector: two headers, a line pointer, a number.
const ROW_BYTES: usize = 44;

/// An open column whose type is `vector`.
pub(super) struct VectorColumn(TableColumn);

impl VectorColumn {
    /// Opens the column `name` of `relation`; `vector_type` is the type `vector`.
    ///
    /// # Errors
    /// As [`TableColumn::open`], and `InvalidArgument` for a column of another type.
    pub(super) fn open(relation: pg_sys::Oid, name: &str, vector_type: pg_sys::Oid) -> Result<Self> {
        let column = TableColumn::open(relation, name)?;
        if column.type_oid() == vector_type {
            return Ok(Self(column));
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("column \"{name}\" is not of type vector"),
        ))
    }

    /// About how many rows the table has, where that is known.
    pub(super) fn estimated_rows(&self) -> Option<u64> {
        self.0.estimated_rows()
    }

    /// About how many rows the table has: where that is not known, as many vectors of `dims` dimensions as fill its pages.
    pub(super) fn rows_about(&self, dims: usize) -> f64 {
        let by_pages = || {
            let bytes = self.0.pages_with_toast() as f64 * f64::from(pg_sys::BLCKSZ);
            bytes / (size_of::<f32>() * dims + ROW_BYTES) as f64
        };
        self.estimated_rows().map_or_else(by_pages, |rows| rows as f64)
    }

    /// Hands every visible row that has a vector to `take`.
    ///
    /// # Errors
    /// What `take` reports.
    pub(super) fn for_each(&self, take: &mut dyn FnMut(Tid, &[f32]) -> Result<()>) -> Result<()> {
        self.0.for_each(&mut |(block, offset), value| {
            #[expect(unsafe_code, reason = "a column says its type only at run time")]
            // SAFETY: the column's type was checked; the value lives as long as this call.
            let vector = unsafe { Vector::from_datum(value) }?;
            take(Tid::new(block, offset), &vector)
        })
    }
}
