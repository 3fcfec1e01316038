//! Ranks the lists of an index by the distance of their centroids from the query.
//!
//! Which lists are the nearest never depends on the device, or on whether a rounded copy of the centroids was at hand:
//! where scores are not exact, the lists near the cut are scored again by the CPU's kernels. (Codes of centroids leave a list
//! out wrongly with a chance of some 1e-8, as those of rows do.)

mod by_code;

use std::ops::Range;

use crate::backend::{Backend, KeepWaiting, RowBlock};
use crate::cpu::CpuBackend;
use crate::error::Result;
use crate::metric::{Element, Score};
use crate::quantize;

use super::super::centroids::{self, Centroids, PAGES_BETWEEN_PAUSES};
use super::super::layout::Meta;
use super::super::page::{self, CONTENT_AT, Kind};
use super::super::run::Run;
use super::super::store::PageStore;
use super::Query;
use crate::quantize::rabitq::Place;
use by_code::ByCode;
pub(super) use by_code::place_of;

/// A list and bounds of its centroid's score; smaller is nearer. Equal bounds are the score itself.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    low: f32,
    high: f32,
    list: u32,
}

impl Ranked {
    fn exact(key: f32, list: u32) -> Self {
        Self {
            low: key,
            high: key,
            list,
        }
    }

    fn is_exact(&self) -> bool {
        self.low.to_bits() == self.high.to_bits()
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.low.total_cmp(&other.low).then(self.list.cmp(&other.list))
    }
}

/// All lists. Those asked for so far stand in front, the nearest ones; within a range asked for at once the order is
/// only right where scores are exact.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    lists: Vec<Ranked>,
    scores: Vec<f32>,
    products: Vec<[i32; 2]>,
    bounds: Vec<(f32, f32)>,
    scratch: Vec<u8>,
    gathered: Vec<u8>,
    by_code: ByCode,
}

impl Ranking {
    /// Forgets the last query.
    pub(super) fn clear(&mut self) {
        self.lists.clear();
    }

    /// The list at place `rank`, which lies in a range given to [`Ranking::rank`].
    pub(super) fn list(&self, rank: usize) -> u32 {
        self.lists[rank].list
    }

    /// Where the query lies to centroids that were read to rank them.
    pub(super) fn places(&mut self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.by_code.places()
    }

    /// Scores all centroids: on the pages, or their rounded copy.
    pub(super) fn score<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: Option<&Query>,
        centroids: Option<&Centroids>,
        backend: &mut dyn Backend,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.lists.clear();
        let Some(query) = query else {
            self.lists
                .extend((0..meta.lists).map(|list| Ranked::exact(0.0, list)));
            return Ok(());
        };
        match centroids.filter(|copy| copy.lists() == meta.lists as usize) {
            Some(Centroids::Rounded(copy)) => {
                copy.score_bounds(&query.values, &mut self.products, &mut self.bounds);
                let bounds = (0..meta.lists).zip(&self.bounds);
                self.lists
                    .extend(bounds.map(|(list, &(low, high))| Ranked { low, high, list }));
                return Ok(());
            }
            Some(Centroids::Coded(copy)) if let Some(codes) = &query.rabitq => {
                self.by_code.score(copy, codes, &mut self.lists);
                return Ok(());
            }
            Some(Centroids::Coded(_)) | None => {}
        }
        self.scores.clear();
        self.score_centroids(store, meta, &query.values, backend, keep_waiting)?;
        let sign = sign_of(meta);
        let exact = backend.is_exact();
        self.lists
            .extend((0..meta.lists).zip(&self.scores).map(|(list, score)| {
                let key = order_key(sign * score);
                let slack = if exact { 0.0 } else { score_slack(meta, query, key) };
                Ranked {
                    low: order_key(key - slack),
                    high: order_key(key + slack),
                    list,
                }
            }));
        Ok(())
    }

    /// Brings the nearest lists to the places `range`; those of the places before are nearer already. Unless they have to be
    /// `ordered`, codes may tell which they are, in no order.
    pub(super) fn rank<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: Option<&Query>,
        centroids: Option<&Centroids>,
        range: Range<usize>,
        ordered: bool,
    ) -> Result<()> {
        let wanted = range.len();
        if let Some(query) = query
            && wanted < self.lists.len() - range.start
            && self.lists[range.start..].iter().any(|list| !list.is_exact())
        {
            match centroids {
                Some(Centroids::Coded(copy)) => {
                    let rest = &mut self.lists[range.start..];
                    if ordered {
                        self.by_code.settle(store, meta, query, copy, rest, wanted)?;
                    } else {
                        self.by_code.choose(store, meta, query, copy, rest, wanted)?;
                    }
                }
                Some(Centroids::Rounded(_)) | None => self.settle(store, meta, query, range.start, wanted)?,
            }
        }
        let rest = &mut self.lists[range.start..];
        if wanted < rest.len() {
            rest.select_nth_unstable_by(wanted, Ranked::order);
        }
        rest[..wanted].sort_unstable_by(Ranked::order);
        Ok(())
    }

    /// Scores again, exactly, every list of which it is unknown whether it is among the `wanted` nearest (fewer than
    /// there are) from place `start` on.
    ///
    /// A list is among them when fewer lists can be nearer than its high bound, and is not when as many are nearer than
    /// its low bound.
    fn settle<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &Query,
        start: usize,
        wanted: usize,
    ) -> Result<()> {
        let rest = &self.lists[start..];
        let in_below = nth(&mut self.scores, rest.iter().map(|list| list.low), wanted);
        let out_above = nth(&mut self.scores, rest.iter().map(|list| list.high), wanted - 1);
        let sign = sign_of(meta);
        let mut cpu = CpuBackend::new();
        for place in start..self.lists.len() {
            let list = self.lists[place];
            if list.is_exact() || list.high < in_below || list.low > out_above {
                continue;
            }
            let (scores, dims) = (&mut self.scores, meta.dims as usize);
            scores.clear();
            centroids::with_one(store, meta, list.list, &mut self.gathered, |centroid| {
                let block = centroid_block(centroid, dims);
                cpu.score(score_of(meta), &query.values, block, scores, &mut || true)
            })??;
            self.lists[place] = Ranked::exact(order_key(sign * self.scores[0]), list.list);
        }
        Ok(())
    }

    fn score_centroids<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &[f32],
        backend: &mut dyn Backend,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let dims = meta.dims as usize;
        let (score, batch_bytes) = (score_of(meta), backend.batch_bytes());
        let mut run = Run::new(dims * 4, meta.lists as usize, &mut self.scratch);
        self.gathered.clear();
        let mut block = meta.centroids_first;
        while run.is_unfinished() {
            if (block - meta.centroids_first) % PAGES_BETWEEN_PAUSES == PAGES_BETWEEN_PAUSES - 1 {
                store.pause()?;
            }
            {
                let page = store.share(block)?;
                page::expect(&page, block, Kind::Centroids)?;
                let (scores, gathered) = (&mut self.scores, &mut self.gathered);
                run.feed(&page[CONTENT_AT..], &mut |rows| {
                    if batch_bytes == 0 {
                        return backend.score(score, query, centroid_block(rows, dims), scores, keep_waiting);
                    }
                    gathered.extend_from_slice(rows);
                    Ok(())
                })?;
            }
            block += 1;
            if batch_bytes > 0
                && !self.gathered.is_empty()
                && (self.gathered.len() >= batch_bytes || !run.is_unfinished())
            {
                backend.score(
                    score,
                    query,
                    centroid_block(&self.gathered, dims),
                    &mut self.scores,
                    keep_waiting,
                )?;
                self.gathered.clear();
            }
        }
        Ok(())
    }
}

/// The list whose centroid is nearest to `vector`; ties go to the lower number.
///
/// # Errors
/// `CorruptIndex`; what the backend reports.
pub fn nearest_list<S: PageStore>(
    store: &S,
    meta: &Meta,
    backend: &mut dyn Backend,
    vector: &[f32],
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<u32> {
    let query = Query::new(vector, backend.is_exact());
    let mut ranking = Ranking::default();
    ranking.score(store, meta, Some(&query), None, backend, keep_waiting)?;
    ranking.rank(store, meta, Some(&query), None, 0..1, true)?;
    Ok(ranking.list(0))
}

fn centroid_block(codes: &[u8], dims: usize) -> RowBlock<'_> {
    RowBlock {
        codes,
        element: Element::F32,
        dims,
    }
}

/// The one of `values` that `n` others come before, infinity if there are not so many. `scratch` is used meanwhile.
fn nth(scratch: &mut Vec<f32>, values: impl Iterator<Item = f32>, n: usize) -> f32 {
    scratch.clear();
    scratch.extend(values);
    if n >= scratch.len() {
        return f32::INFINITY;
    }
    *scratch.select_nth_unstable_by(n, f32::total_cmp).1
}

/// What lists are ranked by.
fn score_of(meta: &Meta) -> Score {
    meta.metric.of_lists().score()
}

/// Scores that grow with nearness count negatively.
fn sign_of(meta: &Meta) -> f32 {
    if score_of(meta) == Score::Dot { -1.0 } else { 1.0 }
}

/// NaN last, whatever its sign.
fn order_key(key: f32) -> f32 {
    if key.is_nan() { f32::NAN } else { key }
}

/// How far an inexact backend's score may lie from the exact one's.
fn score_slack(meta: &Meta, query: &Query, key: f32) -> f32 {
    let gamma = 2.0 * quantize::rounding_bound(meta.dims as usize);
    let scale = match score_of(meta) {
        Score::SquaredL2 | Score::L1 => f64::from(key.abs()) * 1.01,
        // Centroids of spherical k-means have unit length.
        Score::Dot => query.norm * 1.01,
    };
    #[expect(clippy::cast_possible_truncation, reason = "rounded up by the factors above")]
    let slack = (gamma * scale) as f32;
    slack + f32::MIN_POSITIVE
}
