//! The copies of one index, as a scan uses them.

use std::cell::RefCell;
use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::ivf::copy::{
    CopiesSearched, CopyHit, CopyMark, ListCopies, ManyHits, PendingMany, Probed, SentQueries,
    nearest_in_turns,
};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::cache::{IndexShape, ListCache, ListCopy};
use super::extent::RowShape;
use crate::kernels::top_k::few_max;
use crate::runtime::{as_u64, as_usize};

/// Told of the error that ended a search; says whether the pages are to be read instead.
pub type OnFailure = Box<dyn FnMut(&Error) -> bool>;

/// The index that is copied.
#[derive(Debug, Clone, Copy)]
pub struct CopiedIndex<'a> {
    /// What its user knows it by.
    pub number: u64,
    /// The operator that it orders by.
    pub metric: Metric,
    /// How it stores rows.
    pub storage: Storage,
    /// Dimensions of a row.
    pub dims: usize,
    /// About how many rows it has: vectors are kept beside codes where all of them fit.
    pub rows: u64,
    /// Whose memory its copies are, for the budget's accounts.
    pub label: &'a str,
}

/// Of the memory limit, what a block may take that is searched and dropped: searches of it need as much.
const BLOCK_PART: u64 = 4;

/// Copies of lists that make room together.
const EVICTED_TOGETHER: usize = 256;

/// The copies of one index's lists on one engine's GPU.
pub struct IndexCopies {
    pub(super) cache: Rc<ListCache>,
    index: u64,
    /// Whether copies go with this.
    is_passing: bool,
    pub(super) shape: IndexShape,
    on_failure: OnFailure,
    /// Who prepares queries.
    pub(super) crew: Crew,
}

impl IndexCopies {
    /// The copies of `index`. They are exact where its storage holds vectors, those fit, and the device adds up as the CPU
    /// does.
    ///
    /// # Errors
    /// `Unsupported` on a device that cannot read f16; `Cancelled`, `DeviceLost`; what compiling kernels reports.
    pub fn open(
        cache: &Rc<ListCache>,
        index: CopiedIndex<'_>,
        on_failure: OnFailure,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        if !cache.runtime.capabilities().f16_rows {
            return Err(Error::new(ErrorKind::Unsupported, "the GPU cannot read f16 rows"));
        }
        let vectors =
            ListRows::keeps_vectors(index.storage) && cache.adds_exactly(index.metric, keep_waiting)?;
        Ok(Self {
            cache: Rc::clone(cache),
            index: index.number,
            is_passing: false,
            shape: cache.shape(&index, vectors),
            on_failure,
            crew: Crew::ALONE,
        })
    }

    /// Has `crew` prepare queries from now on.
    pub fn use_crew(&mut self, crew: Crew) {
        self.crew = crew;
    }

    /// Copies of rows that are no index's, under a number that nothing else has; they are dropped with this.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_passing(
        cache: &Rc<ListCache>,
        rows: CopiedIndex<'_>,
        on_failure: OnFailure,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        let mut copies = Self::open(cache, rows, on_failure, keep_waiting)?;
        copies.is_passing = true;
        Ok(copies)
    }

    /// Rows that can be copied, searched and dropped again, block by block, within the memory limit.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub fn block_rows(&self) -> Result<usize> {
        let limit = self.cache.runtime.budget.limit_bytes() / BLOCK_PART;
        as_usize(limit / self.row_bytes()?)
    }

    /// Has device memory allocated in few large pieces for `rows` rows that are about to be copied.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub fn expect(&self, rows: u64) -> Result<()> {
        self.cache.expect(&self.shape, rows)
    }

    /// Bytes of device memory that a row takes.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub fn row_bytes(&self) -> Result<u64> {
        as_u64(self.shape.rows.row_bytes())
    }

    /// Drops some copies of others that no search is using; whether there were any. Indexes' own copies do not drive each
    /// other out for what many queries need at once: a query searched alone needs less, and makes room.
    fn make_room(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<bool> {
        if !self.is_passing || !self.cache.evict() {
            return Ok(false);
        }
        for _ in 1..EVICTED_TOGETHER {
            self.cache.evict();
        }
        self.cache.free_dropped(keep_waiting)?;
        Ok(true)
    }

    /// The copy of a list, which is whole.
    pub(super) fn finished(&self, list: u32) -> Result<Rc<RefCell<ListCopy>>> {
        let copy = self.cache.copy(self.index, list);
        let copy = copy.filter(|copy| copy.borrow().mark.is_some());
        copy.ok_or_else(|| Error::new(ErrorKind::Internal, format!("list {list} has no finished copy")))
    }

    /// Lets the copies used so far make room for others again.
    pub fn release(&self) {
        self.cache.tick();
    }
}

impl Drop for IndexCopies {
    fn drop(&mut self) {
        if self.is_passing {
            self.cache.forget(self.index);
        }
    }
}

impl ListCache {
    /// The shape of test rows.
    pub(super) fn test_shape(dims: usize) -> IndexShape {
        IndexShape {
            metric: Metric::L2,
            rows: RowShape { dims, vectors: true },
            label: "vectorgpu.lists.test".to_owned(),
        }
    }
}

impl ListCopies for IndexCopies {
    fn label(&self) -> &str {
        &self.cache.runtime.context.report().name
    }

    fn is_exact(&self) -> bool {
        self.shape.rows.vectors
    }

    fn at_once_max(&self) -> usize {
        few_max(self.cache.runtime.capabilities())
    }

    fn mark(&self, list: u32) -> Option<CopyMark> {
        self.cache.copy(self.index, list)?.borrow().mark
    }

    fn ask_ahead(&self, list: u32) {
        self.cache.ask_ahead(self.index, list);
    }

    fn begin(&mut self, list: u32, rows: u64, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.cache
            .begin(self.index, &self.shape, list, rows, keep_waiting)
    }

    fn append(&mut self, list: u32, rows: &ListRows, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.cache
            .append(self.index, &self.shape, list, rows, keep_waiting)
    }

    fn finish(&mut self, list: u32, mark: CopyMark) {
        if let Some(copy) = self.cache.copy(self.index, list) {
            copy.borrow_mut().mark = Some(mark);
        }
    }

    fn discard(&mut self, list: u32) {
        self.cache.discard(self.index, list);
    }

    fn nearest(
        &mut self,
        query: &ListQuery<'_>,
        lists: &[u32],
        wanted: usize,
        after: Option<(f32, u64)>,
        hits: &mut Vec<CopyHit>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<CopiesSearched> {
        let copies = lists.iter().map(|list| self.finished(*list));
        let copies = copies.collect::<Result<Vec<_>>>()?;
        let before = hits.len();
        // Copies may fill all memory to the last block, and a search needs some.
        let searched = self.cache.evicting(keep_waiting, &mut |keep_waiting| {
            hits.truncate(before);
            self.search(query, &copies, wanted, after, hits, keep_waiting)
        })?;
        self.cache.tick();
        Ok(searched)
    }

    fn nearest_of_many(
        &mut self,
        queries: &[ListQuery<'_>],
        lists: Probed<'_>,
        wanted: usize,
        found: &mut ManyHits,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if (1..=self.at_once_max()).contains(&wanted) {
            let (hits, answered) = (found.hits.len(), found.queries.len());
            loop {
                let searched = self
                    .search_many(queries, lists, wanted, &mut SentQueries::default(), keep_waiting)
                    .and_then(|pending| pending.take(found, keep_waiting));
                match searched {
                    // What is kept for later searches must not keep this one from its memory.
                    Err(error)
                        if error.kind() == ErrorKind::OutOfMemory && self.make_room(keep_waiting)? =>
                    {
                        found.hits.truncate(hits);
                        found.queries.truncate(answered);
                    }
                    done => {
                        self.cache.tick();
                        return done;
                    }
                }
            }
        }
        nearest_in_turns(self, queries, lists, wanted, found, keep_waiting)
    }

    fn begin_many(
        &mut self,
        queries: &[ListQuery<'_>],
        lists: Probed<'_>,
        wanted: usize,
        sent: &mut SentQueries,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn PendingMany>> {
        if (1..=self.at_once_max()).contains(&wanted) {
            let pending = self.search_many(queries, lists, wanted, sent, keep_waiting)?;
            // What the device was given it finds as it is now, whatever becomes of the lists.
            self.cache.tick();
            return Ok(Box::new(pending));
        }
        let mut found = ManyHits::default();
        self.nearest_of_many(queries, lists, wanted, &mut found, keep_waiting)?;
        Ok(Box::new(found))
    }

    fn failed(&mut self, error: Error) -> Result<()> {
        self.cache.tick();
        if error.kind() != ErrorKind::Cancelled && (self.on_failure)(&error) {
            Ok(())
        } else {
            Err(error)
        }
    }
}
