//! An index scan by ascending distance for functions: what the executor's Index Scan node returns, without a plan.
//!
//! Rows are visible to the active snapshot, and stand in the order of the operator's value: where the index only has a
//! lower bound, the value is computed from the heap row, and rows wait until none that follows can be nearer. Source:
//! `IndexNextWithReorder` in nodeIndexscan.c.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::ptr;

use pgrx::itemptr::{item_pointer_get_both, item_pointer_set_all};
use pgrx::pg_sys;
use vectorgpu_core::exact::Neighbour;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::ivf::search::Found;
use vectorgpu_core::ivf::search::many::FoundOfMany;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::pg::heap_rows::HeapRows;
use crate::pg::interrupt;
use crate::pg::relation::OpenIndex;
use crate::pg::version;
use crate::types::elements::BuiltElements;

/// The strategy of an operator class's one ordering operator.
const STRATEGY: u16 = 1;

/// A scan that is started anew for each query.
pub(crate) struct OrderedScan<'a> {
    open: PhantomData<&'a OpenIndex>,
    scan: pg_sys::IndexScanDesc,
    /// Rows that need not be fetched, where there are such.
    heap: Option<HeapRows>,
    slot: *mut pg_sys::TupleTableSlot,
    /// What the index's column is computed from, for expressions too.
    column: *mut pg_sys::IndexInfo,
    executor: *mut pg_sys::EState,
    operator: Box<pg_sys::FmgrInfo>,
    query: pg_sys::Datum,
    waiting: BinaryHeap<Reverse<Neighbour>>,
    /// No row to come is nearer.
    bound: f64,
    ended: bool,
}

impl<'a> OrderedScan<'a> {
    /// Prepares scans of `open` under the active snapshot.
    ///
    /// # Errors
    /// `Unsupported` when the index is not (yet) complete for this snapshot.
    pub(crate) fn begin(open: &'a OpenIndex) -> Result<Self> {
        check_usable(open)?;
        let (table, index) = (open.table(), open.index());
        // SAFETY: a function runs with an active snapshot.
        let snapshot = unsafe { pg_sys::GetActiveSnapshot() };
        // SAFETY: both are open until `open` is dropped, after this scan.
        let scan = unsafe { version::begin_ordered_scan(table, index, snapshot) };
        // SAFETY: the scan was made just now. Only a start sets this, and rows may be fetched without one.
        unsafe { (*scan).xs_heap_continue = false };
        // SAFETY: the table is open; without a list the slot is the caller's to free.
        let slot = unsafe { pg_sys::table_slot_create(table, ptr::null_mut()) };
        // SAFETY: the index is open; allocates in the current context, which outlives the scan.
        let column = unsafe { pg_sys::BuildIndexInfo(index) };
        // SAFETY: allocates in a context of its own.
        let executor = unsafe { pg_sys::CreateExecutorState() };
        // SAFETY: the snapshot is active; this scan ends before the index is closed.
        let heap = unsafe { HeapRows::new(open, snapshot) };
        Ok(Self {
            open: PhantomData,
            scan,
            heap,
            slot,
            column,
            executor,
            operator: operator_of(index),
            query: pg_sys::Datum::null(),
            waiting: BinaryHeap::new(),
            bound: f64::NEG_INFINITY,
            ended: true,
        })
    }

    /// Prepares for about `rows` rows to be looked up by [`Self::nearest_among`].
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn expect(&self, rows: usize) -> Result<()> {
        self.heap.as_ref().map_or(Ok(()), |heap| heap.expect(rows))
    }

    /// Puts the `k` rows nearest to `query` into `rows`, nearest first, their TIDs as ids; fewer where the scan ends before. A
    /// TID is that of the row that the snapshot sees, wherever the chain of its versions begins.
    pub(crate) fn nearest(&mut self, query: &BuiltElements<'_>, k: usize, rows: &mut Vec<Neighbour>) {
        rows.clear();
        self.start(query.as_datum());
        while rows.len() < k {
            interrupt::check();
            let Some(row) = self.next() else { break };
            rows.push(row);
        }
        // A scan in relaxed order returns them nearly so.
        rows.sort_unstable();
    }

    /// Puts the `k` visible rows nearest to `query` among `found` into `rows`, as [`Self::nearest`] does. `false` when others
    /// may be nearer, or they are too few. The query is only needed where a distance is not exact.
    pub(crate) fn nearest_among(
        &mut self,
        query: Option<&BuiltElements<'_>>,
        found: &FoundOfMany,
        k: usize,
        rows: &mut Vec<Neighbour>,
    ) -> bool {
        rows.clear();
        self.query = query.map_or(pg_sys::Datum::null(), BuiltElements::as_datum);
        let mut farthest = f64::INFINITY;
        for row in &found.rows {
            // Rows come by their bounds, and no more than the k nearest can be among the first.
            if rows.len() >= k && row.distance > farthest {
                break;
            }
            interrupt::check();
            item_pointer_set_all(
                // SAFETY: the scan was begun, and this is where it looks for the row to fetch.
                unsafe { &mut (*self.scan).xs_heaptid },
                row.tid.block(),
                row.tid.offset(),
            );
            let Some(neighbour) = self.row_at(row.tid, row.distance, row.exact) else {
                continue;
            };
            rows.push(neighbour);
            if rows.len() >= k {
                rows.sort_unstable();
                rows.truncate(k);
                farthest = rows[k - 1].distance;
            }
        }
        // A distance that is no number is not certain to be among the nearest.
        rows.len() == k && (farthest < found.bound || found.bound == f64::INFINITY)
    }

    /// Asks for the memory that looking up the first `k` of `rows` will read: of those, one that is not visible is rare.
    pub(crate) fn ask_ahead(&self, rows: &[Found], k: usize) {
        if let Some(heap) = &self.heap {
            rows.iter()
                .take(k)
                .filter(|row| row.exact)
                .for_each(|row| heap.ask_ahead(row.tid));
        }
    }

    /// The version that the snapshot sees of the row that the scan stands at, whose index entry is `tid`, with the
    /// operator's value: `value` if that is exact.
    fn row_at(&mut self, tid: Tid, value: f64, exact: bool) -> Option<Neighbour> {
        let known = self.heap.as_ref().filter(|_| exact);
        if let Some(tid) = known.and_then(|heap| heap.visible_to_all(tid)) {
            return Some(Neighbour {
                id: tid.0,
                distance: value,
            });
        }
        // SAFETY: the scan has a snapshot; the slot is the table's.
        if !unsafe { pg_sys::index_fetch_heap(self.scan, self.slot) } {
            return None;
        }
        let distance = if exact { value } else { self.value() };
        // SAFETY: the slot holds the row.
        let (block, offset) = item_pointer_get_both(unsafe { (*self.slot).tts_tid });
        let id = Tid::new(block, offset).0;
        Some(Neighbour { id, distance })
    }

    /// `query` lives until the next start, or the scan is not used any more.
    fn start(&mut self, query: pg_sys::Datum) {
        // SAFETY: plain numbers and pointers, for which zero is a value.
        let mut key: pg_sys::ScanKeyData = unsafe { std::mem::zeroed() };
        // SAFETY: fills the key; the function is the operator's.
        unsafe {
            pg_sys::ScanKeyEntryInitialize(
                &raw mut key,
                pg_sys::SK_ORDER_BY.cast_signed(),
                1,
                STRATEGY,
                pg_sys::InvalidOid,
                pg_sys::InvalidOid,
                self.operator.fn_oid,
                query,
            );
        }
        // SAFETY: the scan was begun for one order-by key, which the access method copies.
        unsafe { pg_sys::index_rescan(self.scan, ptr::null_mut(), 0, &raw mut key, 1) };
        self.query = query;
        self.waiting.clear();
        self.bound = f64::NEG_INFINITY;
        self.ended = false;
    }

    /// The next row, by ascending distance.
    fn next(&mut self) -> Option<Neighbour> {
        loop {
            let is_next = |Reverse(row): &Reverse<Neighbour>| row.distance <= self.bound;
            if self.ended || self.waiting.peek().is_some_and(is_next) {
                return self.waiting.pop().map(|Reverse(row)| row);
            }
            self.fetch();
        }
    }

    /// Takes the scan's next row, if the snapshot sees it.
    fn fetch(&mut self) {
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: the scan is started.
        let tid = unsafe { pg_sys::index_getnext_tid(self.scan, forward) };
        // SAFETY: points into the scan, or is NULL.
        let Some(tid) = (unsafe { tid.as_ref() }) else {
            self.ended = true;
            return;
        };
        let (block, offset) = item_pointer_get_both(*tid);
        // SAFETY: the access method has filled in the order-by value, a float8.
        let (bound, inexact) = unsafe { (*(*self.scan).xs_orderbyvals, (*self.scan).xs_recheckorderby) };
        self.bound = f64::from_bits(bound.value() as u64);
        if let Some(row) = self.row_at(Tid::new(block, offset), self.bound, !inexact) {
            self.waiting.push(Reverse(row));
        }
    }

    /// The operator's value for the row in the slot.
    fn value(&mut self) -> f64 {
        // SAFETY: creates the state's context of expressions once, and returns it.
        let expressions = unsafe { per_tuple(self.executor) };
        let mut values = [pg_sys::Datum::null(); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        // SAFETY: the context is valid as long as the executor state.
        unsafe { (*expressions).ecxt_scantuple = self.slot };
        // SAFETY: the arrays are as long as an index may have columns.
        unsafe {
            pg_sys::FormIndexDatum(
                self.column,
                self.slot,
                self.executor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        if nulls[0] {
            return f64::NAN;
        }
        // SAFETY: the operator's function takes two values of these types and returns a float8.
        let value = unsafe {
            pg_sys::FunctionCall2Coll(&raw mut *self.operator, pg_sys::InvalidOid, values[0], self.query)
        };
        // SAFETY: frees what an expression allocated for this row.
        unsafe { pg_sys::MemoryContextReset((*expressions).ecxt_per_tuple_memory) };
        f64::from_bits(value.value() as u64)
    }
}

impl Drop for OrderedScan<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: all were made in `begin` and are given back once, before the index and table are closed.
        unsafe {
            pg_sys::index_endscan(self.scan);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.executor);
        }
    }
}

/// `GetPerTupleExprContext`, a macro of the server.
///
/// # Safety
/// `executor` is valid.
unsafe fn per_tuple(executor: *mut pg_sys::EState) -> *mut pg_sys::ExprContext {
    // SAFETY: as the caller's.
    unsafe {
        if (*executor).es_per_tuple_exprcontext.is_null() {
            pg_sys::MakePerTupleExprContext(executor)
        } else {
            (*executor).es_per_tuple_exprcontext
        }
    }
}

/// The function of the operator that orders the index's column.
fn operator_of(index: pg_sys::Relation) -> Box<pg_sys::FmgrInfo> {
    // SAFETY: the index is open and has one column; its class has the operator, since amvalidate's rules are those of
    // CREATE OPERATOR CLASS; the server raises an error for an unknown function.
    unsafe {
        let (family, input) = (*(*index).rd_opfamily, *(*index).rd_opcintype);
        let operator = pg_sys::get_opfamily_member(family, input, input, STRATEGY.cast_signed());
        let mut function: Box<pg_sys::FmgrInfo> = Box::new(std::mem::zeroed());
        pg_sys::fmgr_info(pg_sys::get_opcode(operator), &raw mut *function);
        function
    }
}

/// What the planner checks before it uses an index.
fn check_usable(open: &OpenIndex) -> Result<()> {
    let problem = |what: &str| {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("index \"{}\" {what}", open.name()),
        ))
    };
    // SAFETY: the index is open.
    let (valid, check_xmin) = unsafe {
        let form = (*open.index()).rd_index;
        ((*form).indisvalid, (*form).indcheckxmin)
    };
    if !valid {
        return problem("is not valid");
    }
    // SAFETY: as above; the entry of pg_index is a tuple.
    let too_new = check_xmin
        && unsafe {
            let xmin = pg_sys::htup::HeapTupleHeaderGetXmin((*(*open.index()).rd_indextuple).t_data);
            !pg_sys::TransactionIdPrecedes(xmin, pg_sys::TransactionXmin)
        };
    if too_new {
        return problem("does not hold all rows that this transaction may see");
    }
    Ok(())
}
