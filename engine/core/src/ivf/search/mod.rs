//! The ordered scan: ranks lists by their centroids, reads the nearest ones, hands out rows by distance, goes on.
//!
//! A scan is a stream without a limit. It reads `probes` lists at a time; when the caller has taken all their rows, the
//! next lists follow, up to `max_probes`. In strict order a row found later that is nearer than one already returned
//! is left out, so the output is always sorted. Source of the idea of a streamed IVF scan: pgvector's ivfflat.
//!
//! Groups of a list are read from its head to its tail, the next one locked before the last one is released. VACUUM
//! may still move a row to a group that the scan has passed; it raises the list's epoch then, which the scan
//! compares at the end of each list, and reads the batch again.

mod bits;
mod collect;
mod coming;
mod copies;
mod int8;
pub mod many;
pub mod many_pages;
mod rabitq;
mod rank;
mod rank_on_device;
mod rank_together;
mod sketch;

use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::backend::{Backend, KeepWaiting};
use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Storage;
use crate::quantize::bit_query::BitQuery;
use crate::quantize::int8_query::Int8Query;
use crate::quantize::rabitq::RabitqQuery;
use crate::quantize::rotation::Rotation;
use crate::quantize::sketch::query::SketchQuery;
use crate::quantize::{QueryNorms, Summation};
use crate::sparse::Sparse;
use crate::vector::check_equal_dims;

use super::centroids::Centroids;
use super::copy::ListCopies;
use super::layout::{DIRECTORY_ENTRIES, ListHead, Meta, Shape, Tid};
use super::page::{self, CONTENT_AT, Kind, NO_BLOCK};
use super::store::{PageStore, Whereabouts};
use super::value::IndexValue;
pub use super::window::ENTRY_BYTES;
use super::window::{Entry, Source, Window};
use collect::Collector;
use copies::CopyScan;
use rabitq::{prefetch_row, read_row_ahead};
use rank::Ranking;
pub use rank::nearest_list;

/// Lists whose first pages are asked for at once when they lie on the disk.
const LISTS_AHEAD: usize = 64;
/// How many rows ahead of the one that is looked at more closely others are asked for: most of the time goes by waiting
/// for memory.
const ROWS_AHEAD: usize = 6;
/// How many, when they lie on the disk.
const ROWS_READ_AHEAD: usize = 48;

/// What happens when the rows of the first lists are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iterate {
    /// Further lists are read; rows nearer than one already returned are left out.
    Strict,
    /// Further lists are read; the order is only right within `probes` lists.
    Relaxed,
    /// The scan ends.
    Off,
}

/// How to scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchOptions {
    /// Lists to read at a time, from 1.
    pub probes: u32,
    /// Most lists to read, from 1.
    pub max_probes: u32,
    /// What comes after the first lists.
    pub iterate: Iterate,
    /// Most rows to hold, [`ENTRY_BYTES`] each.
    pub window_rows: usize,
    /// Rows that the scan is expected to take, [`Search::taken`] of those before it.
    pub expected: Taken,
    /// How the operator sums that the rows are ordered by.
    pub summation: Summation,
}

/// How many rows a scan took; what another one like it is expected to take. Only its speed depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Rows that left the window: those returned, or those looked at to tell which.
    pub rows: usize,
    /// Rows returned.
    pub returned: usize,
}

impl Taken {
    /// The most of late, after one more scan: one small scan after many large ones says little.
    #[must_use]
    pub fn after(self, last: Self) -> Self {
        let most = |before: usize, last: usize| last.max(before - before / 16);
        Self {
            rows: most(self.rows, last.rows),
            returned: most(self.returned, last.returned),
        }
    }
}

/// A row of the stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Its heap row.
    pub tid: Tid,
    /// The operator's value, or a lower bound of it.
    pub distance: f64,
    /// Whether `distance` is the operator's value.
    pub exact: bool,
}

/// What a scan has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchCounts {
    /// Lists read, repeated passes included.
    pub lists: u64,
    /// Rows scored.
    pub rows: u64,
    /// Rows behind a 1-bit code whose vectors were read.
    pub compared: u64,
    /// Lists of which rows had to be copied to a device.
    pub copied: u64,
    /// Passes started again because VACUUM moved rows.
    pub restarts: u64,
    /// Time by stage.
    pub times: StageTimes,
}

/// How long the stages of a scan took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Choosing lists by their centroids.
    pub rank: Duration,
    /// Bringing copies of lists up to date.
    pub check: Duration,
    /// Reading lists, or searching their copies.
    pub scan: Duration,
}

/// A query vector and what the distances need besides.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) values: Vec<f32>,
    pub(super) norm: f64,
    pub(super) norm_sq: f32,
    /// For lower bounds.
    pub(super) bounds: QueryNorms,
    /// For rows stored as int8.
    pub(super) int8: Option<Int8Query>,
    /// For bit strings.
    pub(super) bits: Option<BitQuery>,
    /// For sparse vectors.
    pub(super) sketch: Option<SketchQuery>,
    /// For rows behind 1-bit codes.
    pub(super) rabitq: Option<RabitqQuery>,
}

impl Query {
    pub(super) fn new(values: &[f32], exact_scores: bool) -> Self {
        Self {
            values: values.to_vec(),
            norm: distance::norm(values),
            norm_sq: distance::norm_squared(values),
            bounds: QueryNorms::new(values, exact_scores),
            int8: None,
            bits: None,
            sketch: None,
            rabitq: None,
        }
    }

    /// Prepares what the rows' storage needs, and their operator.
    fn for_rows(
        mut self,
        meta: &Meta,
        rotation: Option<&Rotation>,
        sparse: Option<Sparse<'_>>,
        summation: Summation,
    ) -> Result<Self> {
        if meta.storage == Storage::Sketch {
            let Some(sparse) = sparse else {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "sketches are compared with a sparse vector",
                ));
            };
            self.sketch = Some(SketchQuery::new(meta.metric, sparse));
        }
        let bits = (meta.storage == Storage::Bits).then(|| BitQuery::new(meta.metric, &self.values));
        self.bits = bits.transpose()?;
        let (metric, values) = (meta.metric, &self.values);
        self.int8 =
            (meta.storage == Storage::Int8).then(|| Int8Query::for_operator(metric, values, summation));
        self.rabitq =
            rotation.map(|rotation| RabitqQuery::new(metric, rotation, values).for_operator(summation));
        self.bounds = self.bounds.for_operator(summation);
        Ok(self)
    }
}

/// One ordered scan.
pub struct Search {
    meta: Meta,
    shape: Shape,
    options: SearchOptions,
    query: Option<Query>,
    ranking: Ranking,
    batch: std::ops::Range<usize>,
    window: Window,
    last: Option<Entry>,
    /// The lists of the batch and their first groups.
    heads: Vec<(u32, u32)>,
    collector: Collector,
    counts: SearchCounts,
    /// Whether the operator's value can be computed here.
    known: bool,
    /// Whether that is done when rows are read.
    exact: bool,
    centroids: Option<Rc<Centroids>>,
    rotation: Option<Rotation>,
    settle_now: bool,
    returned: usize,
    /// Rows of which the 4-bit code was read since the last start.
    refined: usize,
    copies: Option<CopyScan>,
}

impl Search {
    /// A scan of the index described by `meta`; [`Search::start`] gives it a query.
    pub fn new(meta: Meta, options: SearchOptions) -> Self {
        let shape = meta.shape();
        let filtered = meta.storage == Storage::Rabitq;
        Self {
            meta,
            shape,
            options,
            query: None,
            ranking: Ranking::default(),
            batch: 0..0,
            window: Window::new(options.window_rows, options.expected.rows),
            last: None,
            heads: Vec::new(),
            collector: Collector::default(),
            counts: SearchCounts::default(),
            known: true,
            exact: true,
            centroids: None,
            rotation: filtered.then(|| Rotation::new(meta.dims as usize, meta.seed)),
            settle_now: false,
            returned: 0,
            refined: 0,
            copies: None,
        }
    }

    /// Searches `copies` of the lists, brought up to date first, in place of their pages from now on.
    pub fn use_copies(&mut self, copies: Box<dyn ListCopies>) {
        self.copies = Some(CopyScan::new(copies, &self.meta, &self.options));
    }

    /// Whether copies of the lists are searched; `None` also where they could not answer and the pages are read.
    pub fn copies_in_use(&self) -> Option<&str> {
        self.copies.as_ref().and_then(CopyScan::label)
    }

    /// Ranks lists by `centroids`, a copy of the index's, from now on.
    pub fn use_centroids(&mut self, centroids: Rc<Centroids>) {
        self.centroids = Some(centroids);
    }

    /// Starts over with a query, memory kept. `None` is SQL's NULL: every row is returned, in no order.
    ///
    /// `exact_scores` is [`Backend::is_exact`] of the backend that [`Search::next`] will get.
    ///
    /// # Errors
    /// `DataException` when the query's dimensions are not the index's.
    pub fn start(&mut self, query: Option<IndexValue<'_>>, exact_scores: bool) -> Result<()> {
        if let Some(value) = query {
            check_equal_dims(self.meta.dims as usize, value.vector.len())?;
        }
        let summation = self.options.summation;
        let prepare = |value: IndexValue<'_>| {
            let query = Query::new(value.vector, exact_scores);
            query.for_rows(&self.meta, self.rotation.as_ref(), value.sparse, summation)
        };
        self.query = query.map(prepare).transpose()?;
        self.known = self.query.is_none() || summation == Summation::Kernels;
        self.exact = self.query.is_none() || (exact_scores && self.known && self.meta.storage.is_exact());
        self.ranking.clear();
        self.collector.restart();
        self.batch = 0..0;
        self.window.restart();
        self.window.open(None);
        self.window.seal();
        self.last = None;
        self.settle_now = false;
        self.returned = 0;
        self.refined = 0;
        self.counts = SearchCounts::default();
        if let Some(copies) = &mut self.copies {
            copies.start(self.meta.metric, query.map(|query| query.vector));
        }
        Ok(())
    }

    /// What the scan has done since [`Search::start`].
    pub fn counts(&self) -> SearchCounts {
        self.counts
    }

    /// How many rows the scan took since [`Search::start`].
    pub fn taken(&self) -> Taken {
        Taken {
            rows: self.refined.max(self.returned),
            returned: self.returned,
        }
    }

    /// The next row, by ascending distance.
    ///
    /// # Errors
    /// `CorruptIndex`, `Cancelled`, what the backend reports.
    pub fn next<S: PageStore>(
        &mut self,
        store: &S,
        backend: &mut dyn Backend,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Found>> {
        loop {
            if let Some(entry) = self.settled(store)? {
                self.last = self.last.max(Some(entry));
                self.settle_now = false;
                self.returned += 1;
                let source = entry.source();
                if let Some(copies) = &mut self.copies {
                    copies.returned(entry);
                }
                return Ok(Some(Found {
                    tid: Tid(entry.tid),
                    distance: if source == Source::Moved {
                        f64::NEG_INFINITY
                    } else {
                        entry.key()
                    },
                    exact: match source {
                        Source::Exact => self.known,
                        Source::Settled => self.exact,
                        Source::Bound | Source::Moved | Source::Slot { .. } => false,
                    },
                }));
            }
            if self.window.overflowed() {
                // A pass that returned nothing and found no room for more would only be repeated.
                self.settle_now |= !self.window.can_grow();
                self.window.grow();
                if let Some(copies) = &mut self.copies {
                    copies.want_more(self.returned);
                }
                self.window.open(self.last);
            } else {
                let started = Instant::now();
                let opened = self.open_next_batch(store, backend, keep_waiting)?;
                self.counts.times.rank += started.elapsed();
                if !opened {
                    return Ok(None);
                }
            }
            self.find_heads(store)?;
            if !self.read_copies(store, keep_waiting)? {
                let started = Instant::now();
                self.read_batch(store, backend, keep_waiting)?;
                self.counts.times.scan += started.elapsed();
            }
        }
    }

    /// The nearest row of the window, its distance known, once no other can be nearer.
    fn settled<S: PageStore>(&mut self, store: &S) -> Result<Option<Entry>> {
        while let Some(entry) = self.window.pop() {
            let (Source::Slot { fine, .. }, Some(query)) = (entry.source(), &self.query) else {
                return Ok(Some(entry));
            };
            let following = if fine {
                self.counts.compared += 1;
                self.window.peek_grown()
            } else {
                self.refined += 1;
                self.window.peek(ROWS_AHEAD)
            };
            if let Some(following) = following {
                prefetch_row(store, &self.shape, following);
            }
            let entry = self
                .collector
                .settle(store, &self.meta, &self.shape, query, entry, None)?;
            self.window.put_back(entry);
        }
        Ok(None)
    }

    fn open_next_batch<S: PageStore>(
        &mut self,
        store: &S,
        backend: &mut dyn Backend,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<bool> {
        let from = self.batch.end;
        if from == 0 {
            let centroids = self.centroids.as_deref();
            self.ranking.score(
                store,
                &self.meta,
                self.query.as_ref(),
                centroids,
                backend,
                keep_waiting,
            )?;
        } else if self.options.iterate == Iterate::Off {
            return Ok(false);
        }
        let limit = self
            .options
            .max_probes
            .max(self.options.probes)
            .min(self.meta.lists) as usize;
        let until = limit.min(from + self.options.probes as usize);
        if from >= until {
            return Ok(false);
        }
        let centroids = self.centroids.as_deref();
        // A device searches all of them at once.
        let ordered = self.copies_in_use().is_none();
        let query = self.query.as_ref();
        self.ranking
            .rank(store, &self.meta, query, centroids, from..until, ordered)?;
        for (list, place) in self.ranking.places() {
            self.collector.know(&self.meta, list, place);
        }
        self.batch = from..until;
        let floor = match self.options.iterate {
            Iterate::Strict => self.last.map(Entry::before_ties),
            Iterate::Relaxed | Iterate::Off => None,
        };
        self.last = floor;
        self.window.open(floor);
        Ok(true)
    }

    /// Looks up the first groups of the batch's lists.
    fn find_heads<S: PageStore>(&mut self, store: &S) -> Result<()> {
        self.heads.clear();
        // Most lists share a page of the directory.
        let mut locked: Option<(u32, S::Shared)> = None;
        for rank in self.batch.clone() {
            let list = self.ranking.list(rank);
            let (block, at) = directory_place(&self.meta, list);
            let page = match locked.take() {
                Some((same, page)) if same == block => page,
                other => {
                    drop(other);
                    store.share(block)?
                }
            };
            self.heads.push((list, head_in(&page, block, at)?));
            locked = Some((block, page));
        }
        Ok(())
    }

    /// Asks for the lists of the batch at once where they lie on the disk: for all heads, and, once they are there, for what
    /// follows each.
    fn read_lists_ahead<S: PageStore>(&self, store: &S) -> Result<()> {
        let heads = self.heads.iter().map(|(_, head)| *head);
        let heads = heads.filter(|head| *head != NO_BLOCK).take(LISTS_AHEAD);
        let mut cold = false;
        for head in heads.clone() {
            cold |= matches!(store.prefetch(head, 0..0), Whereabouts::Disk);
        }
        for head in heads.filter(|_| cold) {
            let groups = ListHead::read(&store.share(head)?).groups;
            collect::read_ahead(store, &self.shape, head, groups);
        }
        Ok(())
    }

    fn read_batch<S: PageStore>(
        &mut self,
        store: &S,
        backend: &mut dyn Backend,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.read_lists_ahead(store)?;
        let from_first = self.batch.start == 0;
        'pass: loop {
            self.collector.clear();
            for (at, (list, head)) in self.heads.iter().copied().enumerate() {
                store.pause()?;
                let after = self.heads.get(at + 1).copied();
                let mut pass = collect::Pass {
                    store,
                    meta: &self.meta,
                    shape: &self.shape,
                    query: self.query.as_ref(),
                    backend: &mut *backend,
                    keep_waiting: &mut *keep_waiting,
                    window: &mut self.window,
                    counts: &mut self.counts,
                    settle_now: self.settle_now,
                };
                if self.collector.list(&mut pass, list, head, after)?.is_break() {
                    self.counts.restarts += 1;
                    self.window.reopen();
                    continue 'pass;
                }
                if from_first {
                    self.collector.narrow(&mut pass, self.options.expected.returned)?;
                }
            }
            let mut pass = collect::Pass {
                store,
                meta: &self.meta,
                shape: &self.shape,
                query: self.query.as_ref(),
                backend: &mut *backend,
                keep_waiting: &mut *keep_waiting,
                window: &mut self.window,
                counts: &mut self.counts,
                settle_now: self.settle_now,
            };
            self.collector.flush(&mut pass)?;
            self.window.seal();
            (0..=ROWS_AHEAD)
                .filter_map(|ahead| self.window.peek(ahead))
                .for_each(|entry| prefetch_row(store, &self.shape, entry));
            (0..ROWS_READ_AHEAD)
                .filter_map(|ahead| self.window.peek(ahead))
                .for_each(|entry| read_row_ahead(store, &self.shape, entry));
            return Ok(());
        }
    }
}

impl Search {
    /// Reads the batch from copies of its lists, if there are some to use and they can be.
    fn read_copies<S: PageStore>(&mut self, store: &S, keep_waiting: &mut KeepWaiting<'_>) -> Result<bool> {
        let (Some(copies), Some(query)) = (&mut self.copies, &self.query) else {
            return Ok(false);
        };
        let index = copies::Index {
            meta: &self.meta,
            shape: &self.shape,
        };
        let counts = &mut self.counts;
        let read = match copies.read(
            store,
            &index,
            query,
            &self.heads,
            &mut self.window,
            counts,
            keep_waiting,
        ) {
            Ok(read) => read,
            Err(error) => {
                copies.failed(error)?;
                false
            }
        };
        if !read {
            // The rest of the scan keeps to one kind of bounds.
            let returned = copies.give_up();
            self.window.reopen();
            if let Some((returned, bound)) = returned {
                self.window.leave_out(returned, bound);
                self.last = None;
            }
        }
        Ok(read)
    }
}

/// Whether a list changed under the scan: the batch has to be read again.
type Overtaken = ControlFlow<()>;

/// Where the directory holds the head block of `list`: block, offset.
pub(super) fn directory_place(meta: &Meta, list: u32) -> (u32, usize) {
    let (page, slot) = (
        list as usize / DIRECTORY_ENTRIES,
        list as usize % DIRECTORY_ENTRIES,
    );
    (
        meta.directory_first + u32::try_from(page).expect("at most 17"),
        CONTENT_AT + slot * 4,
    )
}

/// The head block of `list`, or `NO_BLOCK` when it never had a row.
pub(super) fn list_head_block<S: PageStore>(store: &S, meta: &Meta, list: u32) -> Result<u32> {
    let (block, at) = directory_place(meta, list);
    head_in(&store.share(block)?, block, at)
}

/// The head block that the directory page `block` has at offset `at`.
fn head_in(directory: &[u8], block: u32, at: usize) -> Result<u32> {
    page::expect(directory, block, Kind::Directory)?;
    Ok(page::u32_at(directory, at))
}
