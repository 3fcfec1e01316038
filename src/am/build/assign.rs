//! Gives every row of the table its list: gathers rows into batches, encodes them into the sort.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::encode::RowEncoder;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::vector::check_expected_dims;

use super::batches::Batches;
use super::encoded::EncodedRows;
use super::phase::Tally;
use super::plan::Plan;
use super::ranges::RangeSorts;
use crate::am::insert::tid_of;
use crate::error::OrRaise;
use crate::types::elements::{ElementType, Elements};

/// The table, its new index, and what the server says of it.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) table: pg_sys::Relation,
    pub(super) index: pg_sys::Relation,
    pub(super) index_info: *mut pg_sys::IndexInfo,
}

/// One participant's part of the assignment.
pub(super) struct Assigner<'a> {
    dims: usize,
    elements: ElementType,
    value_dims: usize,
    encoder: RowEncoder,
    /// Of the rows whose lists are not known yet, where what is stored does not follow from the vectors in `batches`.
    encoded: EncodedRows,
    centroids: &'a [f32],
    batches: &'a mut dyn Batches,
    sorts: RangeSorts,
    list_rows: Vec<u64>,
    tally: Tally<'a>,
    /// Memory for the elements of a row.
    decoded: Vec<f32>,
}

impl<'a> Assigner<'a> {
    /// A participant that puts its rows into `sorts`; `batches` find the nearest of `centroids` for them.
    pub(super) fn new(
        plan: &Plan,
        centroids: &'a [f32],
        batches: &'a mut dyn Batches,
        sorts: RangeSorts,
        tally: Tally<'a>,
    ) -> Self {
        Self {
            dims: plan.dims(),
            elements: plan.elements,
            value_dims: plan.value_dims as usize,
            encoder: RowEncoder::new(&plan.meta(0)),
            encoded: EncodedRows::default(),
            centroids,
            batches,
            sorts,
            list_rows: vec![0; plan.lists as usize],
            tally,
            decoded: Vec::new(),
        }
    }

    /// Scans the table, or this participant's share of a parallel scan, which it ends; returns the table rows seen.
    ///
    /// # Safety
    /// The relations are open; `scan` is NULL or a parallel scan of the table.
    pub(super) unsafe fn scan(&mut self, source: Source, scan: pg_sys::TableScanDesc) -> Result<f64> {
        let state: *mut c_void = std::ptr::from_mut(self).cast();
        let (allow_sync, progress) = (true, self.tally.is_shown());
        // SAFETY: as the caller's; `state` outlives the scan and only the callback uses it meanwhile.
        let seen = unsafe {
            pg_sys::table_index_build_scan(
                source.table,
                source.index,
                source.index_info,
                allow_sync,
                progress,
                Some(take),
                state,
                scan,
            )
        };
        while self.batches.has_rows() {
            self.flush()?;
        }
        Ok(seen)
    }

    /// Ends the part: the sorts, which are still to be performed, and how many of its rows went to each list.
    pub(super) fn finish(self) -> (RangeSorts, Vec<u64>) {
        (self.sorts, self.list_rows)
    }

    fn take(&mut self, tid: Tid, value: &Elements<'_>) -> Result<()> {
        check_expected_dims(self.value_dims, value.value_dims())?;
        if self.batches.is_full() {
            self.flush()?;
        }
        if let Some(sparse) = value.as_index_value().sparse {
            self.encoded.push(&self.encoder.encode_sparse(tid, sparse)?);
        }
        self.batches.push(tid, value)
    }

    /// Sorts the rows whose lists are known by now.
    fn flush(&mut self) -> Result<()> {
        let Some(batch) = self.batches.turn()? else {
            return Ok(());
        };
        let rows = batch.vectors.chunks_exact(self.dims);
        for ((tid, vector), list) in batch.tids.iter().zip(rows).zip(batch.lists) {
            if let Some(row) = self.encoded.next() {
                self.sorts.put(*list, *tid, [row, &[], &[]]);
            } else {
                let centroid = &self.centroids[*list as usize * self.dims..][..self.dims];
                let row = self.encoder.encode(*tid, vector, *list, centroid)?;
                let payload = [bytemuck::cast_slice(row.factors), row.filter, row.code];
                self.sorts.put(*list, *tid, payload);
            }
            self.list_rows[*list as usize] += 1;
        }
        self.tally.add(batch.tids.len() as u64);
        self.encoded.forget();
        self.batches.clear();
        Ok(())
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn take(
    _index: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    is_null: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // SAFETY: the server passes one value and its null flag; `state` is the assigner that `scan` passed.
    let (value, is_null, assigner) = unsafe { (*values, *is_null, &mut *state.cast::<Assigner<'_>>()) };
    if is_null {
        return;
    }
    // SAFETY: the server passes a valid TID.
    let tid = tid_of(unsafe { *tid });
    let mut decoded = std::mem::take(&mut assigner.decoded);
    // SAFETY: the value is of the operator class's type, unchanged during this call.
    let vector = unsafe { assigner.elements.read(value, &mut decoded) };
    let taken = vector.and_then(|vector| assigner.take(tid, &vector));
    assigner.decoded = decoded;
    taken.or_raise();
}
