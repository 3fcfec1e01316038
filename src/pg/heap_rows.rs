//! Rows of a table that everybody sees, found by the TIDs of index entries without fetching them.
//!
//! A page of a heap says whether all its rows are visible to all transactions. If it does, under a lock, a line pointer that
//! is in use is a row that the snapshot sees: `heapgetpage` in heapam.c relies on the same. The row that an index entry once
//! stood for cannot have been exchanged for another: a row put into its place after the snapshot was taken is not visible
//! to all. What is not certain here has to be fetched.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::pg_sys;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::ivf::store::PageStore;

use super::recent::RecentBuffers;
use super::relation::OpenIndex;
use super::store::PgStore;

/// Where a page's flags are, and `pd_lower`; line pointers begin behind its header.
const FLAGS: usize = 10;
const LOWER: usize = 12;
const HEADER_BYTES: usize = 24;
const POINTER_BYTES: usize = 4;

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(pg_sys::PageHeaderData, pd_flags) == FLAGS);
    assert!(offset_of!(pg_sys::PageHeaderData, pd_lower) == LOWER);
    assert!(offset_of!(pg_sys::PageHeaderData, pd_linp) == HEADER_BYTES);
    assert!(size_of::<pg_sys::ItemIdData>() == POINTER_BYTES);
};

/// Tables whose pages are remembered.
const TABLES_MAX: usize = 8;

thread_local! {
    /// The one used last comes last.
    static RECENT: RefCell<Vec<(pg_sys::Oid, Rc<RecentBuffers>)>> = const { RefCell::new(Vec::new()) };
}

/// The heap of an open index's table.
pub(crate) struct HeapRows {
    store: PgStore,
}

impl HeapRows {
    /// `None` where every row has to be fetched: not a heap, a snapshot taken during recovery (pages of a standby may say more
    /// than its snapshot sees), or one whose reads have to be tracked.
    ///
    /// # Safety
    /// `snapshot` is valid; the result is not used after `open` is closed.
    pub(crate) unsafe fn new(open: &OpenIndex, snapshot: pg_sys::Snapshot) -> Option<Self> {
        let table = open.table();
        // SAFETY: the table is open; the snapshot is the caller's; the isolation level is a setting of this process.
        let (is_heap, in_recovery, level) = unsafe {
            (
                (*table).rd_tableam == pg_sys::GetHeapamTableAmRoutine(),
                (*snapshot).takenDuringRecovery,
                pg_sys::XactIsoLevel,
            )
        };
        if !is_heap || in_recovery || level == pg_sys::XACT_SERIALIZABLE.cast_signed() {
            return None;
        }
        // SAFETY: the caller's.
        let mut store = unsafe { PgStore::new(table, std::ptr::null_mut()) };
        store.use_recent(recent_of(open.table_oid()));
        Some(Self { store })
    }

    /// Where the row is that the index entry `tid` leads to, if all see it.
    pub(crate) fn visible_to_all(&self, tid: Tid) -> Option<Tid> {
        let page = self.store.share(tid.block()).ok()?;
        let number = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
        if u32::from(number(FLAGS)) & pg_sys::PD_ALL_VISIBLE == 0 {
            return None;
        }
        let pointers = usize::from(number(LOWER)).min(page.len());
        let pointer = |offset: u16| {
            let at = HEADER_BYTES + usize::from(offset.checked_sub(1)?) * POINTER_BYTES;
            (at + POINTER_BYTES <= pointers)
                .then(|| LinePointer(u32::from(number(at)) | u32::from(number(at + 2)) << 16))
        };
        let first = pointer(tid.offset())?;
        // The row's first version is gone, and the one that took its place lies elsewhere on the page.
        let (offset, found) = match first.flags() {
            pg_sys::LP_REDIRECT => (first.target(), pointer(first.target())?),
            _ => (tid.offset(), first),
        };
        (found.flags() == pg_sys::LP_NORMAL).then(|| Tid::new(tid.block(), offset))
    }

    /// Asks for the memory that [`Self::visible_to_all`] will read for `tid`.
    pub(crate) fn ask_ahead(&self, tid: Tid) {
        let end = HEADER_BYTES + usize::from(tid.offset()) * POINTER_BYTES;
        self.store.prefetch(tid.block(), 0..end).ahead().ask_all();
    }
}

/// Where pages of `table` were in this session. That a page is still there is checked whenever it is used.
fn recent_of(table: pg_sys::Oid) -> Rc<RecentBuffers> {
    RECENT.with_borrow_mut(|tables| {
        let known = tables.iter().position(|(oid, _)| *oid == table);
        let (_, recent) = known.map_or_else(|| (table, Rc::default()), |place| tables.remove(place));
        if tables.len() >= TABLES_MAX {
            tables.remove(0);
        }
        tables.push((table, Rc::clone(&recent)));
        recent
    })
}

/// `ItemIdData`: 15 bits of offset, 2 of flags, 15 of length.
#[derive(Clone, Copy)]
struct LinePointer(u32);

impl LinePointer {
    fn flags(self) -> u32 {
        (self.0 >> 15) & 3
    }

    /// Where a redirected one leads.
    fn target(self) -> u16 {
        u16::try_from(self.0 & 0x7fff).expect("15 bits")
    }
}
