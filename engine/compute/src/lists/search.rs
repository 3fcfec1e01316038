//! A search of copies for one query: keys of all rows, the smallest of them, what belongs to those; one submission where it
//! is short enough, and one read-back.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::cpu::{Ahead, kernels};
use vectorgpu_core::ivf::copy::{CopiesSearched, CopyHit};
use vectorgpu_core::metric::Storage;
use vectorgpu_core::metric::{Element, Metric};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows, RowCode};

use super::cache::{IndexShape, ListCache, ListCopy};
use super::copies::IndexCopies;
use super::extent::{CAPACITY_STEP, Extent};
use super::hits::{farther, hit_of};
use crate::array::Array;
use crate::kernels::lists::{After, HIT_WORDS, ListFetch, ListScan, Tile, TileRange};
use crate::memory::buffer::Purpose;
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::recording::End;
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::step::Step;

/// Fewest rows of a tile.
const TILE_ROWS: usize = 32;
/// More tiles than a device can hold at once, so that the last ones to run even out; fewer than rows of a large index, so
/// that their table stays small.
const TILES: usize = 8192;
/// Most rows that `top_k` chooses.
const TOP_K_MAX: usize = 1024;
/// Account of what a search needs meanwhile.
const LABEL: &str = "vectorgpu.search";

/// The tiles of some lists, those of one segment after the other.
pub(super) struct Tiles {
    pub(super) table: Vec<Tile>,
    pub(super) tile_rows: usize,
    /// Each segment's buffer, whole, and its tiles.
    segments: Vec<(View, usize, usize)>,
    /// The buffers, whole, of what belongs to rows that are found.
    pub(super) found_segments: Vec<View>,
    /// Rows in them.
    pub(super) rows: usize,
}

/// Tiles of one list, one after the other in one segment.
pub(super) struct Part {
    pub(super) tiles: Range<usize>,
    /// Which of the segments.
    pub(super) segment: usize,
    /// Rows in them.
    pub(super) rows: usize,
}

impl Tiles {
    /// The tiles of `tile_rows` rows of `copies`, and which of them are each one's.
    pub(super) fn in_blocks(
        copies: &[Rc<RefCell<ListCopy>>],
        tile_rows: usize,
    ) -> Result<(Self, Vec<Vec<Part>>)> {
        let held: Vec<_> = copies.iter().map(|copy| copy.borrow()).collect();
        let extents = held
            .iter()
            .enumerate()
            .flat_map(|(list, copy)| copy.extents.iter().map(move |extent| (list, extent)));
        let mut parts: Vec<Vec<Part>> = copies.iter().map(|_| Vec::new()).collect();
        let tiles = Self::build(&extents.collect::<Vec<_>>(), tile_rows, &mut |list, part| {
            parts[list].push(part);
        })?;
        Ok((tiles, parts))
    }

    pub(super) fn new(copies: &[Rc<RefCell<ListCopy>>]) -> Result<Self> {
        let held: Vec<_> = copies.iter().map(|copy| copy.borrow()).collect();
        let extents: Vec<_> = held.iter().flat_map(|copy| &copy.extents).collect();
        // Each lies in memory of its own, and little is done with one.
        for extent in &extents {
            Ahead::new(std::ptr::from_ref(*extent).cast(), size_of::<Extent>()).ask_all();
        }
        Self::of(&extents)
    }

    fn of(extents: &[&Extent]) -> Result<Self> {
        let rows: usize = extents.iter().map(|extent| extent.rows()).sum();
        let tile_rows = TILE_ROWS * rows.div_ceil(TILE_ROWS * TILES).max(1);
        let extents: Vec<_> = extents.iter().map(|extent| (0, *extent)).collect();
        Self::build(&extents, tile_rows, &mut |_, _| {})
    }

    /// The tiles of extents, each of the list with a number, and `part` told of the tiles of each.
    fn build(
        extents: &[(usize, &Extent)],
        tile_rows: usize,
        part: &mut dyn FnMut(usize, Part),
    ) -> Result<Self> {
        let filled = extents.iter().filter(|(_, extent)| extent.rows() > 0);
        let mut extents: Vec<(usize, &Extent)> = filled.copied().collect();
        // Stable: what a list has in one segment stays in its order.
        extents.sort_by_key(|(_, extent)| extent.scanned_number());
        let rows = extents.iter().map(|(_, extent)| extent.rows()).sum();
        let found = found_numbers(&extents);
        let mut tiles = Self {
            table: Vec::with_capacity(rows / tile_rows + extents.len()),
            tile_rows,
            segments: Vec::new(),
            found_segments: found.iter().map(|(_, whole)| whole.clone()).collect(),
            rows,
        };
        let by_segment = extents.chunk_by(|(_, a), (_, b)| a.scanned_number() == b.scanned_number());
        for (segment, extents) in by_segment.enumerate() {
            let first = tiles.table.len();
            for &(list, extent) in extents {
                let start = tiles.table.len();
                let place = found
                    .iter()
                    .position(|(number, _)| *number == extent.found_number());
                let found_segment = as_u32(place.unwrap_or_default())?;
                extent.tiles(tile_rows, found_segment, &mut tiles.table)?;
                let part_of_list = Part {
                    tiles: start..tiles.table.len(),
                    segment,
                    rows: extent.rows(),
                };
                part(list, part_of_list);
            }
            let whole = View::whole_buffer(extents[0].1.scanned());
            tiles.segments.push((whole, first, tiles.table.len()));
        }
        Ok(tiles)
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = TileRange<'_>> {
        self.segments.iter().map(|(rows, first, end)| TileRange {
            rows,
            first: *first,
            end: *end,
        })
    }

    /// Number of segments.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Places for keys: whole tiles.
    fn places(&self) -> usize {
        self.table.len() * self.tile_rows
    }
}

/// The buffers, whole, of what belongs to the rows of some extents, by their numbers: in the same order whichever lists are
/// searched, so that they are bound in the same way.
fn found_numbers(extents: &[(usize, &Extent)]) -> Vec<(u64, View)> {
    let mut found: Vec<(u64, View)> = Vec::new();
    for (_, extent) in extents {
        let number = extent.found_number();
        if !found.iter().any(|(known, _)| *known == number) {
            found.push((number, View::whole_buffer(extent.found())));
        }
    }
    found.sort_unstable_by_key(|(number, _)| *number);
    found
}

impl IndexCopies {
    /// The rows with the smallest keys; see `ListCopies::nearest`.
    pub(super) fn search(
        &self,
        query: &ListQuery<'_>,
        copies: &[Rc<RefCell<ListCopy>>],
        wanted: usize,
        after: Option<(f32, u64)>,
        hits: &mut Vec<CopyHit>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<CopiesSearched> {
        let tiles = Tiles::new(copies)?;
        if tiles.rows == 0 || wanted == 0 {
            let cut = (tiles.rows > 0).then_some(f32::NEG_INFINITY);
            return Ok(CopiesSearched { rows: 0, cut });
        }
        self.cache
            .search_tiles(&self.shape, &tiles, query, wanted, after, hits, keep_waiting)
    }
}

impl ListCache {
    #[expect(
        clippy::too_many_arguments,
        reason = "what is searched, for what, and where to"
    )]
    fn search_tiles(
        &self,
        shape: &IndexShape,
        tiles: &Tiles,
        query: &ListQuery<'_>,
        wanted: usize,
        after: Option<(f32, u64)>,
        hits: &mut Vec<CopyHit>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<CopiesSearched> {
        let mut step = Step::new(Rc::clone(&self.runtime));
        let found = step.search_lists(shape, tiles, query, wanted, After { row: after }, keep_waiting)?;
        let (mut cut, mut found_rows) = (f32::NEG_INFINITY, 0);
        step.run_and_read(&found, keep_waiting, &mut |hit: [u32; HIT_WORDS]| {
            let Some(hit) = hit_of(hit, shape.rows.vectors) else {
                // A place without a row, as far as any.
                cut = if cut.is_nan() { cut } else { f32::INFINITY };
                return;
            };
            cut = farther(cut, hit.key);
            found_rows += 1;
            hits.push(hit);
        })?;
        Ok(CopiesSearched {
            rows: tiles.rows as u64,
            cut: (found_rows < tiles.rows).then_some(cut),
        })
    }

    /// Whether the device adds up f32 for `metric` as the CPU's kernels do, bit for bit; tried out on the first call.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, `DeviceLost`; what compiling kernels reports.
    pub fn adds_exactly(&self, metric: Metric, keep_waiting: &mut KeepWaiting<'_>) -> Result<bool> {
        let place = usize::from(metric.is_spherical());
        if let Some(known) = self.adds_exactly.get()[place] {
            return Ok(known);
        }
        let mut exact = true;
        for dims in TEST_DIMS {
            exact &= self.adds_exactly_in(dims, metric, keep_waiting)?;
        }
        let mut known = self.adds_exactly.get();
        known[place] = Some(exact);
        self.adds_exactly.set(known);
        Ok(exact)
    }

    fn adds_exactly_in(
        &self,
        dims: usize,
        metric: Metric,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<bool> {
        let runtime = &self.runtime;
        let shape = IndexShape {
            metric,
            ..Self::test_shape(dims)
        };
        let vectors = test_vectors(dims);
        let mut rows = ListRows::new(metric, Storage::F32, dims);
        for (tid, vector) in (1..).zip(vectors.chunks_exact(dims)) {
            rows.push(tid, RowCode::F32(bytemuck::cast_slice(vector)), 0.0);
        }
        let capacity = TEST_ROWS.next_multiple_of(CAPACITY_STEP);
        let mut extent = Extent::reserve(runtime, &shape.label, shape.rows, capacity, keep_waiting)?;
        extent.append(runtime, &rows, 0, TEST_ROWS, keep_waiting)?;
        let tiles = Tiles::of(&[&extent])?;
        let mut step = Step::new(Rc::clone(runtime));
        let chosen: Vec<u32> = (0..as_u32(TEST_ROWS)?).collect();
        let chosen = Source::Bytes(bytemuck::cast_slice(&chosen));
        // Keys are only handed on; these are as good as any.
        let chosen = staged(runtime, &mut step, chosen, keep_waiting)?;
        let query = step.stage_query(&shape, &vectors[..dims], keep_waiting)?;
        let table = Source::Bytes(bytemuck::cast_slice(&tiles.table));
        let table = staged(runtime, &mut step, table, keep_waiting)?;
        let found = room::<u32>(runtime, TEST_ROWS * HIT_WORDS, keep_waiting)?;
        let fetch = ListFetch {
            metric,
            queries: &query,
            dims,
            tile_rows: tiles.tile_rows,
            tiles: &table,
            chosen_keys: &chosen,
            chosen_rows: &chosen,
            count: TEST_ROWS,
            each: TEST_ROWS,
            hits: found.view(),
        };
        step.list_fetch(&fetch, &tiles.found_segments)?;
        let mut same = 0;
        let mut expected = vectors.chunks_exact(dims).map(|vector| {
            let vector = bytemuck::cast_slice(vector);
            kernels().row(metric.score(), Element::F32, &vectors[..dims], vector)
        });
        step.run_and_read(&found, keep_waiting, &mut |hit: [u32; HIT_WORDS]| {
            let expected = expected.next().map(f32::to_bits);
            same += usize::from(expected == Some(hit[4]));
        })?;
        Ok(same == TEST_ROWS)
    }
}

impl Step {
    /// Device memory with a query, padded with zeros to whole octets, once the step runs.
    fn stage_query(
        &mut self,
        shape: &IndexShape,
        query: &[f32],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<View> {
        let runtime = Rc::clone(&self.runtime);
        let stride = shape.rows.octets() * 8 * size_of::<f32>();
        let source = Source::rows(bytemuck::cast_slice(query), size_of_val(query), stride);
        staged(&runtime, self, source, keep_waiting)
    }

    /// Device memory with a query as [`Self::stage_query`] leaves it, and a table of tiles, sent as one piece.
    fn stage_search(
        &mut self,
        shape: &IndexShape,
        query: &[f32],
        tiles: &Tiles,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<(View, View)> {
        let runtime = Rc::clone(&self.runtime);
        let alignment = runtime.capabilities().storage_alignment;
        let query_bytes = shape.rows.octets() * 8 * size_of::<f32>();
        let table_at = as_u64(query_bytes)?.next_multiple_of(alignment);
        let source = Source::Together {
            front: bytemuck::cast_slice(query),
            behind: bytemuck::cast_slice(&tiles.table),
            behind_at: as_usize(table_at)?,
        };
        let bytes = as_u64(source.bytes())?;
        let block = runtime.acquire(LABEL, Purpose::Storage, bytes, keep_waiting)?;
        let target = End::View(View::front(&block, bytes)?);
        runtime.stage(&mut self.recording, source, target, keep_waiting)?;
        let whole = View::roomy_front(&block, bytes, runtime.capabilities().binding_bytes)?;
        Ok((
            whole.part(0, as_u64(query_bytes)?, alignment)?,
            whole.part(table_at, whole.bytes() - table_at, alignment)?,
        ))
    }

    /// Records the search of `tiles`, and returns where its hits will be.
    fn search_lists(
        &mut self,
        shape: &IndexShape,
        tiles: &Tiles,
        query: &ListQuery<'_>,
        wanted: usize,
        after: After,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<u32>> {
        let runtime = Rc::clone(&self.runtime);
        let octets = shape.rows.octets();
        let places = tiles.places();
        let count = wanted.min(places);
        let (query_view, tiles_view) = self.stage_search(shape, query.values, tiles, keep_waiting)?;
        let keys = runtime.roomy_array::<f32>(LABEL, places, keep_waiting)?;
        let chosen_keys = room::<f32>(&runtime, count, keep_waiting)?;
        let chosen_rows = room::<u32>(&runtime, count, keep_waiting)?;
        let found = room::<u32>(&runtime, count * HIT_WORDS, keep_waiting)?;
        let scan = ListScan {
            metric: shape.metric,
            query: &query_view,
            head: query.bounds.head,
            rounding: query.bounds.rounding,
            octets,
            tile_rows: tiles.tile_rows,
            tiles: &tiles_view,
            after,
            keys: keys.view(),
        };
        self.list_scan(&scan, &tiles.ranges().collect::<Vec<_>>())?;
        if count <= TOP_K_MAX {
            self.top_k(&keys, count, &chosen_keys, &chosen_rows, keep_waiting)?;
        } else {
            self.select(&keys, None, &chosen_keys, &chosen_rows, keep_waiting)?;
        }
        let fetch = ListFetch {
            metric: shape.metric,
            queries: &query_view,
            dims: shape.rows.dims,
            tile_rows: tiles.tile_rows,
            tiles: &tiles_view,
            chosen_keys: chosen_keys.view(),
            chosen_rows: chosen_rows.view(),
            count,
            each: count,
            hits: found.view(),
        };
        self.list_fetch(&fetch, &tiles.found_segments)?;
        Ok(found)
    }
}

/// Lengths about those at which the CPU's kernels change what they do.
const TEST_DIMS: [usize; 6] = [1, 15, 33, 100, 768, 1000];
const TEST_ROWS: usize = 64;

/// Vectors whose sums depend on every rounding: terms of many magnitudes that cancel, some of them subnormal.
fn test_vectors(dims: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bits = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut vectors = Vec::with_capacity(TEST_ROWS * dims);
    for row in 0..TEST_ROWS {
        // Every fourth row about as large as what squares to subnormals.
        let middle = if row % 4 == 3 { 64 } else { 127 };
        for _ in 0..dims {
            let random = bits();
            #[expect(clippy::cast_possible_truncation, reason = "the low bits are random, too")]
            let word = random as u32;
            let exponent = middle - 6 + (word >> 8) % 12;
            vectors.push(f32::from_bits(
                word & 0x8000_0000 | exponent << 23 | (word >> 9 & 0x007f_ffff),
            ));
        }
    }
    vectors
}

/// Device memory with the bytes of `source`, once the step runs.
pub(super) fn staged(
    runtime: &Runtime,
    step: &mut Step,
    source: Source<'_>,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<View> {
    let bytes = as_u64(source.bytes())?;
    let block = runtime.acquire(LABEL, Purpose::Storage, bytes, keep_waiting)?;
    let view = View::front(&block, bytes)?;
    runtime.stage(&mut step.recording, source, End::View(view.clone()), keep_waiting)?;
    Ok(view)
}

/// Room for `len` elements until the step has run.
pub(super) fn room<T: bytemuck::Pod>(
    runtime: &Runtime,
    len: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Array<T>> {
    let bytes = as_u64(len.saturating_mul(size_of::<T>()))?;
    let block = runtime.acquire(LABEL, Purpose::Storage, bytes, keep_waiting)?;
    let alignment = runtime.capabilities().storage_alignment;
    Ok(Array::new(
        View::front(&block, bytes)?,
        as_usize(bytes)? / size_of::<T>(),
        alignment,
    ))
}
