//! Many searches of an index at once, for functions: each list is looked at once for all of them, in GPU memory or on the
//! index's pages.

use vectorgpu_core::backend::Backend;
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::ivf::copy::ListCopies;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::SearchCounts;
use vectorgpu_core::ivf::search::many::{FoundOfMany, ManyCopies, nearest_of_many};
use vectorgpu_core::ivf::search::many_pages::nearest_of_many_in_pages;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::metric::Storage;
use vectorgpu_core::{ErrorKind, Result};

use super::kept;
use super::scan::{self, LastScan};
use crate::gpu::policy::{self, ManyPlace, SearchWork};
use crate::pg::interrupt;
use crate::pg::relation::OpenIndex;
use crate::pg::store::PgStore;

/// Most queries that are searched at once; more in a call go in turns.
pub(crate) const AT_ONCE: usize = 4096;

/// Lists that each query probes, times queries, by lists: from so many on it pays to read each list once for all of them.
/// 1-bit codes let a scan pass over most vectors, all of which are compared here.
const REUSE_MIN: f64 = 2.0;
const REUSE_MIN_OF_CODES: f64 = 8.0;

/// Many searches of one index at once.
pub(crate) struct ManySearch<'a> {
    open: &'a OpenIndex,
    store: PgStore,
    meta: Meta,
    place: ManyPlace,
}

impl<'a> ManySearch<'a> {
    /// Prepares searches of `open` for about `queries` queries; `None` where scans of its pages are to be taken.
    ///
    /// # Errors
    /// Under `gpu` or an adapter's name: what opening the GPU reports; `CorruptIndex`.
    pub(crate) fn begin(open: &'a OpenIndex, queries: f64) -> Result<Option<Self>> {
        let mut store = open.store();
        let meta = Meta::read(&store.share(0)?)?;
        let work = scan::work_of(open.index(), &meta, Some(queries.min(AT_ONCE as f64)));
        let place = policy::many_place(open.index(), &meta, &work)?;
        if place.copies.is_none() && !lists_are_reused(&work) {
            return Ok(None);
        }
        // SAFETY: the index is open.
        let kept = unsafe { kept::of(open.index(), &store, &meta, false) }?;
        store.use_recent(kept.recent);
        Ok(Some(Self {
            open,
            store,
            meta,
            place,
        }))
    }

    /// The rows that are about the `k` nearest to each query; `None` for one that needs a scan of its own. Rows need not be
    /// visible.
    ///
    /// # Errors
    /// `DataException` for a query of other dimensions than the index's, `CorruptIndex`, `Cancelled`; under `gpu` or an
    /// adapter's name: what the GPU reports.
    pub(crate) fn nearest(&mut self, queries: &[&[f32]], k: usize) -> Result<Vec<Option<FoundOfMany>>> {
        let probes = scan::probes_of(self.open.index(), &self.meta);
        let go_on = &mut interrupt::keep_waiting;
        let Some(copied) = &mut self.place.copies else {
            let found = nearest_of_many_in_pages(&self.store, &self.meta, queries, probes, k, go_on)?;
            self.remember(found.counts, queries.len() as f64);
            return Ok(found.queries);
        };
        let mut copies = ManyCopies {
            lists: &mut copied.lists,
            centroids: Some(&mut copied.centroids),
        };
        let found = nearest_of_many(&self.store, &self.meta, &mut copies, queries, probes, k, go_on);
        match found {
            Ok(found) => {
                self.remember(found.counts, queries.len() as f64);
                Ok(found.queries)
            }
            // The lists of one query may fit where those of all do not.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Ok(vec![None; queries.len()]),
            Err(error) => {
                copied.lists.failed(error)?;
                Ok(vec![None; queries.len()])
            }
        }
    }

    fn remember(&self, counts: SearchCounts, queries: f64) {
        let work = scan::work_of(self.open.index(), &self.meta, Some(queries));
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
