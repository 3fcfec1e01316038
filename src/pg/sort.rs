//! Sorts encoded rows by list with the server's tuplesort: bounded by working memory, spills, runs in parallel.

use std::ffi::c_int;
use std::slice;

use pgrx::pg_sys;

use super::version;

const INT4_LESS: u32 = 97;
const INT8_LESS: u32 = 412;

/// A sort of rows (list, TID, payload) by list and TID.
pub(crate) struct RowSort {
    state: *mut pg_sys::Tuplesortstate,
    slot: *mut pg_sys::TupleTableSlot,
    datum: Vec<u32>,
}

/// Which part of a sort this process does.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// One input; a leader merges it.
    Worker(*mut pg_sys::Sharedsort),
    /// The merge of `participants` workers' output.
    Leader(*mut pg_sys::Sharedsort, c_int),
}

impl RowSort {
    /// Starts a sort that uses at most `work_mem_kb` of memory.
    pub(crate) fn begin(part: Part, work_mem_kb: c_int) -> Self {
        let mut attributes: [pg_sys::AttrNumber; 2] = [1, 2];
        let mut operators = [pg_sys::Oid::from(INT4_LESS), pg_sys::Oid::from(INT8_LESS)];
        let mut collations = [pg_sys::InvalidOid; 2];
        let mut nulls_first = [false; 2];
        // SAFETY: plain allocations in the current memory context; the arrays have as many entries as keys.
        unsafe {
            let description = pg_sys::CreateTemplateTupleDesc(3);
            pg_sys::TupleDescInitEntry(description, 1, c"list".as_ptr(), pg_sys::INT4OID, -1, 0);
            pg_sys::TupleDescInitEntry(description, 2, c"tid".as_ptr(), pg_sys::INT8OID, -1, 0);
            pg_sys::TupleDescInitEntry(description, 3, c"row".as_ptr(), pg_sys::BYTEAOID, -1, 0);
            let state = pg_sys::tuplesort_begin_heap(
                description,
                2,
                attributes.as_mut_ptr(),
                operators.as_mut_ptr(),
                collations.as_mut_ptr(),
                nulls_first.as_mut_ptr(),
                work_mem_kb.max(64),
                coordinate(part),
                version::SORT_ONCE,
            );
            let slot = pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsVirtual);
            Self {
                state,
                slot,
                datum: Vec::new(),
            }
        }
    }

    /// Adds a row, whose payload is `payload`, part after part.
    pub(crate) fn put<const N: usize>(&mut self, list: u32, tid: u64, payload: [&[u8]; N]) {
        let bytes = size_of::<u32>() + payload.iter().map(|part| part.len()).sum::<usize>();
        self.datum.resize(bytes.div_ceil(4), 0);
        let datum: &mut [u8] = bytemuck::cast_slice_mut(&mut self.datum);
        let mut rest = &mut datum[size_of::<u32>()..bytes];
        for part in payload {
            let (front, behind) = rest.split_at_mut(part.len());
            front.copy_from_slice(part);
            rest = behind;
        }
        // SAFETY: the buffer is 4-byte aligned and `bytes` long; the slot has three attributes and is virtual.
        unsafe {
            let varlena = self.datum.as_mut_ptr().cast::<pg_sys::varlena>();
            pgrx::varlena::set_varsize_4b(
                varlena,
                c_int::try_from(bytes).expect("a row is shorter than 1 GB"),
            );
            pg_sys::ExecClearTuple(self.slot);
            let values = slice::from_raw_parts_mut((*self.slot).tts_values, 3);
            values[0] = pg_sys::Datum::from(list.cast_signed());
            values[1] = pg_sys::Datum::from(tid.cast_signed());
            values[2] = pg_sys::Datum::from(varlena);
            slice::from_raw_parts_mut((*self.slot).tts_isnull, 3).fill(false);
            pg_sys::ExecStoreVirtualTuple(self.slot);
            pg_sys::tuplesort_puttupleslot(self.state, self.slot);
        }
    }

    /// Ends the input. A worker's part is then ready for the leader.
    pub(crate) fn perform(&mut self) {
        // SAFETY: begun and not ended.
        unsafe { pg_sys::tuplesort_performsort(self.state) }
    }

    /// Calls `row(list, tid, payload)` for every row in order.
    pub(crate) fn drain(&mut self, row: &mut dyn FnMut(u32, u64, &[u8])) {
        // SAFETY: the description is the slot's own, and a slot for sorted tuples must hold minimal tuples.
        let slot = unsafe {
            pg_sys::MakeSingleTupleTableSlot(
                (*self.slot).tts_tupleDescriptor,
                &raw const pg_sys::TTSOpsMinimalTuple,
            )
        };
        // SAFETY: performed; with copy = false the row is valid until the next call.
        while unsafe { pg_sys::tuplesort_gettupleslot(self.state, true, false, slot, std::ptr::null_mut()) } {
            // SAFETY: the slot holds three attributes, none NULL; the third is a plain bytea in the tuple.
            unsafe {
                pg_sys::slot_getsomeattrs(slot, 3);
                let values = slice::from_raw_parts((*slot).tts_values, 3);
                let list = u32::try_from(values[0].value()).unwrap_or_default();
                let varlena = values[2].cast_mut_ptr::<pg_sys::varlena>();
                let len = pgrx::varlena::varsize_any_exhdr(varlena);
                let payload = slice::from_raw_parts(pgrx::varlena::vardata_any(varlena).cast::<u8>(), len);
                row(list, values[1].value() as u64, payload);
            }
        }
        // SAFETY: made above, dropped once.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(slot) }
    }

    /// Frees memory and temporary files.
    pub(crate) fn end(self) {
        // SAFETY: begun by `begin`; `self` is gone afterwards.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::tuplesort_end(self.state);
        }
    }
}

/// # Safety
/// Allocates in the current memory context; the shared state, if any, must be attached.
unsafe fn coordinate(part: Part) -> pg_sys::SortCoordinate {
    let (is_worker, participants, shared) = match part {
        Part::Whole => return std::ptr::null_mut(),
        Part::Worker(shared) => (true, -1, shared),
        Part::Leader(shared, participants) => (false, participants, shared),
    };
    // SAFETY: palloc0 returns zeroed memory of that size or raises an error.
    unsafe {
        let coordinate =
            pg_sys::palloc0(size_of::<pg_sys::SortCoordinateData>()).cast::<pg_sys::SortCoordinateData>();
        (*coordinate).isWorker = is_worker;
        (*coordinate).nParticipants = participants;
        (*coordinate).sharedsort = shared;
        coordinate
    }
}
