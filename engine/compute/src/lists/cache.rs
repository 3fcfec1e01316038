//! Which lists of which indexes have a copy, and which of them go when memory is short.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::cpu::Ahead;
use vectorgpu_core::ivf::copy::CopyMark;
use vectorgpu_core::metric::Metric;
use vectorgpu_core::quantize::list_row::ListRows;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::copies::CopiedIndex;
use super::extent::{CAPACITY_STEP, Extent, RowShape};
use crate::runtime::{Runtime, as_u64, as_usize};

/// A list that outgrew its copy gets room for this part of its rows more.
const GROWTH_PART: usize = 4;
/// Part of the budget that an index with its vectors may be expected to take; beyond it only codes are kept.
const EXACT_PART: (u64, u64) = (3, 4);

/// The copy of one list.
pub(super) struct ListCopy {
    pub(super) extents: Vec<Extent>,
    /// `None` while it is being made.
    pub(super) mark: Option<CopyMark>,
    /// The clock when it was used last.
    used: Cell<u64>,
}

/// What the copies of one index have in common.
#[derive(Debug, Clone)]
pub(super) struct IndexShape {
    pub(super) metric: Metric,
    pub(super) rows: RowShape,
    /// Whose memory it is, for the budget's accounts.
    pub(super) label: String,
}

struct IndexLists {
    shape: IndexShape,
    /// By the number of the list: a search looks up every list that it probes.
    lists: Vec<Option<Rc<RefCell<ListCopy>>>>,
    /// How many there are.
    copied: usize,
}

impl IndexLists {
    fn get(&self, list: u32) -> Option<&Rc<RefCell<ListCopy>>> {
        self.lists.get(list as usize)?.as_ref()
    }

    fn put(&mut self, list: u32, copy: ListCopy) {
        let place = list as usize;
        if place >= self.lists.len() {
            self.lists.resize(place + 1, None);
        }
        let before = self.lists[place].replace(Rc::new(RefCell::new(copy)));
        self.copied += usize::from(before.is_none());
    }

    fn remove(&mut self, list: u32) {
        let place = self.lists.get_mut(list as usize);
        self.copied -= usize::from(place.and_then(Option::take).is_some());
    }

    /// All copies, by the numbers of their lists.
    fn copies(&self) -> impl Iterator<Item = (u32, &Rc<RefCell<ListCopy>>)> {
        let places = (0..).zip(&self.lists);
        places.filter_map(|(list, copy)| Some((list, copy.as_ref()?)))
    }
}

/// What the copies of one index take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexUsage {
    /// Lists with a copy.
    pub lists: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of device memory.
    pub bytes: u64,
}

/// The copies that one engine holds. They go with the engine, or when memory is short.
pub struct ListCache {
    pub(super) runtime: Rc<Runtime>,
    indexes: RefCell<HashMap<u64, IndexLists>>,
    /// Raised after every search: copies used since are needed by the next one.
    clock: Cell<u64>,
    evicted: Cell<u64>,
    /// What the self tests of exact sums found: of squared distances, and of dot products.
    pub(super) adds_exactly: Cell<[Option<bool>; 2]>,
}

impl ListCache {
    pub(crate) fn new(runtime: Rc<Runtime>) -> Self {
        Self {
            runtime,
            indexes: RefCell::default(),
            clock: Cell::new(0),
            evicted: Cell::new(0),
            adds_exactly: Cell::default(),
        }
    }

    /// Copies dropped so far to make room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.get()
    }

    /// Lists of the index with this number that have a copy.
    #[must_use]
    pub fn lists_of(&self, index: u64) -> usize {
        self.indexes.borrow().get(&index).map_or(0, |index| index.copied)
    }

    /// What the index with this number takes.
    #[must_use]
    pub fn usage_of(&self, index: u64) -> IndexUsage {
        let mut usage = IndexUsage::default();
        if let Some(lists) = self.indexes.borrow().get(&index) {
            for (_, copy) in lists.copies() {
                usage.lists += 1;
                for extent in &copy.borrow().extents {
                    usage.rows += extent.rows() as u64;
                    usage.bytes += extent.bytes();
                }
            }
        }
        usage
    }

    /// Drops all copies of `index`.
    pub fn forget(&self, index: u64) {
        self.indexes.borrow_mut().remove(&index);
    }

    /// The shape of the copies of `index`, made now if there is none; `vectors` says whether vectors can be kept.
    pub(super) fn shape(&self, index: &CopiedIndex<'_>, vectors: bool) -> IndexShape {
        let mut indexes = self.indexes.borrow_mut();
        let lists = indexes.entry(index.number).or_insert_with(|| {
            let whole = RowShape {
                dims: index.dims,
                vectors: true,
            };
            let expected = index.rows.saturating_mul(whole.row_bytes() as u64);
            let most = self.runtime.budget.limit_bytes() / EXACT_PART.1 * EXACT_PART.0;
            IndexLists {
                shape: IndexShape {
                    metric: index.metric,
                    rows: RowShape {
                        dims: index.dims,
                        vectors: vectors && expected <= most,
                    },
                    label: index.label.to_owned(),
                },
                lists: Vec::new(),
                copied: 0,
            }
        });
        lists.shape.clone()
    }

    /// The copy of a list, used now.
    pub(super) fn copy(&self, index: u64, list: u32) -> Option<Rc<RefCell<ListCopy>>> {
        let indexes = self.indexes.borrow();
        let copy = indexes.get(&index)?.get(list)?;
        copy.borrow().used.set(self.clock.get());
        Some(Rc::clone(copy))
    }

    /// Asks for the memory that [`Self::copy`] of a list will read.
    pub(super) fn ask_ahead(&self, index: u64, list: u32) {
        let indexes = self.indexes.borrow();
        if let Some(copy) = indexes.get(&index).and_then(|index| index.get(list)) {
            Ahead::new(Rc::as_ptr(copy).cast(), size_of::<RefCell<ListCopy>>()).ask_all();
        }
    }

    /// Drops the copy of a list.
    pub(super) fn discard(&self, index: u64, list: u32) {
        if let Some(lists) = self.indexes.borrow_mut().get_mut(&index) {
            lists.remove(list);
        }
    }

    /// Ends what counts as in use.
    pub(super) fn tick(&self) {
        self.clock.set(self.clock.get() + 1);
    }

    /// Begins a copy of a list of about `rows` rows.
    ///
    /// # Errors
    /// `OutOfMemory` when it does not fit beside what is in use, `Cancelled`, `DeviceLost`.
    pub(super) fn begin(
        &self,
        index: u64,
        shape: &IndexShape,
        list: u32,
        rows: u64,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.discard(index, list);
        let mut extents = Vec::new();
        let mut left = as_usize(rows)?;
        let most = self.rows_of_largest(shape)?;
        loop {
            let capacity = left.clamp(1, most).next_multiple_of(CAPACITY_STEP);
            extents.push(self.reserve(shape, capacity, keep_waiting)?);
            left = left.saturating_sub(capacity);
            if left == 0 {
                break;
            }
        }
        let copy = ListCopy {
            extents,
            mark: None,
            used: Cell::new(self.clock.get()),
        };
        let mut indexes = self.indexes.borrow_mut();
        if let Some(lists) = indexes.get_mut(&index) {
            lists.put(list, copy);
        }
        Ok(())
    }

    /// Adds rows to the copy of a list.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) fn append(
        &self,
        index: u64,
        shape: &IndexShape,
        list: u32,
        rows: &ListRows,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let gone = || Error::new(ErrorKind::Internal, "a list's copy is not there");
        let copy = self.copy(index, list).ok_or_else(gone)?;
        // Held here, not in the cell, while the device is waited for.
        let mut extents = std::mem::take(&mut copy.borrow_mut().extents);
        let mut done = 0;
        while done < rows.len() {
            let place = extents.iter().position(|extent| extent.room() > 0);
            let extent = match place {
                Some(place) => &mut extents[place],
                None => {
                    let held: usize = extents.iter().map(Extent::rows).sum();
                    let wanted = (rows.len() - done).max(held / GROWTH_PART);
                    let capacity = wanted
                        .min(self.rows_of_largest(shape)?)
                        .next_multiple_of(CAPACITY_STEP);
                    extents.push(self.reserve(shape, capacity, keep_waiting)?);
                    extents.last_mut().ok_or_else(gone)?
                }
            };
            let count = extent.room().min(rows.len() - done);
            // Nothing was appended where there was no memory to send it.
            self.evicting(keep_waiting, &mut |keep_waiting| {
                extent.append(&self.runtime, rows, done, count, keep_waiting)
            })?;
            done += count;
        }
        copy.borrow_mut().extents = extents;
        Ok(())
    }

    /// Rows of the largest extent: half of what a kernel can see.
    fn rows_of_largest(&self, shape: &IndexShape) -> Result<usize> {
        let limits = self
            .runtime
            .capabilities()
            .binding_bytes
            .min(self.runtime.budget.limit_bytes() / 4);
        let larger = shape.rows.scanned_bytes().max(shape.rows.found_bytes());
        let rows = as_usize(limits / 2)? / larger;
        Ok((rows / CAPACITY_STEP * CAPACITY_STEP).max(CAPACITY_STEP))
    }

    /// Reserves an extent, dropping the copies used least recently where that is needed.
    fn reserve(
        &self,
        shape: &IndexShape,
        capacity: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Extent> {
        self.evicting(keep_waiting, &mut |keep_waiting| {
            Extent::reserve(&self.runtime, &shape.label, shape.rows, capacity, keep_waiting)
        })
    }

    /// Does `act` again while it runs out of memory and a copy can be dropped, or, once, what is only kept for re-use.
    pub(super) fn evicting<T>(
        &self,
        keep_waiting: &mut KeepWaiting<'_>,
        act: &mut dyn FnMut(&mut KeepWaiting<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut is_first = true;
        loop {
            let error = match act(&mut *keep_waiting) {
                Err(error) if error.kind() == ErrorKind::OutOfMemory => error,
                done => return done,
            };
            if !self.evict() && !std::mem::take(&mut is_first) {
                return Err(error);
            }
            self.free_dropped(&mut *keep_waiting)?;
        }
    }

    /// Frees the memory of copies that were dropped: once the device is done with them.
    pub(super) fn free_dropped(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.runtime.wait_idle(keep_waiting)?;
        self.runtime.reclaim();
        self.runtime.free_idle();
        Ok(())
    }

    /// Drops the copy used least recently, unless all are in use.
    pub(super) fn evict(&self) -> bool {
        let mut indexes = self.indexes.borrow_mut();
        let now = self.clock.get();
        let oldest = indexes
            .iter()
            .flat_map(|(&index, lists)| lists.copies().map(move |(list, copy)| (index, list, copy)))
            .filter_map(|(index, list, copy)| Some((copy.try_borrow().ok()?.used.get(), index, list)))
            .filter(|(used, _, _)| *used < now)
            .min();
        let Some((_, index, list)) = oldest else {
            return false;
        };
        if let Some(lists) = indexes.get_mut(&index) {
            lists.remove(list);
        }
        self.evicted.set(self.evicted.get() + 1);
        true
    }

    /// Has segments made large enough for an index of `rows` rows that is about to be copied whole.
    pub(super) fn expect(&self, shape: &IndexShape, rows: u64) -> Result<()> {
        let limit = self.runtime.budget.limit_bytes();
        for (segments, row_bytes) in [
            (&self.runtime.segments, shape.rows.scanned_bytes()),
            (&self.runtime.side_segments, shape.rows.found_bytes()),
        ] {
            segments.expect(rows.saturating_mul(as_u64(row_bytes)?).min(limit));
        }
        Ok(())
    }
}
