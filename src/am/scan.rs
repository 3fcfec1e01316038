//! `ambeginscan` to `amendscan`: a stream of TIDs by ascending distance.
//!
//! Where the engine only knows a lower bound (rounded storage, a device that sums in another order), the row goes out
//! with its bound and `xs_recheckorderby`: the executor, which fetches the heap row anyway, computes the operator's
//! value and re-orders. Source: `IndexNextWithReorder` in nodeIndexscan.c.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pgrx::itemptr::item_pointer_set_all;
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};
use vectorgpu_core::backend::Backend;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::estimate::Estimate;
use vectorgpu_core::ivf::cost;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::{ENTRY_BYTES, Found, Search, SearchCounts, SearchOptions, Taken};
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::opclass::indexed_by;
use super::settings::ScanSettings;
use crate::error::OrRaise;
use crate::gpu::policy::{self, SearchBook, SearchWork};
use crate::gpu::residency;
use crate::pg::store::PgStore;
use crate::pg::version;
use crate::pg::{interrupt, setting};
use crate::types::elements::ElementType;

struct ScanState {
    store: PgStore,
    search: Search,
    backend: CpuBackend,
    elements: ElementType,
    /// Dimensions of the column's values.
    value_dims: usize,
    started: bool,
    /// Why it computes where it does.
    why: &'static str,
    book: SearchBook,
    /// What scans like this one took.
    taken: Rc<Cell<Taken>>,
    index: pg_sys::Oid,
}

/// What the session's last ivf scan did.
#[derive(Debug, Clone)]
pub(crate) struct LastScan {
    /// The index.
    pub(crate) index: pg_sys::Oid,
    /// What computed.
    pub(crate) device: String,
    /// Why there.
    pub(crate) why: &'static str,
    /// What it was estimated to take on either device.
    pub(crate) estimate: Estimate,
    /// Lists, rows, restarts, times.
    pub(crate) counts: SearchCounts,
}

thread_local! {
    static LAST_SCAN: RefCell<Option<LastScan>> = const { RefCell::new(None) };
}

/// Notes what the session's last scan did.
pub(super) fn remember(last: LastScan) {
    LAST_SCAN.with_borrow_mut(|slot| *slot = Some(last));
}

/// What the session's last finished ivf scan did.
pub(crate) fn last_scan() -> Option<LastScan> {
    LAST_SCAN.with_borrow(Clone::clone)
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn ambeginscan(
    index: pg_sys::Relation,
    key_count: i32,
    order_by_count: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: the server passes an open index; arrays for the order-by values come from its current context.
    unsafe {
        let scan = pg_sys::RelationGetIndexScan(index, key_count, order_by_count);
        let order_bys = usize::try_from(order_by_count).unwrap_or_default();
        if order_bys > 0 {
            (*scan).xs_orderbyvals = pg_sys::palloc0(order_bys * size_of::<pg_sys::Datum>()).cast();
            (*scan).xs_orderbynulls = pg_sys::palloc0(order_bys).cast();
        }
        // Dropped with the executor's context, so an error in mid-scan leaks nothing.
        let state: Option<ScanState> = None;
        (*scan).opaque = PgMemoryContexts::CurrentMemoryContext
            .leak_and_drop_on_delete(state)
            .cast();
        scan
    }
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amrescan(
    scan: pg_sys::IndexScanDesc,
    _keys: pg_sys::ScanKey,
    _key_count: i32,
    order_bys: pg_sys::ScanKey,
    order_by_count: i32,
) {
    // SAFETY: the server passes as many keys as the scan was begun with; `opaque` is ours.
    unsafe {
        let count = usize::try_from(order_by_count).unwrap_or_default();
        if !order_bys.is_null() && count > 0 {
            std::ptr::copy(order_bys, (*scan).orderByData, count);
        }
        if let Some(state) = state_of(scan) {
            state.remember();
            state.started = false;
        }
    }
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amgettuple(
    scan: pg_sys::IndexScanDesc,
    _direction: pg_sys::ScanDirection::Type,
) -> bool {
    // SAFETY: `opaque` is ours; the scan's index and snapshot are valid during the call.
    let slot = unsafe { state_slot(scan) };
    if slot.is_none() {
        // SAFETY: as above.
        *slot = Some(unsafe { open(scan) }.or_raise());
    }
    let state = slot.as_mut().expect("opened above");
    if !state.started {
        // SAFETY: as above.
        unsafe { start(scan, state) }.or_raise();
    }
    let found = state
        .search
        .next(&state.store, &mut state.backend, &mut interrupt::keep_waiting)
        .or_raise();
    let Some(found) = found else { return false };
    // SAFETY: as above.
    unsafe { hand_out(scan, found) };
    true
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: `opaque` is ours; the context's callback drops what is left in it, which is nothing.
    if let Some(state) = unsafe { state_slot(scan) }.take() {
        state.remember();
    }
}

impl ScanState {
    fn remember(&self) {
        if self.started {
            let in_use = self.search.copies_in_use();
            let given_up = self.book.is_on_gpu() && in_use.is_none();
            let device = in_use.unwrap_or(self.backend.label());
            let last = LastScan {
                index: self.index,
                device: device.to_owned(),
                why: if given_up {
                    "the GPU could not do all of it"
                } else {
                    self.why
                },
                estimate: self.book.estimate,
                counts: self.search.counts(),
            };
            let times = last.counts.times;
            let once = given_up || last.counts.copied > 0;
            self.book.close(times.check + times.scan, once);
            remember(last);
            self.taken.set(self.taken.get().after(self.search.taken()));
        }
    }
}

/// # Safety
/// `scan` was begun by `ambeginscan`.
unsafe fn state_slot<'a>(scan: pg_sys::IndexScanDesc) -> &'a mut Option<ScanState> {
    // SAFETY: `opaque` was set by ambeginscan and only callbacks of this scan, one at a time, use it.
    unsafe { &mut *(*scan).opaque.cast::<Option<ScanState>>() }
}

/// # Safety
/// As [`state_slot`].
unsafe fn state_of<'a>(scan: pg_sys::IndexScanDesc) -> Option<&'a mut ScanState> {
    // SAFETY: as the caller's.
    unsafe { state_slot(scan) }.as_mut()
}

/// # Safety
/// `scan` was begun by `ambeginscan` and its index is open.
unsafe fn open(scan: pg_sys::IndexScanDesc) -> Result<ScanState> {
    // SAFETY: as the caller's.
    let (index, order_bys) = unsafe { ((*scan).indexRelation, (*scan).numberOfOrderBys) };
    if order_bys != 1 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "cannot scan an ivf index without ORDER BY a distance",
        ));
    }
    // SAFETY: the index outlives the scan.
    let mut store = unsafe { PgStore::new(index, std::ptr::null_mut()) };
    let meta = Meta::read(&store.share(0)?)?;
    let settings = ScanSettings::of(index, &meta)?;
    let work = work_of(index, &meta, settings, None);
    // SAFETY: the index is open.
    let place = unsafe { policy::scan_place(index, &meta, &work) }?;
    // SAFETY: the index is open.
    let kept = unsafe { super::kept::of(index, &store, &meta, place.copies.is_some()) }?;
    let indexed_by = indexed_by(index)?;
    let options = SearchOptions {
        probes: settings.probes,
        max_probes: settings.max_probes,
        iterate: settings.iterate,
        window_rows: setting::work_mem_bytes() / ENTRY_BYTES,
        expected: kept.taken.get(),
        summation: indexed_by.summation,
    };
    let mut search = Search::new(meta, options);
    store.use_recent(kept.recent);
    if let Some(centroids) = kept.centroids {
        search.use_centroids(centroids);
    }
    if let Some(copies) = place.copies {
        search.use_copies(Box::new(copies));
    }
    // SAFETY: the index is open.
    let oid = unsafe { (*index).rd_id };
    Ok(ScanState {
        store,
        search,
        backend: CpuBackend::new(),
        elements: indexed_by.elements,
        value_dims: meta.value_dims as usize,
        why: place.why,
        book: place.book,
        started: false,
        taken: kept.taken,
        index: oid,
    })
}

/// What searches of `index` have to do; `at_once`: how many that are done together.
pub(super) fn work_of(
    index: pg_sys::Relation,
    meta: &Meta,
    settings: ScanSettings,
    at_once: Option<f64>,
) -> SearchWork {
    SearchWork {
        scan: cost::Scan {
            storage: meta.storage,
            dims: meta.dims,
            rows: residency::rows(index, meta) as f64,
            lists: meta.lists,
            probes: settings.probes,
            max_probes: meta.lists,
            iterate: settings.iterate,
            wanted: None,
            // What the executor computes of another library's operator, it computes wherever rows come from.
            summation: Summation::Kernels,
        },
        at_once,
    }
}

/// # Safety
/// As [`open`]; the order-by key's argument is valid.
unsafe fn start(scan: pg_sys::IndexScanDesc, state: &mut ScanState) -> Result<()> {
    // SAFETY: as the caller's.
    unsafe { check_snapshot((*scan).xs_snapshot) }?;
    // SAFETY: the scan has one order-by key, which amrescan set.
    let key = unsafe { *(*scan).orderByData };
    let exact = state.backend.is_exact();
    if key.sk_flags & pg_sys::SK_ISNULL.cast_signed() != 0 {
        state.search.start(None, exact)?;
    } else {
        let mut decoded = Vec::new();
        // SAFETY: the operator's right argument is of the operator class's type.
        let query = unsafe { state.elements.read(key.sk_argument, &mut decoded) }?;
        state
            .elements
            .check_equal_dims(state.value_dims, query.value_dims())?;
        state.search.start(Some(query.as_index_value()), exact)?;
    }
    state.started = true;
    // SAFETY: the index is open.
    unsafe { version::count_index_scan((*scan).indexRelation) };
    Ok(())
}

/// # Safety
/// `snapshot` is the scan's snapshot.
unsafe fn check_snapshot(snapshot: pg_sys::Snapshot) -> Result<()> {
    // SAFETY: as the caller's; NULL gives None.
    let kind = unsafe { snapshot.as_ref() }.map(|snapshot| snapshot.snapshot_type);
    let mvcc = [
        pg_sys::SnapshotType::SNAPSHOT_MVCC,
        pg_sys::SnapshotType::SNAPSHOT_HISTORIC_MVCC,
    ];
    if kind.is_some_and(|kind| mvcc.contains(&kind)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "non-MVCC snapshots are not supported with ivf",
    ))
}

/// # Safety
/// As [`open`].
unsafe fn hand_out(scan: pg_sys::IndexScanDesc, found: Found) {
    // SAFETY: the scan has room for one order-by value, allocated by ambeginscan.
    unsafe {
        item_pointer_set_all(&mut (*scan).xs_heaptid, found.tid.block(), found.tid.offset());
        (*scan).xs_recheck = false;
        (*scan).xs_recheckorderby = !found.exact;
        *(*scan).xs_orderbyvals = pg_sys::Datum::from(found.distance.to_bits());
        *(*scan).xs_orderbynulls = false;
    }
}
