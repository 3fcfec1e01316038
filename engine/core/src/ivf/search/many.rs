//! Many queries at once through copies of lists on a device: every list is looked at once, for all queries that probe it.
//!
//! Which lists a query probes is what a scan of its own would choose: a device ranks the centroids, as rows of a list, where it
//! scores exactly; where it leaves a doubt, and elsewhere, the CPU does. What is not certain in the end is left to a
//! scan of the query's own.

use std::time::Instant;

use crate::backend::KeepWaiting;
use crate::distance;
use crate::error::Result;
use crate::metric::{Metric, Score, Storage};
use crate::quantize::list_row::key::bound_of;
use crate::quantize::list_row::{ListQuery, ListRows, RowCode};
use crate::vector::check_equal_dims;

use super::super::centroids;
use super::super::copy::{self, CopyHit, CopyMark, ListCopies, ManyHits, Refreshed};
use super::super::layout::{Meta, Tid};
use super::super::store::PageStore;
use super::copies::entry_of;
use super::rank_together::nearest_lists_of_each;
use super::{Found, SearchCounts, list_head_block};

/// Rows to ask for beyond those that are wanted.
pub(super) const SPARE: usize = 6;
/// Lists to ask for beyond those that are wanted: they lie closer together than rows do.
const SPARE_LISTS: usize = 16;
const SPARE_LISTS_MIN: usize = 4;
/// The list that a copy of the centroids is.
const CENTROIDS: u32 = 0;

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
    /// Of the centroids, as one list of rows whose TIDs are the lists, under [`ranking_metric`].
    pub centroids: Option<&'a mut dyn ListCopies>,
}

/// The metric by which lists are ranked.
pub const fn ranking_metric(metric: Metric) -> Metric {
    match metric {
        Metric::L2 => Metric::L2,
        Metric::InnerProduct | Metric::Cosine => Metric::InnerProduct,
    }
}

/// Finds about the `k` nearest rows of each of `queries` in its `probes` nearest lists.
///
/// # Errors
/// `DataException` for a query of other dimensions than the index's; `CorruptIndex`; what the copies report.
pub fn nearest_of_many<S: PageStore>(
    store: &S,
    meta: &Meta,
    copies: &mut ManyCopies<'_>,
    queries: &[&[f32]],
    probes: u32,
    k: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<FoundForEach> {
    let mut counts = SearchCounts::default();
    let mut prepared = Vec::with_capacity(queries.len());
    // Those that can be bounded at all, by their place among the queries.
    let mut places = Vec::with_capacity(queries.len());
    for (place, query) in queries.iter().enumerate() {
        check_equal_dims(meta.dims as usize, query.len())?;
        if let Some(query) = ListQuery::new(meta.metric, query) {
            prepared.push(query);
            places.push(place);
        }
    }
    let probes = probes.clamp(1, meta.lists);
    let started = Instant::now();
    let mut lists = choose_lists(store, meta, copies, &prepared, probes, keep_waiting)?;
    counts.times.rank = started.elapsed();
    counts.lists = lists.iter().map(|lists| lists.len() as u64).sum();
    let started = Instant::now();
    let fresh = refresh(store, meta, copies.lists, &lists, &mut counts, keep_waiting)?;
    counts.times.check = started.elapsed();
    let started = Instant::now();
    let uncertain = |lists: &Vec<u32>| lists.iter().any(|list| fresh[*list as usize] == Fresh::No);
    let left_out: Vec<bool> = lists.iter().map(uncertain).collect();
    for lists in &mut lists {
        lists.retain(|list| fresh[*list as usize] == Fresh::Yes);
    }
    let wanted = k + SPARE;
    let mut found = ManyHits::default();
    copies
        .lists
        .nearest_of_many(&prepared, &lists, wanted, &mut found, keep_waiting)?;
    let mut results = vec![None; queries.len()];
    let mut start = 0;
    for (number, (end, searched)) in found.queries.iter().enumerate() {
        let hits = &found.hits[start..*end];
        start = *end;
        counts.rows += searched.rows;
        if !left_out[number] {
            let query = queries[places[number]];
            let norm_sq = if meta.metric == Metric::Cosine {
                distance::norm_squared(query)
            } else {
                0.0
            };
            let bound = searched.cut.map_or(f64::INFINITY, bound_of);
            results[places[number]] = Some(found_of(meta.metric, norm_sq, hits, bound));
        }
    }
    counts.times.scan = started.elapsed();
    Ok(FoundForEach {
        queries: results,
        counts,
    })
}

/// The rows of `hits` that are certainly nearer than all others, in order.
fn found_of(metric: Metric, query_norm_sq: f32, hits: &[CopyHit], bound: f64) -> FoundOfMany {
    let entries = hits.iter().map(|hit| (entry_of(metric, query_norm_sq, hit), hit));
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by_key(|(entry, _)| *entry);
    let rows = entries.into_iter().map(|(entry, hit)| Found {
        tid: Tid(entry.tid),
        distance: entry.key(),
        exact: hit.exact.is_some(),
    });
    FoundOfMany::certain(rows, bound)
}

/// Whether a list can be searched through its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Unknown,
    Yes,
    Empty,
    No,
}

/// Brings the copies of all lists that are probed up to date.
fn refresh<S: PageStore>(
    store: &S,
    meta: &Meta,
    copies: &mut dyn ListCopies,
    lists: &[Vec<u32>],
    counts: &mut SearchCounts,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Fresh>> {
    let shape = meta.shape();
    let mut rows = ListRows::new(meta.metric, meta.storage, meta.dims as usize);
    let mut fresh = vec![Fresh::Unknown; meta.lists as usize];
    for &list in lists.iter().flatten() {
        let place = &mut fresh[list as usize];
        if *place != Fresh::Unknown {
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
    Ok(fresh)
}

/// The `probes` nearest lists of each query.
fn choose_lists<S: PageStore>(
    store: &S,
    meta: &Meta,
    copies: &mut ManyCopies<'_>,
    queries: &[ListQuery<'_>],
    probes: u32,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Vec<u32>>> {
    let few = probes as usize + SPARE_LISTS_MIN <= copy::AT_ONCE_MAX && probes < meta.lists;
    let mut chosen = match &mut copies.centroids {
        Some(centroids) if centroids.is_exact() && few => {
            rank_on_device(store, meta, &mut **centroids, queries, probes, keep_waiting)?
        }
        _ => vec![None; queries.len()],
    };
    let left = queries.iter().zip(&chosen);
    let left = left.filter(|(_, chosen)| chosen.is_none());
    let left: Vec<&[f32]> = left.map(|(query, _)| query.values).collect();
    let mut ranked = nearest_lists_of_each(store, meta, &left, probes, keep_waiting)?.into_iter();
    for chosen in chosen.iter_mut().filter(|chosen| chosen.is_none()) {
        *chosen = ranked.next();
    }
    Ok(chosen.into_iter().flatten().collect())
}

/// The same where a device can tell; `None` where it leaves a doubt.
fn rank_on_device<S: PageStore>(
    store: &S,
    meta: &Meta,
    centroids: &mut dyn ListCopies,
    queries: &[ListQuery<'_>],
    probes: u32,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Option<Vec<u32>>>> {
    copy_centroids(store, meta, centroids, keep_waiting)?;
    let metric = ranking_metric(meta.metric);
    let ranked: Vec<Option<ListQuery<'_>>> = queries
        .iter()
        .map(|query| {
            if metric == meta.metric {
                Some(*query)
            } else {
                ListQuery::new(metric, query.values)
            }
        })
        .collect();
    let asked: Vec<ListQuery<'_>> = ranked.iter().flatten().copied().collect();
    let wanted = (probes as usize + SPARE_LISTS).min(copy::AT_ONCE_MAX);
    let mut found = ManyHits::default();
    let lists = vec![vec![CENTROIDS]; asked.len()];
    centroids.nearest_of_many(&asked, &lists, wanted, &mut found, keep_waiting)?;
    let mut start = 0;
    let mut answers = found.queries.iter().map(|(end, searched)| {
        let hits = &found.hits[start..*end];
        start = *end;
        nearest_lists(metric, hits, searched.cut.map_or(f64::INFINITY, bound_of), probes)
    });
    Ok(ranked
        .iter()
        .map(|query| query.as_ref().and_then(|_| answers.next()).flatten())
        .collect())
}

/// The `probes` nearest lists by exact score, ties to the lower number, if no other one can be among them.
fn nearest_lists(metric: Metric, hits: &[CopyHit], bound: f64, probes: u32) -> Option<Vec<u32>> {
    let mut scored = Vec::with_capacity(hits.len());
    for hit in hits {
        let (score, _) = hit.exact?;
        let key = if metric.score() == Score::Dot {
            -score
        } else {
            score
        };
        scored.push((key, u32::try_from(hit.tid).ok()?));
    }
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.truncate(probes as usize);
    let (last, _) = scored.last()?;
    let value = match metric.score() {
        Score::SquaredL2 => f64::from(*last).sqrt(),
        Score::Dot => f64::from(*last),
    };
    // A score that is no number compares with nothing.
    let certain = scored.len() == probes as usize && value < bound;
    certain.then(|| scored.into_iter().map(|(_, list)| list).collect())
}

/// Copies the centroids, unless they are there: nothing but a new build changes them.
fn copy_centroids<S: PageStore>(
    store: &S,
    meta: &Meta,
    copies: &mut dyn ListCopies,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    if copies.mark(CENTROIDS).is_some() {
        return Ok(());
    }
    copies.begin(CENTROIDS, u64::from(meta.lists), keep_waiting)?;
    let mut rows = ListRows::new(ranking_metric(meta.metric), Storage::F32, meta.dims as usize);
    let mut list = 0;
    centroids::for_each(store, meta, &mut |centroid| {
        let norm_sq = distance::norm_squared(centroid);
        rows.push(list, RowCode::F32(bytemuck::cast_slice(centroid)), norm_sq);
        list += 1;
        Ok(())
    })?;
    copies.append(CENTROIDS, &rows, keep_waiting)?;
    copies.finish(CENTROIDS, CopyMark::default());
    Ok(())
}
