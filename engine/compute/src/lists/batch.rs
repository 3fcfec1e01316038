//! A search of copies for many queries: each list is read once for all queries that probe it.
//!
//! Keys of all (query, row) pairs are computed as blocks of a product of matrices, a part of the queries at a time, so that they
//! fit; then each query's smallest are chosen, span by span, and what belongs to them is fetched.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::ivf::copy::{CopiesSearched, CopyHit, ManyHits};
use vectorgpu_core::quantize::list_row::ListQuery;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::cache::{IndexShape, ListCopy};
use super::copies::IndexCopies;
use super::search::{Part, Tiles, room, staged};
use crate::array::Array;
use crate::kernels::lists::{BLOCK, HIT_WORDS, KeyBlock, ListFetch, ListKeys};
use crate::kernels::top_k::{FEW_BLOCK, FEW_MAX, Span};
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::runtime::{Runtime, as_u32, as_usize};
use crate::step::Step;

/// Most bytes of keys at a time.
const KEYS_BYTES_MAX: u64 = 512 << 20;
/// Most rows that can be chosen for a query.
pub(super) const WANTED_MAX: usize = FEW_MAX;

/// The lists of a search.
struct Lists {
    tiles: Tiles,
    /// The parts of each.
    parts: Vec<Vec<Part>>,
    places: HashMap<u32, usize>,
}

/// What some of the queries need.
#[derive(Default)]
struct Plan {
    map: Vec<u32>,
    /// By segment.
    blocks: Vec<Vec<KeyBlock>>,
    /// By query.
    spans: Vec<Vec<Span>>,
    places: u64,
}

impl IndexCopies {
    /// See `ListCopies::nearest_of_many`; `wanted` is at most [`WANTED_MAX`].
    pub(super) fn search_many(
        &self,
        queries: &[ListQuery<'_>],
        lists: &[Vec<u32>],
        wanted: usize,
        found: &mut ManyHits,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let held = self.lists_of(lists)?;
        let runtime = &self.cache.runtime;
        let limit = KEYS_BYTES_MAX
            .min(runtime.budget.limit_bytes() / 8)
            .min(runtime.capabilities().binding_bytes);
        let most = as_usize(limit / 4)?.max(FEW_BLOCK);
        let mut first = 0;
        while first < queries.len() {
            let end = held.fitting(lists, first, most);
            let plan = held.plan(lists, first..end)?;
            let rows = (first..end).map(|query| held.rows(&lists[query]));
            let rows: Vec<u64> = rows.collect();
            let mut step = Step::new(Rc::clone(runtime));
            let hits = step.search_many(
                &self.shape,
                &held.tiles,
                &queries[first..end],
                &plan,
                wanted,
                keep_waiting,
            )?;
            let exact = self.shape.rows.vectors;
            take_hits(step, &hits, &rows, wanted, exact, found, keep_waiting)?;
            first = end;
        }
        Ok(())
    }

    fn lists_of(&self, lists: &[Vec<u32>]) -> Result<Lists> {
        let mut places = HashMap::new();
        let mut copies: Vec<Rc<RefCell<ListCopy>>> = Vec::new();
        for &list in lists.iter().flatten() {
            if places.contains_key(&list) {
                continue;
            }
            places.insert(list, copies.len());
            copies.push(self.finished(list)?);
        }
        let (tiles, parts) = Tiles::in_blocks(&copies, BLOCK)?;
        Ok(Lists { tiles, parts, places })
    }
}

impl Lists {
    fn parts_of<'a>(&'a self, lists: &'a [u32]) -> impl Iterator<Item = &'a Part> {
        lists.iter().flat_map(|list| &self.parts[self.places[list]])
    }

    fn rows(&self, lists: &[u32]) -> u64 {
        self.parts_of(lists).map(|part| part.rows as u64).sum()
    }

    /// The end of the queries from `first` on whose keys take at most `most` places; one query at the least.
    fn fitting(&self, lists: &[Vec<u32>], first: usize, most: usize) -> usize {
        let mut places = 0;
        for (query, lists) in lists.iter().enumerate().skip(first) {
            places += self
                .parts_of(lists)
                .map(|part| part.tiles.len() * BLOCK)
                .sum::<usize>();
            if places > most && query > first {
                return query;
            }
        }
        lists.len()
    }

    fn plan(&self, lists: &[Vec<u32>], queries: Range<usize>) -> Result<Plan> {
        let mut by_list: Vec<Vec<u32>> = vec![Vec::new(); self.parts.len()];
        for (number, query) in queries.clone().enumerate() {
            for list in &lists[query] {
                by_list[self.places[list]].push(as_u32(number)?);
            }
        }
        let mut plan = Plan {
            blocks: vec![Vec::new(); self.tiles.segments()],
            spans: vec![Vec::new(); queries.len()],
            ..Plan::default()
        };
        for (parts, numbers) in self.parts.iter().zip(&by_list) {
            let map_at = plan.map.len();
            plan.map.extend(numbers);
            for part in parts.iter().filter(|_| !numbers.is_empty()) {
                plan.add(part, map_at, numbers)?;
            }
        }
        Ok(plan)
    }
}

impl Plan {
    /// Adds a part of a list and the queries that are scored against it.
    fn add(&mut self, part: &Part, map_at: usize, numbers: &[u32]) -> Result<()> {
        let step = part.tiles.len() * BLOCK;
        let start = self.places;
        self.places += (step * numbers.len()) as u64;
        // The last place has to be countable.
        as_u32(as_usize(self.places)?)?;
        let start = as_usize(start)?;
        for (place, tile) in part.tiles.clone().enumerate() {
            for first in (0..numbers.len()).step_by(BLOCK) {
                self.blocks[part.segment].push(KeyBlock {
                    tile: as_u32(tile)?,
                    queries_at: as_u32(map_at + first)?,
                    queries: as_u32(BLOCK.min(numbers.len() - first))?,
                    keys_at: as_u32(start + first * step + place * BLOCK)?,
                    step: as_u32(step)?,
                    reserved: [0; 3],
                });
            }
        }
        for (place, &number) in numbers.iter().enumerate() {
            for first in (0..step).step_by(FEW_BLOCK) {
                self.spans[number as usize].push(Span {
                    start: as_u32(start + place * step + first)?,
                    count: as_u32(FEW_BLOCK.min(step - first))?,
                    index: as_u32(part.tiles.start * BLOCK + first)?,
                    reserved: 0,
                });
            }
        }
        Ok(())
    }
}

impl Step {
    /// Records the search, and returns where the hits will be: `[queries, wanted]`.
    fn search_many(
        &mut self,
        shape: &IndexShape,
        tiles: &Tiles,
        queries: &[ListQuery<'_>],
        plan: &Plan,
        wanted: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<u32>> {
        let runtime = Rc::clone(&self.runtime);
        let octets = shape.rows.octets();
        let mut values: Vec<f32> = Vec::new();
        let floats = queries.len() * octets * 8;
        values.try_reserve_exact(floats).map_err(|error| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("no memory for {floats} numbers: {error}"),
            )
        })?;
        for query in queries {
            values.extend_from_slice(query.values);
            values.resize(values.len().next_multiple_of(octets * 8), 0.0);
        }
        let heads: Vec<[f32; 4]> = queries.iter().map(|query| query.bounds.product_head).collect();
        let values = self.stage_words(bytemuck::cast_slice(&values), keep_waiting)?;
        let heads = self.stage_words(bytemuck::cast_slice(&heads), keep_waiting)?;
        let map = self.stage_words(bytemuck::cast_slice(&plan.map), keep_waiting)?;
        let table = self.stage_words(bytemuck::cast_slice(&tiles.table), keep_waiting)?;
        let blocks = plan.blocks.concat();
        let blocks = self.stage_words(bytemuck::cast_slice(&blocks), keep_waiting)?;
        // All that is sent comes before the first kernel: a submission in between would take the ring's slot away.
        let mut spans = Vec::new();
        for pass in passes(&plan.spans, wanted)? {
            let view = self.stage_words(bytemuck::cast_slice(&pass), keep_waiting)?;
            spans.push((view, pass.len()));
        }
        let keys = room::<f32>(&runtime, as_usize(plan.places.max(1))?, keep_waiting)?;
        let call = ListKeys {
            metric: shape.metric,
            octets,
            tiles: &table,
            queries: &values,
            heads: &heads,
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
        let count = queries.len() * wanted;
        let found = room::<u32>(&runtime, count * HIT_WORDS, keep_waiting)?;
        let fetch = ListFetch {
            metric: shape.metric,
            queries: &values,
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

/// The spans from which each pass chooses: those of the keys, then what is left of them, until that is one span a query.
fn passes(spans: &[Vec<Span>], wanted: usize) -> Result<Vec<Vec<Span>>> {
    let mut passes = vec![spans.concat()];
    let mut counts: Vec<usize> = spans.iter().map(Vec::len).collect();
    while passes.len() == 1 || counts.iter().any(|count| *count > 1) {
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

/// Runs the step and sorts the hits out by query; `rows` says how many rows each was compared with.
fn take_hits(
    step: Step,
    hits: &Array<u32>,
    rows: &[u64],
    wanted: usize,
    exact: bool,
    found: &mut ManyHits,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    let (mut place, mut cut, mut count) = (0, f32::NEG_INFINITY, 0);
    step.run_and_read(hits, keep_waiting, &mut |hit: [u32; HIT_WORDS]| {
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
