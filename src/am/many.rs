//! Many searches at once through copies of an index's lists in GPU memory, for functions.

use vectorgpu_core::ivf::copy::ListCopies;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::SearchCounts;
use vectorgpu_core::ivf::search::many::{FoundOfMany, ManyCopies, nearest_of_many};
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::{ErrorKind, Result};

use super::kept::{self, Kept};
use super::scan::{self, LastScan};
use crate::gpu::policy::{self, ManyPlace};
use crate::pg::interrupt;
use crate::pg::relation::OpenIndex;
use crate::pg::store::PgStore;

/// Most queries that are searched at once; more in a call go in turns.
pub(crate) const AT_ONCE: usize = 4096;

/// Searches of one index, for as long as the GPU works.
pub(crate) struct ManySearch<'a> {
    open: &'a OpenIndex,
    store: PgStore,
    meta: Meta,
    kept: Kept,
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
        let at_once = queries.min(AT_ONCE as f64);
        let work = scan::work_of(open.index(), &meta, Some(at_once));
        let Some(place) = policy::many_place(open.index(), &meta, &work)? else {
            return Ok(None);
        };
        // SAFETY: the index is open.
        let kept = unsafe { kept::of(open.index(), &store, &meta, true) }?;
        store.use_recent(kept.recent.clone());
        Ok(Some(Self {
            open,
            store,
            meta,
            kept,
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
        let mut copies = ManyCopies {
            lists: &mut self.place.lists,
            centroids: Some(&mut self.place.centroids),
            rounded: self.kept.centroids.as_deref(),
        };
        let probes = scan::probes_of(self.open.index(), &self.meta);
        let go_on = &mut interrupt::keep_waiting;
        let found = nearest_of_many(&self.store, &self.meta, &mut copies, queries, probes, k, go_on);
        match found {
            Ok(found) => {
                self.remember(found.counts, queries.len() as f64);
                Ok(found.queries)
            }
            // The lists of one query may fit where those of all do not.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Ok(vec![None; queries.len()]),
            Err(error) => {
                self.place.lists.failed(error)?;
                Ok(vec![None; queries.len()])
            }
        }
    }

    fn remember(&self, counts: SearchCounts, queries: f64) {
        let work = scan::work_of(self.open.index(), &self.meta, Some(queries));
        let book = self.place.book.of(&work);
        let times = counts.times;
        book.close(times.rank + times.check + times.scan, counts.copied > 0);
        scan::remember(LastScan {
            index: self.open.oid(),
            device: self.place.lists.label().to_owned(),
            why: self.place.why,
            estimate: book.estimate,
            counts,
        });
    }
}
