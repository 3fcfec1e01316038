//! A search of copies for many queries: each list is read once for all queries that probe it.
//!
//! Keys of all (query, row) pairs are computed as blocks of a product of matrices, a part of the queries at a time, so that they
//! fit; then each query's smallest are chosen, span by span, and what belongs to them is fetched.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::{Rc, Weak};

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::ivf::copy::{AT_ONCE_MAX, CopiesSearched, CopyHit, ManyHits, PendingMany, SentQueries};
use vectorgpu_core::quantize::list_row::{ListQuery, QueryCodes};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::cache::{IndexShape, ListCopy};
use super::copies::IndexCopies;
use super::search::{Part, Tiles, room, staged};
use crate::array::Array;
use crate::kernels::list_keys::{BLOCK, KeyBlock, ListKeys};
use crate::kernels::lists::{HIT_WORDS, ListFetch};
use crate::kernels::top_k::{FEW_BLOCK, FEW_MAX, Span};
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::runtime::{Runtime, as_u32, as_usize};
use crate::step::{PendingResults, Step};

/// Most bytes of keys at a time.
const KEYS_BYTES_MAX: u64 = 512 << 20;
/// Most rows that can be chosen for a query.
pub(super) const WANTED_MAX: usize = AT_ONCE_MAX;
const _: () = assert!(WANTED_MAX <= FEW_MAX);

/// Most keys of a span.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
const FEW_SPAN: u32 = FEW_BLOCK as u32;

/// The lists of a search.
struct Lists {
    tiles: Tiles,
    /// Those of each list, one list after the other.
    parts: Vec<Part>,
    sizes: Vec<Size>,
    /// Which of the sizes the lists of each query have, one query after the other, and where each query's end.
    numbers: Vec<u32>,
    ends: Vec<usize>,
}

/// What a list takes.
struct Size {
    parts: Range<usize>,
    /// Places for the keys of a query.
    places: usize,
    rows: u64,
}

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

/// What some of the queries need.
#[derive(Default)]
struct Plan {
    map: Vec<u32>,
    /// By segment.
    blocks: Vec<Vec<KeyBlock>>,
    /// One query after the other, and how many each has.
    spans: Vec<Span>,
    span_counts: Vec<usize>,
    places: usize,
}

impl IndexCopies {
    /// See `ListCopies::begin_many`; `wanted` is at most [`WANTED_MAX`].
    pub(super) fn search_many(
        &self,
        queries: &[ListQuery<'_>],
        lists: &[Vec<u32>],
        wanted: usize,
        sent: &mut SentQueries,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<PendingHits> {
        let held = self.lists_of(lists)?;
        let runtime = &self.cache.runtime;
        let limit = KEYS_BYTES_MAX
            .min(runtime.budget.limit_bytes() / 8)
            .min(runtime.capabilities().binding_bytes);
        let most = as_usize(limit / 4)?.max(FEW_BLOCK);
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
            let end = held.fitting(first, most);
            let plan = held.plan(first..end)?;
            let rows: Vec<u64> = (first..end).map(|query| held.rows(query)).collect();
            let mut step = Step::new(Rc::clone(runtime));
            let known = QueryViews::known(sent, runtime, self.shape.rows.octets(), first..end);
            let views = match known {
                Some(views) => views,
                None => step.stage_queries(&queries[first..end], self.shape.rows.octets(), keep_waiting)?,
            };
            let hits = step.search_many(
                &self.shape,
                &held.tiles,
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

    fn lists_of(&self, lists: &[Vec<u32>]) -> Result<Lists> {
        // By number of a list, which of the sizes it has. Only lists that there are, so numbers are small.
        let mut known: Vec<Option<u32>> = Vec::new();
        let mut copies: Vec<Rc<RefCell<ListCopy>>> = Vec::new();
        let mut numbers = Vec::with_capacity(lists.iter().map(Vec::len).sum());
        let mut ends = Vec::with_capacity(lists.len());
        for lists in lists {
            for &list in lists {
                let place = as_usize(u64::from(list))?;
                if let Some(Some(number)) = known.get(place) {
                    numbers.push(*number);
                    continue;
                }
                let number = as_u32(copies.len())?;
                copies.push(self.finished(list)?);
                if known.len() <= place {
                    known.resize(place + 1, None);
                }
                known[place] = Some(number);
                numbers.push(number);
            }
            ends.push(numbers.len());
        }
        let (tiles, parts_of_each) = Tiles::in_blocks(&copies, BLOCK)?;
        let (mut parts, mut sizes) = (Vec::new(), Vec::with_capacity(copies.len()));
        for of_list in parts_of_each {
            sizes.push(Size {
                parts: parts.len()..parts.len() + of_list.len(),
                places: of_list.iter().map(places_of).sum(),
                rows: of_list.iter().map(|part| part.rows as u64).sum(),
            });
            parts.extend(of_list);
        }
        Ok(Lists {
            tiles,
            parts,
            sizes,
            numbers,
            ends,
        })
    }
}

/// Places for the keys of a query: whole tiles.
fn places_of(part: &Part) -> usize {
    part.tiles.len() * BLOCK
}

impl Lists {
    /// Which of the sizes the lists of a query have.
    fn numbers(&self, query: usize) -> impl Iterator<Item = usize> {
        self.numbers_of(query..query + 1)
    }

    /// The same of some queries.
    fn numbers_of(&self, queries: Range<usize>) -> impl Iterator<Item = usize> {
        let end_before = |query: usize| if query == 0 { 0 } else { self.ends[query - 1] };
        let numbers = &self.numbers[end_before(queries.start)..end_before(queries.end)];
        numbers.iter().map(|number| *number as usize)
    }

    fn rows(&self, query: usize) -> u64 {
        self.numbers(query).map(|number| self.sizes[number].rows).sum()
    }

    /// The end of the queries from `first` on whose keys take at most `most` places; one query at the least.
    fn fitting(&self, first: usize, most: usize) -> usize {
        let mut places = 0;
        for query in first..self.ends.len() {
            let sizes = self.numbers(query).map(|number| self.sizes[number].places);
            places += sizes.sum::<usize>();
            if places > most && query > first {
                return query;
            }
        }
        self.ends.len()
    }

    fn plan(&self, queries: Range<usize>) -> Result<Plan> {
        let mut counts = vec![0; self.sizes.len()];
        self.numbers_of(queries.clone())
            .for_each(|number| counts[number] += 1);
        let mut plan = Plan {
            blocks: vec![Vec::new(); self.tiles.segments()],
            span_counts: Vec::with_capacity(queries.len()),
            spans: Vec::with_capacity(self.numbers_of(queries.clone()).count()),
            ..Plan::default()
        };
        // Where the next query of each list goes in the map, and where its keys go in each part.
        let mut map_at = Vec::with_capacity(self.sizes.len());
        let mut keys_at = vec![0; self.parts.len()];
        let mut map_len = 0;
        for (size, count) in self.sizes.iter().zip(&counts) {
            for part in size.parts.clone() {
                // The last place has to be countable.
                keys_at[part] = as_u32(plan.places)?;
                plan.add_part(&self.parts[part], map_len, *count)?;
            }
            map_at.push(map_len);
            map_len += count;
        }
        as_u32(plan.places)?;
        plan.map.resize(map_len, 0);
        for (place, query) in (0..).zip(queries) {
            let before = plan.spans.len();
            for number in self.numbers(query) {
                plan.map[map_at[number]] = place;
                map_at[number] += 1;
                for part in self.sizes[number].parts.clone() {
                    plan.add_spans(&self.parts[part], &mut keys_at[part])?;
                }
            }
            plan.span_counts.push(plan.spans.len() - before);
        }
        Ok(plan)
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

impl Plan {
    /// Adds the blocks of a part of a list and its `count` queries, which begin in the map at `map_at`.
    fn add_part(&mut self, part: &Part, map_at: usize, count: usize) -> Result<()> {
        let step = places_of(part);
        for (place, tile) in part.tiles.clone().enumerate() {
            for first in (0..count).step_by(BLOCK) {
                self.blocks[part.segment].push(KeyBlock {
                    tile: as_u32(tile)?,
                    queries_at: as_u32(map_at + first)?,
                    queries: as_u32(BLOCK.min(count - first))?,
                    keys_at: as_u32(self.places + first * step + place * BLOCK)?,
                    step: as_u32(step)?,
                    reserved: [0; 3],
                });
            }
        }
        self.places += step * count;
        Ok(())
    }

    /// Adds the spans of one query's keys of a part, which begin at `keys_at`, and moves that to the next query's.
    fn add_spans(&mut self, part: &Part, keys_at: &mut u32) -> Result<()> {
        let (mut index, mut left) = (as_u32(part.tiles.start * BLOCK)?, as_u32(places_of(part))?);
        while left > 0 {
            let count = left.min(FEW_SPAN);
            self.spans.push(Span {
                start: *keys_at,
                count,
                index,
                reserved: 0,
            });
            // Below the number of all places, which fits.
            *keys_at += count;
            index += count;
            left -= count;
        }
        Ok(())
    }
}

impl Step {
    /// Device memory with these queries, once the step runs.
    fn stage_queries(
        &mut self,
        queries: &[ListQuery<'_>],
        octets: usize,
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
        let codes = self.stage_codes(queries, octets, keep_waiting)?;
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
        let map = self.stage_words(bytemuck::cast_slice(&plan.map), keep_waiting)?;
        let table = self.stage_words(bytemuck::cast_slice(&tiles.table), keep_waiting)?;
        let blocks = plan.blocks.concat();
        let blocks = self.stage_words(bytemuck::cast_slice(&blocks), keep_waiting)?;
        // All that is sent comes before the first kernel: a submission in between would take the ring's slot away.
        let mut spans = Vec::new();
        let view = self.stage_words(bytemuck::cast_slice(&plan.spans), keep_waiting)?;
        spans.push((view, plan.spans.len()));
        for pass in later_passes(&plan.span_counts, wanted)? {
            let view = self.stage_words(bytemuck::cast_slice(&pass), keep_waiting)?;
            spans.push((view, pass.len()));
        }
        let keys = room::<f32>(&runtime, plan.places.max(1), keep_waiting)?;
        let call = ListKeys {
            metric: shape.metric,
            octets: queries.octets,
            tiles: &table,
            queries: &queries.scored,
            are_codes: queries.are_codes,
            heads: &queries.heads,
            map: &map,
            blocks: &blocks,
            keys: keys.view(),
        };
        let mut first = 0;
        for (range, blocks) in tiles.ranges().zip(&plan.blocks) {
            self.list_keys(&call, range.rows, first..first + blocks.len())?;
            first += blocks.len();
        }
        let (chosen_keys, chosen_rows) = self.choose(&keys, &spans, wanted, keep_waiting)?;
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

    /// Device memory with what queries are scored by: their codes and those records, where the device takes codes.
    fn stage_codes(
        &mut self,
        queries: &[ListQuery<'_>],
        octets: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<(View, View)>> {
        if !self.scores_query_codes() {
            return Ok(None);
        }
        let mut codes = QueryCodes::default();
        codes.reserve(
            queries.len(),
            queries.first().map_or(0, |query| query.values.len()),
        )?;
        queries.iter().for_each(|query| codes.push(query));
        let row_bytes = codes.codes.len() / queries.len().max(1);
        let rows = Source::rows(&codes.codes, row_bytes, octets * 8 * size_of::<u16>());
        let rows = staged(&Rc::clone(&self.runtime), self, rows, keep_waiting)?;
        let heads = self.stage_words(bytemuck::cast_slice(&codes.heads), keep_waiting)?;
        Ok(Some((rows, heads)))
    }

    /// Records the choice of the `wanted` smallest keys of each query; `passes` are [`passes`] in device memory.
    fn choose(
        &mut self,
        keys: &Array<f32>,
        passes: &[(View, usize)],
        wanted: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<(View, View)> {
        let runtime = Rc::clone(&self.runtime);
        let mut input: Option<(View, View)> = None;
        for (spans, count) in passes {
            let values = room::<f32>(&runtime, (count * wanted).max(1), keep_waiting)?;
            let rows = room::<u32>(&runtime, (count * wanted).max(1), keep_waiting)?;
            let from = match &input {
                Some((values, rows)) => (values, Some(rows)),
                None => (keys.view(), None),
            };
            self.top_few_spans(from, (spans, *count), wanted, (values.view(), rows.view()))?;
            input = Some((values.view().clone(), rows.view().clone()));
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

/// The spans from which later passes choose what the first one has left of so many spans of each query: until there is one
/// for each.
fn later_passes(counts: &[usize], wanted: usize) -> Result<Vec<Vec<Span>>> {
    let (mut passes, mut counts) = (Vec::new(), counts.to_vec());
    while passes.is_empty() || counts.iter().any(|count| *count > 1) {
        let mut pass = Vec::with_capacity(counts.len());
        let mut start = 0;
        for count in &mut counts {
            let entries = *count * wanted;
            *count = entries.div_ceil(FEW_BLOCK).max(1);
            for first in (0..*count).map(|piece| piece * FEW_BLOCK) {
                pass.push(Span {
                    start: as_u32(start + first)?,
                    count: as_u32(FEW_BLOCK.min(entries - first))?,
                    index: 0,
                    reserved: 0,
                });
            }
            start += entries;
        }
        passes.push(pass);
    }
    Ok(passes)
}

/// Hits that the device is at, of some of the queries after the other.
pub(super) struct PendingHits {
    /// With how many rows each of their queries is compared.
    parts: Vec<(PendingResults, Vec<u64>)>,
    wanted: usize,
    exact: bool,
}

impl PendingHits {
    /// Waits for the hits, and sorts them out by query.
    pub(super) fn take(self, found: &mut ManyHits, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        for (hits, rows) in self.parts {
            take_hits(hits, &rows, self.wanted, self.exact, found, keep_waiting)?;
        }
        Ok(())
    }
}

impl PendingMany for PendingHits {
    fn finish(self: Box<Self>, keep_waiting: &mut KeepWaiting<'_>) -> Result<ManyHits> {
        let mut found = ManyHits::default();
        self.take(&mut found, keep_waiting)?;
        Ok(found)
    }
}

/// Sorts the hits out by query; `rows` says how many rows each was compared with.
fn take_hits(
    hits: PendingResults,
    rows: &[u64],
    wanted: usize,
    exact: bool,
    found: &mut ManyHits,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    found.hits.reserve(rows.len() * wanted);
    found.queries.reserve(rows.len());
    let (mut place, mut cut, mut count) = (0, f32::NEG_INFINITY, 0);
    hits.take(keep_waiting, &mut |hit: [u32; HIT_WORDS]| {
        let [key, low, high, there, score, norm_sq, ..] = hit;
        if there != 0 {
            let key = f32::from_bits(key);
            cut = if key > cut || key.is_nan() { key } else { cut };
            count += 1;
            found.hits.push(CopyHit {
                tid: u64::from(low) | u64::from(high) << 32,
                key,
                exact: exact.then(|| (f32::from_bits(score), f32::from_bits(norm_sq))),
            });
        }
        place += 1;
        if place % wanted == 0 {
            let rows = rows[place / wanted - 1];
            let searched = CopiesSearched {
                rows,
                cut: (count < rows).then_some(cut),
            };
            found.queries.push((found.hits.len(), searched));
            (cut, count) = (f32::NEG_INFINITY, 0);
        }
    })
}
