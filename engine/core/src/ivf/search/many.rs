//! Many queries at once through copies of lists on a device: every list is looked at once, for all queries that probe it.
//!
//! Which lists a query probes is what a scan of its own would choose ([`super::rank_on_device`]). What is not certain in the end
//! is left to a scan of the query's own. A search has three steps, between which a device works by itself: several are under
//! way at once.

use std::time::Instant;

use crate::backend::KeepWaiting;
use crate::crew::Crew;
use crate::distance;
use crate::error::Result;
use crate::metric::Metric;
use crate::quantize::list_row::key::bound_of;
use crate::quantize::list_row::{ListQuery, ListRows};
use crate::vector::check_equal_dims;

use super::super::copy::{self, CopyHit, ListCopies, PendingMany, Probed, Refreshed, SentQueries};
use super::super::layout::{Meta, Tid};
use super::super::store::PageStore;
use super::super::window::Entry;
use super::copies::entry_of;
use super::rank_on_device::{Ranking, chosen_lists};
use super::{Found, SearchCounts, list_head_block};

/// Queries that one thread takes at a time: what is done for one takes a microsecond.
pub(super) const QUERIES_A_RUN: usize = 256;
/// Rows to ask for beyond those that are wanted, where the search knows distances.
const SPARE: usize = 6;
/// The same, and so many times those that are wanted, where it knows bounds only: rows whose bounds are nearer than the farthest
/// wanted row have to be among them, or the query needs a scan of its own. Of 10,000,000 rows of 96 dimensions as int8 codes
/// one query of six needs more than 16 for its 10 nearest.
const BOUNDS_SPARE: usize = 12;
const BOUNDS_FACTOR: usize = 2;

/// How many rows a search is asked for where about `k` are wanted; `exact` where it knows their distances, not only bounds.
pub(super) const fn rows_to_ask(k: usize, exact: bool) -> usize {
    if exact {
        k + SPARE
    } else {
        k * BOUNDS_FACTOR + BOUNDS_SPARE
    }
}

/// What a search of copies found for one query.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundOfMany {
    /// Rows by ascending distance.
    pub rows: Vec<Found>,
    /// No other row of the lists is nearer; infinite where there is none.
    pub bound: f64,
}

impl FoundOfMany {
    /// Those of `rows`, by ascending distance, that are certainly nearer than all others.
    pub(super) fn certain(rows: impl Iterator<Item = Found>, bound: f64) -> Self {
        let certain = rows.filter(|row| row.distance < bound || bound == f64::INFINITY);
        Self {
            rows: certain.collect(),
            bound,
        }
    }
}

/// What a search of copies found for each of its queries, in their order.
#[derive(Debug, Clone, Default)]
pub struct FoundForEach {
    /// `None` for a query that needs a scan of its own.
    pub queries: Vec<Option<FoundOfMany>>,
    /// What it took.
    pub counts: SearchCounts,
}

/// The copies that are searched.
pub struct ManyCopies<'a> {
    /// Of the lists.
    pub lists: &'a mut dyn ListCopies,
    /// Of the centroids, as one list of rows whose TIDs are the lists, under [`Metric::of_lists`].
    pub centroids: Option<&'a mut dyn ListCopies>,
    /// Which of the lists were looked at under the snapshot of these searches.
    pub checked: &'a mut CheckedLists,
    /// Who prepares queries and puts in order what was found.
    pub crew: Crew,
}

/// Lists whose copies were brought up to date under a snapshot. As long as that is the one, they need not be looked at again:
/// what is added later it does not see, and of what it sees VACUUM removes nothing.
#[derive(Debug, Clone, Default)]
pub struct CheckedLists(Vec<Fresh>);

impl CheckedLists {
    /// What is known of each of `lists` lists.
    fn of(&mut self, lists: u32) -> &mut [Fresh] {
        self.0.resize(lists as usize, Fresh::Unknown);
        &mut self.0
    }
}

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub struct ManyQueries<'q> {
    /// The queries.
    pub queries: &'q [&'q [f32]],
    /// How many of its nearest lists each of them probes.
    pub probes: u32,
    /// About how many rows are wanted for each.
    pub k: usize,
}

/// Searches whose lists are being chosen.
///
/// Borrows the queries and nothing else. A device may be at it, and goes on with what it was given before: to keep it at work,
/// begin some searches, let each choose its rows, and finish them, each before the last step of the one in front.
pub struct Choosing<'q> {
    wanted: ManyQueries<'q>,
    prepared: Vec<ListQuery<'q>>,
    /// Where each prepared query stands among the queries: those that can be bounded at all.
    places: Vec<usize>,
    ranking: Option<Ranking>,
    counts: SearchCounts,
}

/// Searches whose rows are being found.
pub struct Finding<'q> {
    wanted: ManyQueries<'q>,
    places: Vec<usize>,
    /// Of each prepared query: one of its lists could not be copied.
    left_out: Vec<bool>,
    pending: Box<dyn PendingMany>,
    crew: Crew,
    counts: SearchCounts,
}

impl<'q> Choosing<'q> {
    /// Begins searches.
    ///
    /// # Errors
    /// `DataException` for a query of other dimensions than the index's; `CorruptIndex`; what the copies report.
    pub fn begin<S: PageStore>(
        store: &S,
        meta: &Meta,
        copies: &mut ManyCopies<'_>,
        wanted: ManyQueries<'q>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        let probes = wanted.probes.clamp(1, meta.lists);
        let wanted = ManyQueries { probes, ..wanted };
        let started = Instant::now();
        for query in wanted.queries {
            check_equal_dims(meta.dims as usize, query.len())?;
        }
        let mut bounded = vec![None; wanted.queries.len()];
        let prepare = |first, queries: &mut [Option<ListQuery<'q>>]| {
            for (query, bounded) in wanted.queries[first..].iter().zip(queries) {
                *bounded = ListQuery::new(meta.metric, query);
            }
            Ok(())
        };
        copies
            .crew
            .fill(&mut bounded, QUERIES_A_RUN, keep_waiting, prepare)?;
        let mut prepared = Vec::with_capacity(wanted.queries.len());
        let mut places = Vec::with_capacity(wanted.queries.len());
        for (place, query) in bounded.into_iter().enumerate() {
            places.extend(query.is_some().then_some(place));
            prepared.extend(query);
        }
        let ranking = Ranking::begin(store, meta, copies, &prepared, probes, keep_waiting)?;
        let mut counts = SearchCounts::default();
        counts.times.rank = started.elapsed();
        Ok(Self {
            wanted,
            prepared,
            places,
            ranking,
            counts,
        })
    }

    /// Waits for the lists, and has their rows found.
    ///
    /// # Errors
    /// `CorruptIndex`; what the copies report.
    pub fn find<S: PageStore>(
        self,
        store: &S,
        meta: &Meta,
        copies: &mut ManyCopies<'_>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Finding<'q>> {
        let (wanted, prepared, mut counts) = (self.wanted, self.prepared, self.counts);
        let started = Instant::now();
        let ranking = self.ranking.as_ref();
        let mut sent = ranking.map_or_else(SentQueries::default, |ranking| ranking.sent.clone());
        let mut lists = if wanted.probes == meta.lists {
            Lists::All((0..meta.lists).collect())
        } else {
            Lists::Nearest(chosen_lists(
                store,
                meta,
                self.ranking,
                &prepared,
                wanted.probes,
                copies.crew,
                keep_waiting,
            )?)
        };
        counts.times.rank += started.elapsed();
        counts.lists = prepared.len() as u64 * u64::from(wanted.probes);
        let started = Instant::now();
        let fresh = copies.checked.of(meta.lists);
        refresh(
            store,
            meta,
            copies.lists,
            lists.numbers(),
            fresh,
            &mut counts,
            keep_waiting,
        )?;
        counts.times.check = started.elapsed();
        let started = Instant::now();
        let left_out = lists.leave_out(fresh, prepared.len());
        let probed = lists.probed();
        let exact = copies.lists.is_exact();
        // More than are found at once would take several passes; a scan for some of the queries takes less.
        let most = copies.lists.at_once_max().max(rows_to_ask(wanted.k, true));
        let rows = rows_to_ask(wanted.k, exact).min(most);
        let pending = copies
            .lists
            .begin_many(&prepared, probed, rows, &mut sent, keep_waiting)?;
        counts.times.scan = started.elapsed();
        Ok(Finding {
            wanted,
            places: self.places,
            left_out,
            pending,
            crew: copies.crew,
            counts,
        })
    }
}

impl Finding<'_> {
    /// Waits for the rows.
    ///
    /// # Errors
    /// What the copies report.
    pub fn finish(self, metric: Metric, keep_waiting: &mut KeepWaiting<'_>) -> Result<FoundForEach> {
        let (queries, mut counts) = (self.wanted.queries, self.counts);
        let started = Instant::now();
        let found = self.pending.finish(keep_waiting)?;
        let sort_out = |first, results: &mut [Option<FoundOfMany>]| {
            let mut entries = Vec::new();
            for (number, result) in (first..).zip(results) {
                let (hits, searched) = found.of(number);
                let query = queries[self.places[number]];
                let norm_sq = if metric == Metric::Cosine {
                    distance::norm_squared(query)
                } else {
                    0.0
                };
                let bound = searched.cut.map_or(f64::INFINITY, bound_of);
                *result =
                    (!self.left_out[number]).then(|| found_of(metric, norm_sq, hits, bound, &mut entries));
            }
            Ok(())
        };
        let mut sorted = vec![None; found.queries.len()];
        self.crew
            .fill(&mut sorted, QUERIES_A_RUN, keep_waiting, sort_out)?;
        counts.rows += found
            .queries
            .iter()
            .map(|(_, searched)| searched.rows)
            .sum::<u64>();
        let mut results = vec![None; queries.len()];
        for (place, sorted) in self.places.iter().zip(sorted) {
            results[*place] = sorted;
        }
        // Not the time in between, in which the host did something else.
        counts.times.scan += started.elapsed();
        Ok(FoundForEach {
            queries: results,
            counts,
        })
    }
}

/// Finds about the `k` nearest rows of each of some queries in its nearest lists.
///
/// # Errors
/// As [`Choosing::begin`].
pub fn nearest_of_many<S: PageStore>(
    store: &S,
    meta: &Meta,
    copies: &mut ManyCopies<'_>,
    wanted: ManyQueries<'_>,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<FoundForEach> {
    let choosing = Choosing::begin(store, meta, copies, wanted, keep_waiting)?;
    let finding = choosing.find(store, meta, copies, keep_waiting)?;
    finding.finish(meta.metric, keep_waiting)
}

/// The rows of `hits` that are certainly nearer than all others, in order; `entries` is scratch memory.
fn found_of(
    metric: Metric,
    query_norm_sq: f32,
    hits: &[CopyHit],
    bound: f64,
    entries: &mut Vec<(Entry, bool)>,
) -> FoundOfMany {
    entries.clear();
    entries.extend(
        hits.iter()
            .map(|hit| (entry_of(metric, query_norm_sq, hit), hit.exact.is_some())),
    );
    entries.sort_unstable_by_key(|(entry, _)| *entry);
    let rows = entries.iter().map(|(entry, exact)| Found {
        tid: Tid(entry.tid),
        distance: entry.key(),
        exact: *exact,
    });
    FoundOfMany::certain(rows, bound)
}

/// The lists that some queries probe.
enum Lists {
    /// All of them, for every query.
    All(Vec<u32>),
    /// The nearest ones of each query.
    Nearest(Vec<Vec<u32>>),
}

impl Lists {
    fn probed(&self) -> Probed<'_> {
        match self {
            Self::All(lists) => Probed::Same(lists),
            Self::Nearest(lists) => Probed::Each(lists),
        }
    }

    /// The lists, some of them more than once.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        let (all, nearest) = match self {
            Self::All(lists) => (lists.as_slice(), [].as_slice()),
            Self::Nearest(lists) => ([].as_slice(), lists.as_slice()),
        };
        all.iter().chain(nearest.iter().flatten()).copied()
    }

    /// Keeps those whose copies can be searched; for each of `queries` queries, whether it loses one that has rows.
    fn leave_out(&mut self, fresh: &[Fresh], queries: usize) -> Vec<bool> {
        let fresh = |list: u32| fresh[list as usize];
        let keep = |lists: &mut Vec<u32>| {
            let is_uncertain = lists.iter().any(|list| fresh(*list) == Fresh::No);
            lists.retain(|list| fresh(*list) == Fresh::Yes);
            is_uncertain
        };
        match self {
            Self::All(lists) => vec![keep(lists); queries],
            Self::Nearest(lists) => lists.iter_mut().map(keep).collect(),
        }
    }
}

/// Whether a list can be searched through its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Unknown,
    Yes,
    Empty,
    No,
}

/// Brings the copies of all lists that are probed up to date, but for those that are `fresh`.
fn refresh<S: PageStore>(
    store: &S,
    meta: &Meta,
    copies: &mut dyn ListCopies,
    lists: impl Iterator<Item = u32>,
    fresh: &mut [Fresh],
    counts: &mut SearchCounts,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    let shape = meta.shape();
    let mut rows = ListRows::new(meta.metric, meta.storage, meta.dims as usize);
    let mut is_done = vec![false; fresh.len()];
    for list in lists {
        if std::mem::replace(&mut is_done[list as usize], true) {
            continue;
        }
        let place = &mut fresh[list as usize];
        let is_known = match place {
            // The copy may have made room for another meanwhile; to be asked for keeps it from that.
            Fresh::Yes => copies.mark(list).is_some(),
            Fresh::Empty => true,
            // VACUUM, which kept changing it, may be done.
            Fresh::No | Fresh::Unknown => false,
        };
        if is_known {
            continue;
        }
        store.pause()?;
        let head = list_head_block(store, meta, list)?;
        *place = match copy::refresh(store, meta, &shape, list, head, copies, &mut rows, keep_waiting)? {
            Refreshed::NoCopy if head == super::NO_BLOCK => Fresh::Empty,
            Refreshed::NoCopy => Fresh::No,
            Refreshed::Unchanged => Fresh::Yes,
            Refreshed::Copied => {
                counts.copied += 1;
                Fresh::Yes
            }
        };
    }
    Ok(())
}
