//! Ranks the lists of an index by the distance of their centroids from the query.
//!
//! The order never depends on the device: where a backend is not exact, the lists near the cut are scored again by
//! the CPU's kernels.

use std::ops::Range;

use crate::backend::{Backend, KeepWaiting, RowBlock};
use crate::cpu::CpuBackend;
use crate::error::Result;
use crate::metric::{Score, Storage};
use crate::quantize;

use super::super::layout::Meta;
use super::super::page::{self, CONTENT_AT, Kind, RUN_BYTES};
use super::super::store::PageStore;
use super::Query;
use super::run::Run;

/// Centroid pages to read before interrupts are let through.
const PAGES_BETWEEN_PAUSES: u32 = 256;

#[derive(Debug, Clone, Copy)]
struct Ranked {
    key: f32,
    list: u32,
    exact: bool,
}

impl Ranked {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.key.total_cmp(&other.key).then(self.list.cmp(&other.list))
    }
}

/// All lists; those asked for so far are in order.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    lists: Vec<Ranked>,
    scores: Vec<f32>,
    scratch: Vec<u8>,
    gathered: Vec<u8>,
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

    /// Scores all centroids.
    pub(super) fn score<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: Option<&Query>,
        backend: &mut dyn Backend,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.scores.clear();
        match query {
            None => self.scores.resize(meta.lists as usize, 0.0),
            Some(query) => self.score_centroids(store, meta, &query.values, backend, keep_waiting)?,
        }
        let sign = if meta.metric.score() == Score::Dot {
            -1.0
        } else {
            1.0
        };
        let exact = backend.is_exact() || query.is_none();
        self.lists.clear();
        self.lists
            .extend((0..meta.lists).zip(&self.scores).map(|(list, score)| Ranked {
                key: order_key(sign * score),
                list,
                exact,
            }));
        Ok(())
    }

    /// Brings the lists of places `range` into order; everything before is in order already.
    pub(super) fn rank<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: Option<&Query>,
        range: Range<usize>,
    ) -> Result<()> {
        let wanted = range.len();
        if let Some(query) = query
            && self.lists[range.start..].iter().any(|list| !list.exact)
        {
            self.settle(store, meta, query, range.start, wanted)?;
        }
        let rest = &mut self.lists[range.start..];
        if wanted < rest.len() {
            rest.select_nth_unstable_by(wanted, Ranked::order);
        }
        rest[..wanted].sort_unstable_by(Ranked::order);
        Ok(())
    }

    /// Scores again, exactly, every list that may be among the `wanted` nearest from place `start` on.
    fn settle<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &Query,
        start: usize,
        wanted: usize,
    ) -> Result<()> {
        let slack = |list: &Ranked| {
            if list.exact {
                0.0
            } else {
                score_slack(meta, query, list.key)
            }
        };
        let rest = &self.lists[start..];
        let mut highest: Vec<f32> = rest
            .iter()
            .map(|list| order_key(list.key + slack(list)))
            .collect();
        let (_, cut, _) = highest.select_nth_unstable_by(wanted - 1, f32::total_cmp);
        let cut = *cut;
        let sign = if meta.metric.score() == Score::Dot {
            -1.0
        } else {
            1.0
        };
        let mut cpu = CpuBackend::new();
        for place in start..self.lists.len() {
            let list = self.lists[place];
            if list.exact || list.key - slack(&list) > cut {
                continue;
            }
            self.scores.clear();
            read_centroid(store, meta, list.list, &mut self.gathered)?;
            let block = centroid_block(&self.gathered, meta.dims as usize);
            cpu.score(
                meta.metric.score(),
                &query.values,
                block,
                &mut self.scores,
                &mut || true,
            )?;
            self.lists[place] = Ranked {
                key: order_key(sign * self.scores[0]),
                list: list.list,
                exact: true,
            };
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
        let (score, batch_bytes) = (meta.metric.score(), backend.batch_bytes());
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
    ranking.score(store, meta, Some(&query), backend, keep_waiting)?;
    ranking.rank(store, meta, Some(&query), 0..1)?;
    Ok(ranking.list(0))
}

fn centroid_block(codes: &[u8], dims: usize) -> RowBlock<'_> {
    RowBlock {
        codes,
        storage: Storage::F32,
        dims,
    }
}

/// NaN last, whatever its sign.
fn order_key(key: f32) -> f32 {
    if key.is_nan() { f32::NAN } else { key }
}

/// How far an inexact backend's score may lie from the exact one's.
fn score_slack(meta: &Meta, query: &Query, key: f32) -> f32 {
    let gamma = 2.0 * quantize::rounding_bound(meta.dims as usize);
    let scale = match meta.metric.score() {
        Score::SquaredL2 => f64::from(key.abs()) * 1.01,
        // Centroids of spherical k-means have unit length.
        Score::Dot => query.norm * 1.01,
    };
    #[expect(clippy::cast_possible_truncation, reason = "rounded up by the factors above")]
    let slack = (gamma * scale) as f32;
    slack + f32::MIN_POSITIVE
}

/// Reads the centroid of one list.
fn read_centroid<S: PageStore>(store: &S, meta: &Meta, list: u32, out: &mut Vec<u8>) -> Result<()> {
    let bytes = meta.dims as usize * 4;
    let (mut from, end) = (list as usize * bytes, (list as usize + 1) * bytes);
    out.clear();
    while from < end {
        let block =
            meta.centroids_first + u32::try_from(from / RUN_BYTES).expect("centroid pages are within u32");
        let page = store.share(block)?;
        page::expect(&page, block, Kind::Centroids)?;
        let at = CONTENT_AT + from % RUN_BYTES;
        let len = (page.len() - at).min(end - from);
        out.extend_from_slice(&page[at..at + len]);
        from += len;
    }
    Ok(())
}
