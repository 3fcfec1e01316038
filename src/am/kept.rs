//! What this backend keeps of an index between scans: a rounded copy of its centroids, where its pages were in the
//! buffer cache, and how many rows scans took.
//!
//! Both are valid until the index is rebuilt. The server says so itself: it frees `rd_amcache` whenever a relation's
//! entry is invalidated, so a number kept there names what is still good.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pgrx::pg_sys;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::centroids::Centroids;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::Taken;

use crate::pg::recent::RecentBuffers;
use crate::pg::store::PgStore;

/// What all copies of centroids may take.
const BYTES_MAX: usize = 32 << 20;
/// Rows that the first scan is expected to take.
const TAKEN_FIRST: Taken = Taken {
    rows: 128,
    returned: 0,
};
/// Indexes of which something is kept.
const INDEXES_MAX: usize = 64;

/// What is kept of one index.
#[derive(Clone)]
pub(super) struct Kept {
    /// A copy of its centroids, once that is worth it, unless it would be too large.
    pub(super) centroids: Option<Rc<Centroids>>,
    /// Where its pages were.
    pub(super) recent: Rc<RecentBuffers>,
    /// Rows that its scans took of late.
    pub(super) taken: Rc<Cell<Taken>>,
}

struct Entry {
    index: pg_sys::Oid,
    number: u64,
    bytes: usize,
    scans: u32,
    kept: Kept,
}

impl Entry {
    /// Of an index of which nothing is known yet.
    fn new(index: pg_sys::Oid, number: u64) -> Self {
        Self {
            index,
            number,
            bytes: 0,
            scans: 0,
            kept: Kept {
                centroids: None,
                recent: Rc::default(),
                taken: Rc::new(Cell::new(TAKEN_FIRST)),
            },
        }
    }
}

thread_local! {
    /// The one used last comes last.
    static ENTRIES: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
    static LAST_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// What is kept of `index`; its centroids are read now if that is due, or wanted `at_once`, because a scan that a GPU does the
/// rest of spends most of its time on them.
///
/// # Errors
/// What reading the centroids reports.
///
/// # Safety
/// `index` is open.
pub(super) unsafe fn of(
    index: pg_sys::Relation,
    store: &PgStore,
    meta: &Meta,
    at_once: bool,
) -> Result<Kept> {
    // SAFETY: as the caller's; a non-NULL rd_amcache is the u64 that `remember` put there.
    let (oid, number) = unsafe {
        (
            (*index).rd_id,
            (*index).rd_amcache.cast::<u64>().as_ref().copied(),
        )
    };
    let mut entry = match number.and_then(|number| take(oid, number)) {
        Some(entry) => entry,
        None => {
            let number = LAST_NUMBER.get() + 1;
            LAST_NUMBER.set(number);
            // SAFETY: as the caller's.
            unsafe { remember(index, number) };
            Entry::new(oid, number)
        }
    };
    let bytes = Centroids::bytes_for(meta);
    let due = at_once || entry.scans >= Centroids::worth_after(meta);
    if entry.kept.centroids.is_none() && bytes <= BYTES_MAX && due {
        entry.kept.centroids = Some(Rc::new(Centroids::read(store, meta)?));
        entry.bytes = bytes;
    }
    entry.scans = entry.scans.saturating_add(1);
    let kept = entry.kept.clone();
    ENTRIES.with_borrow_mut(|entries| {
        entries.retain(|entry| entry.index != oid);
        entries.push(entry);
        while entries.len() > INDEXES_MAX
            || entries.iter().map(|entry| entry.bytes).sum::<usize>() > BYTES_MAX
        {
            entries.remove(0);
        }
    });
    Ok(kept)
}

/// Forgets what is kept of `index`, which is being rebuilt.
///
/// # Safety
/// `index` is open.
pub(super) unsafe fn forget(index: pg_sys::Relation) {
    // SAFETY: as the caller's; rd_amcache is NULL or allocated by `remember`.
    unsafe {
        if !(*index).rd_amcache.is_null() {
            pg_sys::pfree((*index).rd_amcache);
            (*index).rd_amcache = std::ptr::null_mut();
        }
    }
}

/// Takes the entry of an index out of the list.
fn take(index: pg_sys::Oid, number: u64) -> Option<Entry> {
    ENTRIES.with_borrow_mut(|entries| {
        let is_it = |entry: &Entry| entry.index == index && entry.number == number;
        entries.iter().position(is_it).map(|place| entries.remove(place))
    })
}

/// # Safety
/// `index` is open.
unsafe fn remember(index: pg_sys::Relation, number: u64) {
    // SAFETY: as the caller's; the server frees the chunk with the entry, or when it is invalidated.
    unsafe {
        forget(index);
        let place = pg_sys::MemoryContextAlloc((*index).rd_indexcxt, size_of::<u64>()).cast::<u64>();
        place.write(number);
        (*index).rd_amcache = place.cast();
    }
}
