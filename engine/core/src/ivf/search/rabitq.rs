//! Rows behind 1-bit codes: passes over those that cannot be near, and compares the others exactly when their turn comes.
//!
//! A row enters the window with the lower bound that its 1-bit code gives. Only when it is the nearest there is its 4-bit
//! code read, and it goes back with a closer bound; when it is the nearest again its vector is read, and it goes back with
//! its true distance. So how many codes and vectors are read follows from how many rows are asked for, and nothing has to
//! be guessed beforehand.

use crate::cpu::{LOOKUP_LINES, LOOKUP_QUAD, LOOKUP_ROWS, kernels};
use crate::error::Result;
use crate::metric::Element;
use crate::quantize::rabitq::{Place, RabitqQuery, RabitqRuns};

use super::super::centroids;
use super::super::layout::{self, Meta, Piece, Shape};
use super::super::page::{self, CONTENT_AT, Kind};
use super::super::store::PageStore;
use super::super::window::{Entry, Source};
use super::collect::{Collector, Pass, bad_factors};
use super::coming::Coming;
use super::rank::place_of;
use super::{Query, key_of};

/// Scratch memory, and the list that is being read.
#[derive(Debug, Default)]
pub(super) struct RabitqRows {
    /// Where the query lies to the list's centroid.
    place: Place,
    /// The same of every list of which it is known.
    places: Vec<Option<Place>>,
    /// Those lists.
    known: Vec<u32>,
    runs: [Vec<f32>; 4],
    vector: Vec<u8>,
}

impl RabitqRows {
    /// Prepares for the rows of `list`.
    pub(super) fn enter<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &RabitqQuery,
        list: u32,
    ) -> Result<()> {
        self.place = match self.place(list) {
            Some(place) => place,
            None => centroids::with_one(store, meta, list, &mut self.vector, |centroid| {
                place_of(query, centroid)
            })??,
        };
        self.know(meta, list, self.place);
        Ok(())
    }

    /// Notes where the query lies to the centroid of `list`.
    pub(super) fn know(&mut self, meta: &Meta, list: u32, place: Place) {
        self.places.resize(meta.lists as usize, None);
        self.places[list as usize] = Some(place);
        self.known.push(list);
    }

    /// Where the query lies to the centroid of `list`, if that is known.
    pub(super) fn place(&self, list: u32) -> Option<Place> {
        self.places.get(list as usize).copied().flatten()
    }

    /// Forgets the last query.
    pub(super) fn clear(&mut self) {
        for list in self.known.drain(..) {
            self.places[list as usize] = None;
        }
    }

    /// Reads one group of `rows` rows, whose first page is locked.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a group is read with, as for other storages"
    )]
    pub(super) fn group<S: PageStore>(
        &mut self,
        pass: &mut Pass<'_, '_, S>,
        query: &Query,
        codes: &RabitqQuery,
        page: &[u8],
        block: u32,
        rows: usize,
        scratch: &mut Vec<u8>,
        ahead: &mut Coming,
    ) -> Result<()> {
        let shape = pass.shape;
        let filter = filter_of(pass.store, shape, page, block, rows, scratch)?;
        let [base, step, error] = shape.factors.rabitq_runs();
        let [base_copy, step_copy, error_copy, norm_copy] = &mut self.runs;
        let runs = RabitqRuns {
            base: layout::factor_run_or_copy(page, shape, base, rows, base_copy),
            step: layout::factor_run_or_copy(page, shape, step, rows, step_copy),
            error: layout::factor_run_or_copy(page, shape, error, rows, error_copy),
            norm_sq: if shape.factors.norm_sq {
                layout::factor_run_or_copy(page, shape, 0, rows, norm_copy)
            } else {
                &[]
            },
        };
        let terms = codes.terms(self.place);
        let blocks = filter.chunks_exact(LOOKUP_ROWS * shape.filter_bytes);
        let lines = shape.filter_bytes / LOOKUP_QUAD * LOOKUP_LINES;
        let mut bounds = [0.0; LOOKUP_ROWS];
        for (block_codes, first) in blocks.zip((0..rows).step_by(LOOKUP_ROWS)) {
            let lanes = u16::MAX >> LOOKUP_ROWS.saturating_sub(rows - first);
            // Rounded up, so that it keeps no fewer rows.
            let cut = above(pass.window.cut());
            let near = codes.near_rows(
                &terms,
                block_codes,
                runs,
                first,
                cut,
                &mut bounds,
                ahead.take(lines),
            );
            // What no encoder wrote could hide a row.
            if !near.sound {
                return Err(bad_factors(block));
            }
            let mut left = near.rows & lanes;
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                left &= left - 1;
                let slot = first + lane;
                if !layout::tid(page, slot).is_tombstone() {
                    let found = found(pass, query, page, block, slot, bounds[lane], &mut self.vector)?;
                    pass.window.push(found);
                }
            }
        }
        Ok(())
    }
}

/// The entry of the row in `slot`, whose distance is at least `bound`.
fn found<S: PageStore>(
    pass: &mut Pass<'_, '_, S>,
    query: &Query,
    page: &[u8],
    block: u32,
    slot: usize,
    bound: f32,
    vector: &mut Vec<u8>,
) -> Result<Entry> {
    let (tid, key) = (layout::tid(page, slot).0, f64::from(bound));
    // Whether a row was returned before follows from its distance, not from its bound.
    if !pass.settle_now && pass.window.floor().is_none_or(|floor| key > floor.key()) {
        let source = Source::Slot {
            block,
            slot: u16::try_from(slot).expect("a group holds fewer than 65,536 rows"),
            fine: false,
        };
        return Ok(Entry::new(key, tid, source));
    }
    pass.counts.compared += 1;
    let row = Row { page, block, slot };
    let key = distance(pass.store, pass.meta, pass.shape, query, row, vector)?;
    Ok(Entry::new(key, tid, Source::Settled))
}

/// The next f32 above `value`.
#[expect(clippy::cast_possible_truncation, reason = "corrected upwards")]
fn above(value: f64) -> f32 {
    (value as f32).next_up()
}

/// Brings what is to be read next of a row nearer to the CPU, if it is known where it lies.
pub(super) fn prefetch_row<S: PageStore>(store: &S, shape: &Shape, entry: Entry) {
    let Source::Slot { block, slot, fine } = entry.source() else {
        return;
    };
    let slot = usize::from(slot);
    let ask = |piece: Piece| {
        let further = page_of(block, piece.page);
        store.prefetch(further, 0..CONTENT_AT).ahead().ask_all();
        let part = piece.at..piece.at + piece.len;
        store.prefetch(further, part).ahead().ask_all();
    };
    if fine {
        shape.vector_pieces(slot).for_each(ask);
    } else {
        shape.fine_pieces(slot).for_each(ask);
    }
}

/// Asks for the 4-bit code and the vector of a row, should they lie on the disk.
pub(super) fn read_row_ahead<S: PageStore>(store: &S, shape: &Shape, entry: Entry) {
    if let Source::Slot { block, slot, .. } = entry.source() {
        for piece in shape.pieces(usize::from(slot)) {
            store.prefetch(page_of(block, piece.page), 0..0);
        }
    }
}

impl Collector {
    /// Replaces the bound that `entry` has by a closer one, or, if it has that, by its distance.
    ///
    /// Nothing was locked since its slot was read, so VACUUM may have moved the row. A slot that holds an entry's TID
    /// holds the row itself, or one that took the TID over and that the scan's snapshot does not see.
    pub(super) fn settle<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        shape: &Shape,
        query: &Query,
        entry: Entry,
    ) -> Result<Entry> {
        let Source::Slot { block, slot, fine } = entry.source() else {
            return Ok(entry);
        };
        let page = store.share(block)?;
        let row = Row {
            page: &page,
            block,
            slot: usize::from(slot),
        };
        let there = page::kind(&page) == Some(Kind::Group)
            && row.slot < layout::count(&page).min(shape.rows)
            && layout::tid(&page, row.slot).0 == entry.tid;
        if !there {
            return Ok(entry.moved());
        }
        if fine {
            let key = distance(store, meta, shape, query, row, self.vector())?;
            return Ok(Entry::new(key, entry.tid, Source::Settled));
        }
        let (rabitq, straddling) = self.rabitq_and_scratch();
        let Some(bound) = rabitq.fine_bound(store, shape, query, row, straddling)? else {
            return Ok(entry.moved());
        };
        let source = Source::Slot {
            block,
            slot,
            fine: true,
        };
        Ok(Entry::new(entry.key().max(f64::from(bound)), entry.tid, source))
    }
}

/// A row of a group whose first page is locked.
#[derive(Clone, Copy)]
struct Row<'a> {
    page: &'a [u8],
    block: u32,
    slot: usize,
}

impl RabitqRows {
    /// The bound by the row's 4-bit code; nothing where the row's list was not read.
    fn fine_bound<S: PageStore>(
        &self,
        store: &S,
        shape: &Shape,
        query: &Query,
        row: Row<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<f32>> {
        let (Some(place), Some(codes)) = (self.place(page::owner(row.page)), &query.rabitq) else {
            return Ok(None);
        };
        let terms = codes.terms(place);
        let norm_sq = norm_sq_of(shape, row);
        let pieces = shape.fine_pieces(row.slot);
        let bound = with_bytes(store, row, pieces, shape.fine_bytes, scratch, |code| {
            codes.fine_bound(&terms, code, norm_sq)
        })?;
        bound.map(Some).ok_or_else(|| bad_factors(row.block))
    }
}

/// The operator's value for a row.
fn distance<S: PageStore>(
    store: &S,
    meta: &Meta,
    shape: &Shape,
    query: &Query,
    row: Row<'_>,
    scratch: &mut Vec<u8>,
) -> Result<f64> {
    let pieces = shape.vector_pieces(row.slot);
    let bytes = shape.code_bytes - shape.fine_bytes;
    let score = with_bytes(store, row, pieces, bytes, scratch, |vector| {
        kernels().row(meta.metric.score(), Element::F32, &query.values, vector)
    })?;
    let norm_sq = norm_sq_of(shape, row);
    Ok(key_of(meta.metric, shape, true, query, score, norm_sq, 0.0))
}

fn norm_sq_of(shape: &Shape, row: Row<'_>) -> f32 {
    if shape.factors.norm_sq {
        layout::factor(row.page, shape, 0, row.slot)
    } else {
        0.0
    }
}

/// Hands on `len` bytes of a row: where they lie, or put together where they straddle pages.
fn with_bytes<S: PageStore, T>(
    store: &S,
    row: Row<'_>,
    pieces: impl Iterator<Item = Piece>,
    len: usize,
    scratch: &mut Vec<u8>,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    scratch.clear();
    for piece in pieces {
        let bytes = piece.at..piece.at + piece.len;
        if piece.page == 0 {
            scratch.extend_from_slice(&row.page[bytes]);
            continue;
        }
        let block = page_of(row.block, piece.page);
        let further = store.share(block)?;
        page::expect(&further, block, Kind::Continuation)?;
        if piece.len == len {
            return Ok(read(&further[bytes]));
        }
        scratch.extend_from_slice(&further[bytes]);
    }
    Ok(read(scratch))
}

/// The block of page `index` of the group at `block`.
fn page_of(block: u32, index: usize) -> u32 {
    block + u32::try_from(index).expect("at most 32 pages")
}

/// The 1-bit codes of a group's first `rows` slots, in whole blocks.
fn filter_of<'a, S: PageStore>(
    store: &S,
    shape: &Shape,
    page: &'a [u8],
    block: u32,
    rows: usize,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8]> {
    let bytes = rows.next_multiple_of(LOOKUP_ROWS) * shape.filter_bytes;
    if let Some(filter) = page.get(shape.codes_at..shape.codes_at + bytes) {
        return Ok(filter);
    }
    scratch.clear();
    scratch.extend_from_slice(&page[shape.codes_at..]);
    let mut further = block;
    while scratch.len() < bytes {
        further += 1;
        let page = store.share(further)?;
        page::expect(&page, further, Kind::Continuation)?;
        let missing = (bytes - scratch.len()).min(page.len() - CONTENT_AT);
        scratch.extend_from_slice(&page[CONTENT_AT..CONTENT_AT + missing]);
    }
    Ok(scratch)
}
