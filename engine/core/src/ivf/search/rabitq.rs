//! Rows behind 1-bit codes: passes over those that cannot be near, and compares the others exactly when their turn comes.
//!
//! A row enters the window with the lower bound that its 1-bit code gives. Only when it is the nearest there is its 4-bit
//! code read, and it goes back with a closer bound; when it is the nearest again its vector is read, and it goes back with
//! its true distance. So how many codes and vectors are read follows from how many rows are asked for, and nothing has to
//! be guessed beforehand.

use crate::cpu::{LOOKUP_LINES, LOOKUP_QUAD, LOOKUP_ROWS, kernels};
use crate::error::Result;
use crate::metric::Element;
use crate::quantize::rabitq::{Place, RabitqQuery, RabitqRuns, fine};

use super::super::centroids;
use super::super::group::{self, page_of};
use super::super::layout::{self, Meta, Piece, Shape};
use super::super::page::{self, CONTENT_AT};
use super::super::store::PageStore;
use super::super::window::{Entry, Source};
use super::Query;
use super::collect::{Collector, Pass, bad_factors};
use super::coming::Coming;
use super::rank::place_of;

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
        self.place = if let Some(place) = self.place(list) {
            place
        } else {
            let read = |centroid: &[u8]| place_of(query, centroid);
            let place = centroids::with_one(store, meta, list, &mut self.vector, read)??;
            self.know(meta, list, place);
            place
        };
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
            list: page::owner(page),
            block,
            slot: u16::try_from(slot).expect("a group holds fewer than 65,536 rows"),
            fine: false,
        };
        return Ok(Entry::new(key, tid, source));
    }
    pass.counts.compared += 1;
    let row = Row {
        first_page: Some(page),
        block,
        slot,
    };
    let pieces = pass.shape.pieces(slot);
    let key = with_bytes(pass.store, row, pieces, pass.shape.code_bytes, vector, |code| {
        distance(pass.meta, pass.shape, query, code)
    })?;
    let key = key.ok_or_else(|| bad_factors(block))?;
    Ok(Entry::new(key, tid, Source::Settled))
}

/// The next f32 above `value`.
#[expect(clippy::cast_possible_truncation, reason = "corrected upwards")]
fn above(value: f64) -> f32 {
    (value as f32).next_up()
}

/// Brings what is to be read next of a row nearer to the CPU, if it is known where it lies.
pub(super) fn prefetch_row<S: PageStore>(store: &S, shape: &Shape, entry: Entry) {
    let Source::Slot {
        block, slot, fine, ..
    } = entry.source()
    else {
        return;
    };
    // What was read of a row before is still near.
    let bytes = if fine {
        shape.fine_bytes..shape.code_bytes
    } else {
        0..shape.fine_bytes
    };
    for piece in shape.pieces_in(usize::from(slot), bytes) {
        let page = page_of(block, piece.page);
        if !fine {
            store.prefetch(page, 0..CONTENT_AT).ahead().ask_all();
        }
        let part = piece.at..piece.at + piece.len;
        store.prefetch(page, part).ahead().ask_all();
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
    /// Leaves out, from now on, rows that are farther than the nearest of those found, as many as the scan is expected to
    /// return. Where it goes on after all, the lists are read again.
    pub(super) fn narrow<S: PageStore>(&mut self, pass: &mut Pass<'_, '_, S>, expected: usize) -> Result<()> {
        let Some(query) = pass
            .query
            .filter(|query| query.rabitq.is_some() && !pass.settle_now)
        else {
            return Ok(());
        };
        let Some(nearest) = pass.window.nearest(expected) else {
            return Ok(());
        };
        let (store, shape) = (pass.store, pass.shape);
        nearest
            .iter()
            .for_each(|entry| prefetch_row(store, shape, *entry));
        let mut farthest = f64::NEG_INFINITY;
        for entry in nearest {
            *entry = self.settle(store, pass.meta, shape, query, *entry, Some(&mut farthest))?;
        }
        pass.window.narrow(farthest);
        Ok(())
    }

    /// Replaces the bound that `entry` has by a closer one, or, if it has that, by its distance.
    ///
    /// Nothing was locked since its slot was read, so VACUUM may have moved the row, and its slot hold another. A slot that
    /// holds an entry's TID holds the row itself, or one that took the TID over and that the scan's snapshot does not see.
    ///
    /// `farthest` is raised to what the distance is at most, as far as a 4-bit code tells.
    pub(super) fn settle<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        shape: &Shape,
        query: &Query,
        entry: Entry,
        farthest: Option<&mut f64>,
    ) -> Result<Entry> {
        let Source::Slot {
            list,
            block,
            slot,
            fine,
        } = entry.source()
        else {
            return Ok(entry);
        };
        let row = Row {
            first_page: None,
            block,
            slot: usize::from(slot),
        };
        let bytes = if fine { shape.code_bytes } else { shape.fine_bytes };
        let (rabitq, scratch) = self.rabitq_and_scratch();
        let terms = rabitq.place(list).zip(query.rabitq.as_ref());
        let closer = with_bytes(
            store,
            row,
            shape.pieces_in(row.slot, 0..bytes),
            bytes,
            scratch,
            |code| {
                if fine::id(code) != entry.tid {
                    return Some(entry.moved());
                }
                if fine {
                    let key = distance(meta, shape, query, code)?;
                    return Some(Entry::new(key, entry.tid, Source::Settled));
                }
                let Some((place, codes)) = terms else {
                    return Some(entry.moved());
                };
                let terms = codes.terms(place);
                let bound = codes.fine_bound(&terms, code)?;
                if let Some(farthest) = farthest {
                    *farthest = farthest.max(codes.fine_most(&terms, code)?.into());
                }
                let source = Source::Slot {
                    list,
                    block,
                    slot,
                    fine: true,
                };
                Some(Entry::new(entry.key().max(f64::from(bound)), entry.tid, source))
            },
        )?;
        closer.ok_or_else(|| bad_factors(block))
    }
}

/// A row of a group.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// The group's first page, where that is locked already.
    first_page: Option<&'a [u8]>,
    block: u32,
    slot: usize,
}

/// The operator's value for the row whose 4-bit code and vector are `code`, unless no encoder wrote that.
fn distance(meta: &Meta, shape: &Shape, query: &Query, code: &[u8]) -> Option<f64> {
    let norm_sq = fine::Head::read(code)?.norm_sq;
    let vector = &code[shape.fine_bytes..];
    let score = kernels().row(meta.metric.score(), Element::F32, &query.values, vector);
    Some(query.bounds.key(meta.metric, true, score, norm_sq, 0.0))
}

/// Hands on `len` bytes of a row: where they lie, or put together where they straddle pages.
///
/// A page is only released when the next one is locked. Rows are written page by page in the same order, so what begins
/// as one row does not go on as another.
fn with_bytes<S: PageStore, T>(
    store: &S,
    row: Row<'_>,
    pieces: impl Iterator<Item = Piece>,
    len: usize,
    scratch: &mut Vec<u8>,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    scratch.clear();
    let mut before = None;
    for piece in pieces {
        let bytes = piece.at..piece.at + piece.len;
        if let Some(page) = row.first_page.filter(|_| piece.page == 0) {
            scratch.extend_from_slice(&page[bytes]);
            continue;
        }
        let page = if piece.page == 0 {
            store.share(row.block)?
        } else {
            group::further(store, row.block, piece.page)?
        };
        if piece.len == len {
            return Ok(read(&page[bytes]));
        }
        scratch.extend_from_slice(&page[bytes]);
        before = Some(page);
    }
    drop(before);
    Ok(read(scratch))
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
    let mut index = 0;
    while scratch.len() < bytes {
        index += 1;
        let page = group::further(store, block, index)?;
        let missing = (bytes - scratch.len()).min(page.len() - CONTENT_AT);
        scratch.extend_from_slice(&page[CONTENT_AT..CONTENT_AT + missing]);
    }
    Ok(scratch)
}
