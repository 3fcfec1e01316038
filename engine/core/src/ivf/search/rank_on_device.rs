//! The nearest lists of many queries: chosen by a device that holds the centroids, where it scores exactly; where it leaves a
//! doubt, and elsewhere, by the CPU.

use crate::backend::KeepWaiting;
use crate::crew::Crew;
use crate::distance;
use crate::error::Result;
use crate::metric::{Metric, Score, Storage};
use crate::quantize::list_row::key::bound_of;
use crate::quantize::list_row::{ListQuery, ListRows, RowCode};

use super::super::centroids;
use super::super::copy::{CopyHit, CopyMark, ListCopies, PendingMany, Probed, SentQueries};
use super::super::layout::Meta;
use super::super::store::PageStore;
use super::many::{ManyCopies, QUERIES_A_RUN};
use super::rank_together::nearest_lists_of_each;

/// Lists to ask for beyond those that are wanted: they lie closer together than rows do.
const SPARE_LISTS: usize = 16;
const SPARE_LISTS_MIN: usize = 4;
/// The list that a copy of the centroids is.
const CENTROIDS: u32 = 0;

/// Lists of some queries that a device is choosing.
pub(super) struct Ranking {
    pending: Box<dyn PendingMany>,
    /// Whether the device was asked for each query.
    asked: Vec<bool>,
    /// What the device has of the queries, where lists are ranked by the metric of rows.
    pub(super) sent: SentQueries,
}

impl Ranking {
    /// Begins to choose the `probes` nearest lists of each query; `None` where the CPU is to do that.
    ///
    /// # Errors
    /// `CorruptIndex`; what the copies report.
    pub(super) fn begin<S: PageStore>(
        store: &S,
        meta: &Meta,
        copies: &mut ManyCopies<'_>,
        queries: &[ListQuery<'_>],
        probes: u32,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Self>> {
        let Some(centroids) = copies.centroids.as_deref_mut() else {
            return Ok(None);
        };
        let most = centroids.at_once_max();
        let few = probes as usize + SPARE_LISTS_MIN <= most && probes < meta.lists;
        if !centroids.is_exact() || !few {
            return Ok(None);
        }
        copy_centroids(store, meta, centroids, keep_waiting)?;
        let metric = meta.metric.of_lists();
        let (mut asked, mut ranked) = (
            Vec::with_capacity(queries.len()),
            Vec::with_capacity(queries.len()),
        );
        for query in queries {
            let query = if metric == meta.metric {
                Some(*query)
            } else {
                ListQuery::new(metric, query.values)
            };
            asked.push(query.is_some());
            ranked.extend(query);
        }
        let wanted = (probes as usize + SPARE_LISTS).min(most);
        let mut sent = SentQueries::default();
        let pending = centroids.begin_many(
            &ranked,
            Probed::Same(&[CENTROIDS]),
            wanted,
            &mut sent,
            keep_waiting,
        )?;
        if metric != meta.metric {
            sent = SentQueries::default();
        }
        Ok(Some(Self { pending, asked, sent }))
    }

    /// Waits for the lists; `None` for a query whose lists are in doubt.
    fn finish(
        self,
        metric: Metric,
        probes: u32,
        crew: Crew,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<Option<Vec<u32>>>> {
        let found = self.pending.finish(keep_waiting)?;
        let mut answers = vec![None; found.queries.len()];
        crew.fill(&mut answers, QUERIES_A_RUN, keep_waiting, |first, answers| {
            let mut scored = Vec::new();
            for (number, answer) in (first..).zip(answers) {
                let (hits, searched) = found.of(number);
                let bound = searched.cut.map_or(f64::INFINITY, bound_of);
                *answer = nearest_lists(metric, hits, bound, probes, &mut scored);
            }
            Ok(())
        })?;
        let mut answers = answers.into_iter();
        let chosen = self
            .asked
            .iter()
            .map(|asked| asked.then(|| answers.next()).flatten().flatten());
        Ok(chosen.collect())
    }
}

/// The `probes` nearest lists of each query, of which a device may have chosen some.
///
/// # Errors
/// `CorruptIndex`; what the copies report.
pub(super) fn chosen_lists<S: PageStore>(
    store: &S,
    meta: &Meta,
    ranking: Option<Ranking>,
    queries: &[ListQuery<'_>],
    probes: u32,
    crew: Crew,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Vec<u32>>> {
    let mut chosen = match ranking {
        Some(ranking) => ranking.finish(meta.metric.of_lists(), probes, crew, keep_waiting)?,
        None => vec![None; queries.len()],
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

/// The `probes` nearest lists by exact score, ties to the lower number, in no order, if no other one can be among them.
/// `scored` is scratch memory.
fn nearest_lists(
    metric: Metric,
    hits: &[CopyHit],
    bound: f64,
    probes: u32,
    scored: &mut Vec<(f32, u32)>,
) -> Option<Vec<u32>> {
    scored.clear();
    for hit in hits {
        let (score, _) = hit.exact?;
        let key = if metric.score() == Score::Dot {
            -score
        } else {
            score
        };
        scored.push((key, u32::try_from(hit.tid).ok()?));
    }
    let nearest = probes as usize;
    if scored.len() < nearest {
        return None;
    }
    let by_score = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    let (_, (farthest, _), _) = scored.select_nth_unstable_by(nearest - 1, by_score);
    let value = match metric.score() {
        Score::SquaredL2 => f64::from(*farthest).sqrt(),
        Score::Dot | Score::L1 => f64::from(*farthest),
    };
    // A score that is no number compares with nothing.
    (value < bound).then(|| scored[..nearest].iter().map(|(_, list)| *list).collect())
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
    let mut rows = ListRows::new(meta.metric.of_lists(), Storage::F32, meta.dims as usize);
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
