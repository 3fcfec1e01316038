//! Rows of a table that everybody sees, found by the TIDs of index entries without fetching them.
//!
//! A page of a heap says whether all its rows are visible to all transactions. If it does, under a lock, a line pointer that
//! is in use is a row that the snapshot sees: `heapgetpage` in heapam.c relies on the same. The row that an index entry once
//! stood for cannot have been exchanged for another: a row put into its place after the snapshot was taken is not visible
//! to all. What is not certain here has to be fetched.
//!
//! What a page once said so stays true for the snapshot: VACUUM and pruning leave the rows that it sees where they are, and
//! line pointers that were not in use then are not remembered. So a page is asked once, and not again for every row.

use std::cell::RefCell;
use std::rc::Rc;

use super::version;
use pgrx::pg_sys;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::{Error, ErrorKind, Result};

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

/// Pages of which is remembered which line pointers lead to rows that all see; 48 bytes each. More than the pages of a million
/// rows whose vectors are TOASTed, and about what a core's second cache holds.
const SEEN_MAX: usize = 16_384;
/// Bits for the line pointers of a page.
const SEEN_BITS: usize = 320;
const SEEN_LAST: u16 = 320;
/// `MaxHeapTuplesPerPage`: a line pointer and a header for each.
const _: () = assert!((pg_sys::BLCKSZ as usize - HEADER_BYTES) / (24 + POINTER_BYTES) <= SEEN_BITS);

/// Tables whose pages are remembered.
const TABLES_MAX: usize = 8;

thread_local! {
    /// The one used last comes last.
    static RECENT: RefCell<Vec<(pg_sys::Oid, Rc<RecentBuffers>)>> = const { RefCell::new(Vec::new()) };
}

/// The heap of an open index's table.
pub(crate) struct HeapRows {
    store: PgStore,
    /// Pages that were asked, each at its number modulo the length; empty where nothing is to be remembered.
    seen: RefCell<Vec<SeenPage>>,
}

/// The rows of a page that all see.
#[derive(Clone, Copy)]
struct SeenPage {
    block: u32,
    /// Bit `n`: the line pointer of offset `n + 1` is one's.
    rows: [u64; SEEN_BITS / 64],
}

impl SeenPage {
    /// No page.
    const NONE: Self = Self {
        block: pg_sys::InvalidBlockNumber,
        rows: [0; SEEN_BITS / 64],
    };

    fn note(&mut self, offset: u16) {
        let bit = usize::from(offset - 1);
        self.rows[bit / 64] |= 1 << (bit % 64);
    }

    fn has(&self, tid: Tid) -> bool {
        let bit = usize::from(tid.offset().wrapping_sub(1));
        self.block == tid.block()
            && self
                .rows
                .get(bit / 64)
                .is_some_and(|rows| rows >> (bit % 64) & 1 == 1)
    }
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
        Some(Self {
            store,
            seen: RefCell::default(),
        })
    }

    /// Prepares to be asked for about `rows` rows: what a page says is remembered from now on.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn expect(&self, rows: usize) -> Result<()> {
        if version::snapshots_end() {
            return Ok(());
        }
        let pages = rows.min(self.store.blocks()? as usize).min(SEEN_MAX);
        let mut seen = Vec::new();
        seen.try_reserve_exact(pages).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for pages of a table")
                .with_detail(error.to_string())
        })?;
        seen.resize(pages, SeenPage::NONE);
        self.seen.replace(seen);
        Ok(())
    }

    /// Where the row is that the index entry `tid` leads to, if all see it.
    pub(crate) fn visible_to_all(&self, tid: Tid) -> Option<Tid> {
        if self.is_known(tid) {
            return Some(tid);
        }
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
        self.remember(tid.block(), |offset| pointer(offset).map(LinePointer::flags));
        let first = pointer(tid.offset())?;
        // The row's first version is gone, and the one that took its place lies elsewhere on the page.
        let (offset, found) = match first.flags() {
            pg_sys::LP_REDIRECT => (first.target(), pointer(first.target())?),
            _ => (tid.offset(), first),
        };
        (found.flags() == pg_sys::LP_NORMAL).then(|| Tid::new(tid.block(), offset))
    }

    /// Whether the page of `tid` has said that all see this row.
    fn is_known(&self, tid: Tid) -> bool {
        let seen = self.seen.borrow();
        let place = (tid.block() as usize).checked_rem(seen.len());
        place.is_some_and(|place| seen[place].has(tid))
    }

    /// Notes the rows of a page that all see, of whose line pointers `flags` tells the flags.
    fn remember(&self, block: u32, flags: impl Fn(u16) -> Option<u32>) {
        let mut seen = self.seen.borrow_mut();
        let Some(place) = (block as usize).checked_rem(seen.len()) else {
            return;
        };
        let page = &mut seen[place];
        if page.block != block {
            *page = SeenPage {
                block,
                ..SeenPage::NONE
            };
            let pointers = (1..=SEEN_LAST).map_while(|offset| Some((offset, flags(offset)?)));
            pointers
                .filter(|(_, flags)| *flags == pg_sys::LP_NORMAL)
                .for_each(|(offset, _)| page.note(offset));
        }
    }

    /// Asks for the memory that [`Self::visible_to_all`] will read for `tid`.
    pub(crate) fn ask_ahead(&self, tid: Tid) {
        if self.is_known(tid) {
            return;
        }
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
