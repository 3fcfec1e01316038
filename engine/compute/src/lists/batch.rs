//! A search of copies for many queries: each list is read once for all queries that probe it.
//!
//! Keys of (query, row) pairs are computed as blocks of a product of matrices, a part of the queries at a time, so that they
//! fit. Those of a first round are written and each query's smallest chosen from them, span by span; of later ones only those
//! are kept that are smaller still ([`super::plan`]). What belongs to the chosen rows is fetched.

use std::ops::Range;
use std::rc::{Rc, Weak};

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::ivf::copy::{AT_ONCE_MAX, Probed, SentQueries};
use vectorgpu_core::quantize::list_row::{ListQuery, QueryCodes};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::cache::IndexShape;
use super::copies::IndexCopies;
use super::hits::PendingHits;
use super::plan::{Plan, Planner, Round, Wanted, later_passes};
use super::plan_each::EachHasLists;
use super::plan_same::SameLists;
use super::search::{Tiles, room, staged};
use crate::array::Array;
use crate::kernels::candidates::CANDIDATE_WORDS;
use crate::kernels::list_keys::{ListKeys, scores_query_codes};
use crate::kernels::lists::{HIT_WORDS, ListFetch};
use crate::kernels::top_k::{FEW_BLOCK, FEW_MAX, chooses_each};
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::runtime::{Runtime, as_u32, as_usize};
use crate::step::Step;

/// Most bytes of keys at a time, and of candidates.
const KEYS_BYTES_MAX: u64 = 512 << 20;
/// Queries whose codes one thread makes at a time.
const CODES_A_RUN: usize = 128;
/// What any device chooses for each of many queries.
const _: () = assert!(AT_ONCE_MAX <= FEW_MAX);

/// Queries in device memory.
#[derive(Clone)]
struct QueryViews {
    device: Weak<Runtime>,
    count: usize,
    octets: usize,
    /// `[count, octets * 8]` f32.
    values: View,
    /// What they are scored by, with its records: codes, or the values.
    scored: View,
    heads: View,
    are_codes: bool,
}

/// The spans of the first round's keys in device memory.
enum SpanViews {
    /// Those of each query up to its end, and about how many keys it has.
    Each { spans: View, ends: View, each: usize },
    /// What each pass chooses from, and how many spans that is.
    Passes(Vec<(View, usize)>),
}

/// A round in device memory.
struct RoundViews {
    map: View,
    blocks: View,
}

impl IndexCopies {
    /// See `ListCopies::begin_many`; `wanted` is at most `at_once_max`.
    pub(super) fn search_many(
        &self,
        queries: &[ListQuery<'_>],
        lists: Probed<'_>,
        wanted: usize,
        sent: &mut SentQueries,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<PendingHits> {
        let runtime = &self.cache.runtime;
        let planner = self.planner(queries.len(), lists, wanted)?;
        let limit = KEYS_BYTES_MAX
            .min(runtime.budget.limit_bytes() / 8)
            .min(runtime.capabilities().binding_bytes);
        let words = as_usize(limit / 4)?;
        let most = words.max(FEW_BLOCK);
        let mut pending = PendingHits {
            parts: Vec::new(),
            wanted,
            exact: self.shape.rows.vectors,
        };
        let mut first = 0;
        while first < queries.len() {
            if let Some((before_last, _)) = pending.parts.iter().rev().nth(1) {
                // Each holds its keys until the device is done with them.
                before_last.wait(keep_waiting)?;
            }
            let end = planner.fitting(first, most);
            let plan = planner.plan(first..end)?;
            let rows: Vec<u64> = (first..end).map(|query| planner.rows(query)).collect();
            let mut step = Step::new(Rc::clone(runtime));
            let known = QueryViews::known(sent, runtime, self.shape.rows.octets(), first..end);
            let views = match known {
                Some(views) => views,
                None => {
                    let octets = self.shape.rows.octets();
                    step.stage_queries(&queries[first..end], octets, self.crew, keep_waiting)?
                }
            };
            let hits = step.search_many(
                &self.shape,
                planner.tiles(),
                &views,
                end - first,
                &plan,
                wanted,
                keep_waiting,
            )?;
            pending
                .parts
                .push((step.submit_and_expect(&hits, keep_waiting)?, rows));
            if (first, end) == (0, queries.len()) {
                // Only now is it sure that they are there for later steps.
                views.leave(sent);
            }
            first = end;
        }
        Ok(pending)
    }

    fn planner(&self, queries: usize, lists: Probed<'_>, wanted: usize) -> Result<Box<dyn Planner>> {
        Ok(match lists {
            Probed::Each(lists) => Box::new(EachHasLists::new(self, lists)?),
            Probed::Same(lists) => {
                let wanted = Wanted {
                    rows: wanted,
                    sums: !scores_query_codes(&self.cache.runtime),
                };
                Box::new(SameLists::new(self, lists, queries, wanted)?)
            }
        })
    }
}

impl QueryViews {
    /// What `sent` holds, if those are the queries of `wanted`, all of them, on this device.
    fn known(sent: &SentQueries, runtime: &Rc<Runtime>, octets: usize, wanted: Range<usize>) -> Option<Self> {
        let views: &Self = sent.0.as_ref()?.downcast_ref()?;
        let is_here = views.device.as_ptr() == Rc::as_ptr(runtime);
        (is_here && views.octets == octets && wanted == (0..views.count)).then(|| views.clone())
    }

    /// Leaves them in `sent`.
    fn leave(self, sent: &mut SentQueries) {
        sent.0 = Some(Rc::new(self));
    }
}

impl Step {
    /// Device memory with these queries, once the step runs.
    fn stage_queries(
        &mut self,
        queries: &[ListQuery<'_>],
        octets: usize,
        crew: Crew,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<QueryViews> {
        let runtime = Rc::clone(&self.runtime);
        let elements: Vec<&[u8]> = queries
            .iter()
            .map(|query| bytemuck::cast_slice(query.values))
            .collect();
        let values = Source::Apart {
            rows: &elements,
            stride_bytes: octets * 8 * size_of::<f32>(),
        };
        let values = staged(&runtime, self, values, keep_waiting)?;
        let codes = self.stage_codes(queries, octets, crew, keep_waiting)?;
        let are_codes = codes.is_some();
        let (scored, heads) = match codes {
            Some(codes) => codes,
            None => {
                let heads: Vec<[f32; 4]> = queries.iter().map(|query| query.bounds.product_head).collect();
                let heads = self.stage_words(bytemuck::cast_slice(&heads), keep_waiting)?;
                (values.clone(), heads)
            }
        };
        Ok(QueryViews {
            device: Rc::downgrade(&runtime),
            count: queries.len(),
            octets,
            values,
            scored,
            heads,
            are_codes,
        })
    }

    /// Records the search, and returns where the hits will be: `[count, wanted]`.
    #[expect(clippy::too_many_arguments, reason = "what is searched, and for what")]
    fn search_many(
        &mut self,
        shape: &IndexShape,
        tiles: &Tiles,
        queries: &QueryViews,
        count: usize,
        plan: &Plan,
        wanted: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<u32>> {
        let runtime = Rc::clone(&self.runtime);
        let table = self.stage_words(bytemuck::cast_slice(&tiles.table), keep_waiting)?;
        // All that is sent comes before the first kernel: a submission in between would take the ring's slot away.
        let first = self.stage_round(&plan.first, keep_waiting)?;
        let mut later = Vec::with_capacity(plan.later.len());
        for round in &plan.later {
            later.push((round, self.stage_round(round, keep_waiting)?));
        }
        let spans = self.stage_spans(plan, count, wanted, keep_waiting)?;
        // A round's keys are no longer needed when the next one's are written.
        let places = plan.later.iter().map(|round| round.places).max();
        let places = places.unwrap_or(0).max(plan.first.places);
        let keys = room::<f32>(&runtime, places.max(1), keep_waiting)?;
        let words = if later.is_empty() {
            1
        } else {
            count * CANDIDATE_WORDS
        };
        let candidates = room::<u32>(&runtime, words, keep_waiting)?;
        let mut call = ListKeys {
            metric: shape.metric,
            octets: queries.octets,
            tiles: &table,
            queries: &queries.scored,
            are_codes: queries.are_codes,
            heads: &queries.heads,
            map: &first.map,
            blocks: &first.blocks,
            below: false,
            keys: keys.view(),
            candidates: candidates.view(),
        };
        self.run_round(tiles, &plan.first, &call)?;
        let mut chosen = self.choose(&keys, &spans, (count, wanted), keep_waiting)?;
        for (round, views) in &later {
            let candidates = candidates.view();
            self.candidates_begin((&chosen.0, &chosen.1), (count, wanted), candidates)?;
            (call.map, call.blocks, call.below) = (&views.map, &views.blocks, true);
            self.run_round(tiles, round, &call)?;
            let best = (
                room::<f32>(&runtime, count * wanted, keep_waiting)?,
                room::<u32>(&runtime, count * wanted, keep_waiting)?,
            );
            self.top_few_candidates(candidates, (count, wanted), (best.0.view(), best.1.view()))?;
            chosen = (best.0.view().clone(), best.1.view().clone());
        }
        let (chosen_keys, chosen_rows) = chosen;
        let count = count * wanted;
        let found = room::<u32>(&runtime, count * HIT_WORDS, keep_waiting)?;
        let fetch = ListFetch {
            metric: shape.metric,
            queries: &queries.values,
            dims: shape.rows.dims,
            tile_rows: tiles.tile_rows,
            tiles: &table,
            chosen_keys: &chosen_keys,
            chosen_rows: &chosen_rows,
            count,
            each: wanted,
            hits: found.view(),
        };
        self.list_fetch(&fetch, &tiles.found_segments)?;
        Ok(found)
    }

    /// Device memory with what a round needs.
    fn stage_round(&mut self, round: &Round, keep_waiting: &mut KeepWaiting<'_>) -> Result<RoundViews> {
        let blocks = round.blocks.concat();
        Ok(RoundViews {
            map: self.stage_words(bytemuck::cast_slice(&round.map), keep_waiting)?,
            blocks: self.stage_words(bytemuck::cast_slice(&blocks), keep_waiting)?,
        })
    }

    /// Records the keys of a round.
    fn run_round(&mut self, tiles: &Tiles, round: &Round, call: &ListKeys<'_>) -> Result<()> {
        let mut first = 0;
        for (range, blocks) in tiles.ranges().zip(&round.blocks) {
            self.list_keys(call, range.rows, first..first + blocks.len())?;
            first += blocks.len();
        }
        Ok(())
    }

    /// Device memory with what queries are scored by: their codes and those records, where the device takes codes.
    fn stage_codes(
        &mut self,
        queries: &[ListQuery<'_>],
        octets: usize,
        crew: Crew,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<(View, View)>> {
        if !scores_query_codes(&self.runtime) {
            return Ok(None);
        }
        let mut runs = vec![QueryCodes::default(); queries.len().div_ceil(CODES_A_RUN)];
        crew.fill(&mut runs, 1, keep_waiting, |number, run| {
            let queries = &queries[number * CODES_A_RUN..];
            let queries = &queries[..CODES_A_RUN.min(queries.len())];
            for codes in run {
                codes.reserve(queries.len(), queries[0].values.len())?;
                queries.iter().for_each(|query| codes.push(query));
            }
            Ok(())
        })?;
        let row_bytes = queries
            .first()
            .map_or(1, |query| query.values.len() * size_of::<u16>());
        let rows: Vec<&[u8]> = runs
            .iter()
            .flat_map(|run| run.codes.chunks_exact(row_bytes))
            .collect();
        let rows = Source::Apart {
            rows: &rows,
            stride_bytes: octets * 8 * size_of::<u16>(),
        };
        let rows = staged(&Rc::clone(&self.runtime), self, rows, keep_waiting)?;
        let heads: Vec<[f32; 4]> = runs.iter().flat_map(|run| &run.heads).copied().collect();
        let heads = self.stage_words(bytemuck::cast_slice(&heads), keep_waiting)?;
        Ok(Some((rows, heads)))
    }

    /// Device memory with the spans of the first round's keys.
    fn stage_spans(
        &mut self,
        plan: &Plan,
        count: usize,
        wanted: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<SpanViews> {
        let spans = self.stage_words(bytemuck::cast_slice(&plan.spans), keep_waiting)?;
        if chooses_each(self.runtime.capabilities(), count, wanted) {
            let mut ends = plan.span_counts.clone();
            let mut end = 0;
            for place in &mut ends {
                end += *place;
                *place = end;
            }
            let ends = ends.into_iter().map(as_u32).collect::<Result<Vec<u32>>>()?;
            let ends = self.stage_words(bytemuck::cast_slice(&ends), keep_waiting)?;
            let each = plan.first.places / count;
            return Ok(SpanViews::Each { spans, ends, each });
        }
        let mut passes = vec![(spans, plan.spans.len())];
        for pass in later_passes(&plan.span_counts, wanted)? {
            let view = self.stage_words(bytemuck::cast_slice(&pass), keep_waiting)?;
            passes.push((view, pass.len()));
        }
        Ok(SpanViews::Passes(passes))
    }

    /// Records the choice of the `wanted` smallest keys of each of `count` queries.
    fn choose(
        &mut self,
        keys: &Array<f32>,
        spans: &SpanViews,
        (count, wanted): (usize, usize),
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<(View, View)> {
        let runtime = Rc::clone(&self.runtime);
        let mut best = |spans: usize| -> Result<(View, View)> {
            let values = room::<f32>(&runtime, (spans * wanted).max(1), keep_waiting)?;
            let rows = room::<u32>(&runtime, (spans * wanted).max(1), keep_waiting)?;
            Ok((values.view().clone(), rows.view().clone()))
        };
        let passes = match spans {
            SpanViews::Each { spans, ends, each } => {
                let (values, rows) = best(count)?;
                let from = (keys.view(), spans, ends);
                self.top_few_each(from, (count, *each), wanted, (&values, &rows))?;
                return Ok((values, rows));
            }
            SpanViews::Passes(passes) => passes,
        };
        let mut input: Option<(View, View)> = None;
        for (spans, count) in passes {
            let (values, rows) = best(*count)?;
            let from = match &input {
                Some((values, rows)) => (values, Some(rows)),
                None => (keys.view(), None),
            };
            self.top_few_spans(from, (spans, *count), wanted, (&values, &rows))?;
            input = Some((values, rows));
        }
        input.ok_or_else(|| Error::new(ErrorKind::Internal, "nothing to choose from"))
    }

    /// Device memory with these bytes, or a little where there are none, once the step runs.
    fn stage_words(&mut self, bytes: &[u8], keep_waiting: &mut KeepWaiting<'_>) -> Result<View> {
        let runtime: Rc<Runtime> = Rc::clone(&self.runtime);
        let bytes = if bytes.is_empty() { &[0; 32] } else { bytes };
        staged(&runtime, self, Source::Bytes(bytes), keep_waiting)
    }
}
