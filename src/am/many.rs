//! Many searches of an index at once, for functions: each list is looked at once for all of them, in GPU memory or on the
//! index's pages.

use std::collections::VecDeque;
use std::slice::Chunks;

use vectorgpu_core::backend::Backend;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::ivf::copy::ListCopies;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::SearchCounts;
use vectorgpu_core::ivf::search::many::{CheckedLists, Choosing, Finding, FoundOfMany, ManyQueries};
use vectorgpu_core::ivf::search::many_pages::nearest_of_many_in_pages;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::metric::Storage;
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::{ErrorKind, Result};

use super::kept;
use super::opclass::indexed_by;
use super::scan::{self, LastScan};
use super::settings::ScanSettings;
use crate::gpu::policy::{self, ManyPlace, SearchWork};
use crate::pg::interrupt;
use crate::pg::relation::OpenIndex;
use crate::pg::store::PgStore;

/// Most queries that are searched at once; more in a call go in turns. Every part reads, and decodes, each list once.
pub(crate) const AT_ONCE: usize = 16_384;
/// The same on a GPU, which is at one part of the queries while the host sees to the rows of the one before. Smaller parts
/// overlap better and fill the kernels' blocks of queries worse.
const AT_ONCE_ON_GPU: usize = 2048;
/// Parts whose rows the GPU is finding, or has found and nobody has asked for.
const FINDING_MAX: usize = 2;
/// Parts whose lists the GPU is choosing: it does so before it turns to the rows of the part in front, so nobody waits for it.
const CHOOSING_MAX: usize = 2;

/// Lists that each query probes, times queries, by lists: from so many on it pays to read each list once for all of them.
/// 1-bit codes let a scan pass over most vectors, all of which are compared here.
const REUSE_MIN: f64 = 2.0;
const REUSE_MIN_OF_CODES: f64 = 8.0;

/// Many searches of one index at once, all under one snapshot.
pub(crate) struct ManySearch<'a> {
    open: &'a OpenIndex,
    store: PgStore,
    meta: Meta,
    settings: ScanSettings,
    place: ManyPlace,
    /// Whether pages are worth reading for all queries together.
    reuses_lists: bool,
    checked: CheckedLists,
}

/// The answers to some queries, a part of them after the other. Nothing of the engine is borrowed between two parts.
pub(crate) struct Answers<'m, 'a, 'q> {
    search: &'m mut ManySearch<'a>,
    k: usize,
    parts: Chunks<'q, &'q [f32]>,
    /// Parts that were begun, in order: `FINDING_MAX` at most whose rows are being found, then those whose lists are chosen.
    under_way: VecDeque<Part<'q>>,
}

/// Some of the queries.
struct Part<'q> {
    queries: &'q [&'q [f32]],
    /// `None` when the GPU has failed, or its memory did not suffice.
    stage: Option<Stage<'q>>,
}

/// How far the GPU is with a part.
enum Stage<'q> {
    Choosing(Choosing<'q>),
    Finding(Finding<'q>),
}

impl<'a> ManySearch<'a> {
    /// Prepares searches of `open` for about `queries` queries; `None` where scans of its pages are to be taken.
    ///
    /// # Errors
    /// Under `gpu` or an adapter's name: what opening the GPU reports; `CorruptIndex`.
    pub(crate) fn begin(open: &'a OpenIndex, queries: f64) -> Result<Option<Self>> {
        let mut store = open.store();
        let meta = Meta::read(&store.share(0)?)?;
        // Of another library's operator there are only bounds, so its rows come from scans, query by query.
        if indexed_by(open.index())?.summation != Summation::Kernels {
            return Ok(None);
        }
        let settings = ScanSettings::of(open.index(), &meta)?;
        let work = scan::work_of(open.index(), &meta, settings, Some(queries.min(AT_ONCE as f64)));
        let place = policy::many_place(open.index(), &meta, &work)?;
        let reuses_lists = meta.has_products() && lists_are_reused(&work);
        if place.copies.is_none() && !reuses_lists {
            return Ok(None);
        }
        // SAFETY: the index is open.
        let kept = unsafe { kept::of(open.index(), &store, &meta, false) }?;
        store.use_recent(kept.recent);
        Ok(Some(Self {
            open,
            store,
            meta,
            settings,
            place,
            reuses_lists,
            checked: CheckedLists::default(),
        }))
    }

    /// Prepares to find about the `k` nearest rows of each query.
    pub(crate) fn answers<'m, 'q>(&'m mut self, queries: &'q [&'q [f32]], k: usize) -> Answers<'m, 'a, 'q> {
        let most = match self.place.copies {
            Some(_) => AT_ONCE_ON_GPU,
            None => AT_ONCE,
        };
        // Parts of one size.
        let parts = queries.len().div_ceil(most).max(1);
        Answers {
            search: self,
            k,
            parts: queries.chunks(queries.len().div_ceil(parts).max(1)),
            under_way: VecDeque::new(),
        }
    }

    /// The answers to queries, from the pages where that pays.
    fn without_gpu(&self, queries: &[&[f32]], k: usize) -> Result<Vec<Option<FoundOfMany>>> {
        if !self.reuses_lists {
            return Ok(vec![None; queries.len()]);
        }
        let (probes, go_on) = (self.settings.probes, &mut interrupt::keep_waiting);
        let found = nearest_of_many_in_pages(&self.store, &self.meta, queries, probes, k, go_on)?;
        self.remember(found.counts, queries.len() as f64);
        Ok(found.queries)
    }

    /// What the GPU came to; `None` when its memory did not suffice, or when it has failed: then it is not used again.
    fn tried<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            // The lists of one query may fit where those of all do not, and those have to make room for them.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                if let Some(copied) = &self.place.copies {
                    copied.lists.release();
                }
                Ok(None)
            }
            Err(error) => {
                if let Some(copied) = &mut self.place.copies {
                    copied.lists.failed(error)?;
                    self.place.give_up();
                }
                Ok(None)
            }
        }
    }

    /// Has the GPU choose the lists of some queries.
    fn choose<'q>(&mut self, queries: &'q [&'q [f32]], k: usize) -> Result<Option<Stage<'q>>> {
        let probes = self.settings.probes;
        let Some(copied) = &mut self.place.copies else {
            return Ok(None);
        };
        let wanted = ManyQueries { queries, probes, k };
        let (mut copies, go_on) = (copied.both(&mut self.checked), &mut interrupt::keep_waiting);
        let begun = Choosing::begin(&self.store, &self.meta, &mut copies, wanted, go_on);
        Ok(self.tried(begun)?.map(Stage::Choosing))
    }

    /// Has the GPU find the rows of some queries.
    fn find<'q>(&mut self, choosing: Choosing<'q>) -> Result<Option<Stage<'q>>> {
        let Some(copied) = &mut self.place.copies else {
            return Ok(None);
        };
        let (mut copies, go_on) = (copied.both(&mut self.checked), &mut interrupt::keep_waiting);
        let begun = choosing.find(&self.store, &self.meta, &mut copies, go_on);
        Ok(self.tried(begun)?.map(Stage::Finding))
    }

    fn remember(&self, counts: SearchCounts, queries: f64) {
        let work = scan::work_of(self.open.index(), &self.meta, self.settings, Some(queries));
        let book = self.place.book.of(&work);
        let times = counts.times;
        book.close(times.rank + times.check + times.scan, counts.copied > 0);
        let device = match &self.place.copies {
            Some(copied) => copied.lists.label().to_owned(),
            None => CpuBackend::new().label().to_owned(),
        };
        scan::remember(LastScan {
            index: self.open.oid(),
            device,
            why: self.place.why,
            estimate: book.estimate,
            counts,
        });
    }
}

impl Answers<'_, '_, '_> {
    /// The answers to the next part of the queries: the rows that are about the nearest to each; `None` for a query that needs
    /// a scan of its own. Rows need not be visible. `None` when there are no more queries.
    ///
    /// When this returns, a GPU has the parts that follow to work at.
    ///
    /// # Errors
    /// `DataException` for a query of other dimensions than the index's, `CorruptIndex`, `Cancelled`; under `gpu` or an
    /// adapter's name: what the GPU reports.
    pub(crate) fn next_part(&mut self) -> Result<Option<Vec<Option<FoundOfMany>>>> {
        self.keep_busy()?;
        let Some(part) = self.under_way.pop_front() else {
            let queries = self.parts.next();
            return queries
                .map(|queries| self.search.without_gpu(queries, self.k))
                .transpose();
        };
        let found = match part.stage {
            Some(Stage::Finding(finding)) if self.search.place.copies.is_some() => {
                let metric = self.search.meta.metric;
                let found = finding.finish(metric, &mut interrupt::keep_waiting);
                self.search.tried(found)?
            }
            _ => None,
        };
        if let Some(found) = found {
            self.search.remember(found.counts, part.queries.len() as f64);
            return Ok(Some(found.queries));
        }
        if self.search.place.copies.is_some() {
            return Ok(Some(vec![None; part.queries.len()]));
        }
        self.search.without_gpu(part.queries, self.k).map(Some)
    }

    /// Gives the GPU, if there is one, as much to do as it is to have.
    fn keep_busy(&mut self) -> Result<()> {
        while self.search.place.copies.is_some() {
            let is_choosing = |part: &Part<'_>| matches!(part.stage, Some(Stage::Choosing(_)));
            let found = self
                .under_way
                .iter()
                .take_while(|part| !is_choosing(part))
                .count();
            if self.under_way.len() < found + CHOOSING_MAX
                && let Some(queries) = self.parts.next()
            {
                let stage = self.search.choose(queries, self.k)?;
                self.under_way.push_back(Part { queries, stage });
                continue;
            }
            if found >= FINDING_MAX {
                break;
            }
            let Some(part) = self.under_way.get_mut(found) else {
                break;
            };
            if let Some(Stage::Choosing(choosing)) = part.stage.take() {
                part.stage = self.search.find(choosing)?;
            }
        }
        Ok(())
    }
}

/// Whether enough queries probe each list.
fn lists_are_reused(work: &SearchWork) -> bool {
    let scan = &work.scan;
    let reuse = work.at_once.unwrap_or(1.0) * f64::from(scan.probes) / f64::from(scan.lists);
    reuse
        >= if scan.storage == Storage::Rabitq {
            REUSE_MIN_OF_CODES
        } else {
            REUSE_MIN
        }
}
