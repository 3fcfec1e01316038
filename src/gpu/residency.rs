//! Copies of indexes' lists in this backend's GPU memory: which index a copy belongs to.
//!
//! Whether a copy is what its list holds now is told by the list's version (`vectorgpu_core::ivf::copy`). What the versions
//! cannot tell is that the index is another one altogether: REINDEX and TRUNCATE give it new files, whose number is part
//! of an index's identity here; a rebuild within the transaction that created the files, which no other backend can have
//! seen, calls [`forget`].

use std::cell::{Cell, RefCell};

use pgrx::pg_sys;
use vectorgpu_compute::{CopiedIndex, DeviceChoice, IndexCopies, IndexUsage, ListCache, OnFailure};
use vectorgpu_core::Result;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::metric::Storage;

use super::lifecycle;
use crate::pg::{interrupt, relation};

/// What makes an index the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    /// Tablespace, database, file.
    files: [u32; 3],
    /// Of its metapage, what its build decided.
    built_rows: u64,
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    index: pg_sys::Oid,
    identity: Identity,
    number: u64,
}

/// What the number of the copy of an index's centroids is beyond that of the index.
const CENTROIDS: u64 = 1;

thread_local! {
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
    static LAST_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The copies of `index` on the GPU of `choice`, which is opened now if need be.
///
/// # Errors
/// As [`lifecycle::engine`]; `Cancelled`, `DeviceLost`; what compiling kernels reports.
///
/// # Safety
/// `index` is open.
pub(crate) unsafe fn copies(
    index: pg_sys::Relation,
    meta: &Meta,
    choice: &DeviceChoice,
    on_failure: OnFailure,
) -> Result<IndexCopies> {
    let engine = lifecycle::engine(choice)?;
    let cache = lifecycle::list_cache(&engine);
    // SAFETY: as the caller's.
    let (oid, number) = unsafe { (relation::oid(index), current_number(index, meta, &cache)) };
    let copied = CopiedIndex {
        number,
        metric: meta.metric,
        storage: meta.storage,
        dims: meta.dims as usize,
        rows: rows(index, meta),
        label: &label(oid),
    };
    IndexCopies::open(&cache, copied, on_failure, &mut interrupt::keep_waiting)
}

/// A copy of the centroids of `index`, as the one list of an index of their own, beside [`copies`] of its lists.
///
/// # Errors
/// As [`copies`].
///
/// # Safety
/// `index` is open.
pub(crate) unsafe fn centroid_copies(
    index: pg_sys::Relation,
    meta: &Meta,
    choice: &DeviceChoice,
    on_failure: OnFailure,
) -> Result<IndexCopies> {
    let engine = lifecycle::engine(choice)?;
    let cache = lifecycle::list_cache(&engine);
    // SAFETY: as the caller's.
    let (oid, number) = unsafe { (relation::oid(index), current_number(index, meta, &cache)) };
    let copied = CopiedIndex {
        number: number + CENTROIDS,
        metric: meta.metric.of_lists(),
        storage: Storage::F32,
        dims: meta.dims as usize,
        rows: u64::from(meta.lists),
        label: &label(oid),
    };
    IndexCopies::open(&cache, copied, on_failure, &mut interrupt::keep_waiting)
}

/// The number of `index` as it is now; copies of what it was before are dropped.
///
/// # Safety
/// `index` is open.
unsafe fn current_number(index: pg_sys::Relation, meta: &Meta, cache: &ListCache) -> u64 {
    // SAFETY: as the caller's.
    let (oid, identity) = unsafe { (relation::oid(index), identity(index, meta)) };
    let (number, outdated) = number_of(oid, identity);
    if let Some(outdated) = outdated {
        forget_number(cache, outdated);
    }
    number
}

fn forget_number(cache: &ListCache, number: u64) {
    cache.forget(number);
    cache.forget(number + CENTROIDS);
}

/// The share of the lists of `index` that have copies.
///
/// # Safety
/// `index` is open.
pub(crate) unsafe fn resident_share(index: pg_sys::Relation, meta: &Meta) -> f64 {
    let Some(cache) = lifecycle::open_list_cache() else {
        return 0.0;
    };
    // SAFETY: as the caller's.
    let (oid, identity) = unsafe { (relation::oid(index), identity(index, meta)) };
    let number = KNOWN.with_borrow(|known| {
        let is_it = |known: &&Known| known.index == oid && known.identity == identity;
        known.iter().find(is_it).map(|known| known.number)
    });
    let lists = number.map_or(0, |number| cache.lists_of(number));
    lists as f64 / f64::from(meta.lists)
}

/// An index and what its copies take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) index: pg_sys::Oid,
    pub(crate) usage: IndexUsage,
}

/// The indexes that have copies.
pub(crate) fn residents() -> Vec<Resident> {
    let Some(cache) = lifecycle::open_list_cache() else {
        return Vec::new();
    };
    KNOWN.with_borrow(|known| {
        let residents = known.iter().map(|known| Resident {
            index: known.index,
            usage: cache.usage_of(known.number),
        });
        residents.filter(|resident| resident.usage.lists > 0).collect()
    })
}

/// About how many rows an open index has.
pub(crate) fn rows(index: pg_sys::Relation, meta: &Meta) -> u64 {
    relation::estimated_rows(index)
        .unwrap_or_default()
        .max(meta.built_rows)
}

/// Drops the copies of `index`, which is being rebuilt.
pub(crate) fn forget(index: pg_sys::Oid) {
    let numbers: Vec<u64> = KNOWN.with_borrow_mut(|known| {
        let gone = known.extract_if(.., |known| known.index == index);
        gone.map(|known| known.number).collect()
    });
    if let Some(cache) = lifecycle::open_list_cache() {
        numbers
            .into_iter()
            .for_each(|number| forget_number(&cache, number));
    }
}

/// The account of an index's copies.
pub(crate) fn label(index: pg_sys::Oid) -> String {
    format!("vectorgpu.lists.{}", index.to_u32())
}

/// A number that no index has or had.
pub(super) fn new_number() -> u64 {
    let number = LAST_NUMBER.get() + 1 + CENTROIDS;
    LAST_NUMBER.set(number);
    number
}

/// The number of an index, and that of another one of the same OID before it.
fn number_of(index: pg_sys::Oid, identity: Identity) -> (u64, Option<u64>) {
    KNOWN.with_borrow_mut(|known| {
        let place = known.iter().position(|known| known.index == index);
        let outdated = match place {
            Some(place) if known[place].identity == identity => return (known[place].number, None),
            Some(place) => Some(known.swap_remove(place).number),
            None => None,
        };
        let number = new_number();
        known.push(Known {
            index,
            identity,
            number,
        });
        (number, outdated)
    })
}

/// # Safety
/// `index` is open.
unsafe fn identity(index: pg_sys::Relation, meta: &Meta) -> Identity {
    Identity {
        // SAFETY: as the caller's.
        files: unsafe { relation::files(index) },
        built_rows: meta.built_rows,
        seed: meta.seed,
    }
}
