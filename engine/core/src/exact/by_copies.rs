//! A block of rows searched by a device, through a copy of it that is dropped again.
//!
//! The device bounds the distances of all pairs from below and names, for each query, the rows with the least bounds. Their
//! distances are computed here, from the rows themselves. A row that was not named has a distance no smaller than the cut;
//! where that may still be among the nearest, the query is left to be compared with the whole block.

use crate::backend::KeepWaiting;
use crate::comparison::{Nearest, Rows};
use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::ivf::copy::{AT_ONCE_MAX, CopiesSearched, CopyHit, CopyMark, ListCopies, ManyHits, Probed};
use crate::metric::{Metric, Storage};
use crate::quantize::list_row::key::bound_of;
use crate::quantize::list_row::{ListQuery, ListRows, RowCode};

/// Rows to ask for beyond those that are wanted, and the fewest: more leave fewer queries uncertain.
const SPARE: usize = 16;
const SPARE_MIN: usize = 6;
/// Most rows of each query that copies are searched for.
pub const COPIES_K_MAX: usize = AT_ONCE_MAX - SPARE_MIN;
/// Most bytes of the rows of a block, and most rows.
const BLOCK_BYTES: usize = 64 << 20;
const BLOCK_ROWS: usize = 1 << 20;
/// Bytes of rows that are encoded before they are handed on.
const ENCODED_BYTES: usize = 4 << 20;
/// Most queries that are searched for at once, no more than the block has rows; and fewest, so that small blocks serve many.
const QUERIES: usize = 4096;
const QUERIES_MIN: usize = 128;
/// The list that a block is.
const BLOCK: u32 = 0;

/// Rows of a block, of which the device can take `device_rows`.
pub fn block_rows(dims: usize, device_rows: usize) -> usize {
    let held = BLOCK_BYTES / (dims.max(1) * size_of::<f32>());
    held.min(BLOCK_ROWS).min(device_rows).max(1)
}

/// What searches blocks.
pub(super) struct ByCopies<'q> {
    metric: Metric,
    wanted: usize,
    copies: &'q mut dyn ListCopies,
    encoded: ListRows,
    queries: Vec<ListQuery<'q>>,
    /// Their numbers.
    numbers: Vec<usize>,
    /// The numbers of those that no bound can be given for.
    unbounded: Vec<usize>,
    found: ManyHits,
}

impl<'q> ByCopies<'q> {
    pub(super) fn new(
        metric: Metric,
        dims: usize,
        k: usize,
        nearest: &[Nearest<'q>],
        copies: &'q mut dyn ListCopies,
    ) -> Self {
        let (mut queries, mut numbers, mut unbounded) = (Vec::new(), Vec::new(), Vec::new());
        for (number, nearest) in nearest.iter().enumerate() {
            match ListQuery::new(metric, nearest.query()) {
                Some(query) => {
                    queries.push(query);
                    numbers.push(number);
                }
                None => unbounded.push(number),
            }
        }
        Self {
            metric,
            wanted: (k + SPARE).min(AT_ONCE_MAX),
            copies,
            // Only codes: the rows themselves stay here.
            encoded: ListRows::new(metric, Storage::F16, dims),
            queries,
            numbers,
            unbounded,
            found: ManyHits::default(),
        }
    }

    /// Puts those of `rows` that are among the nearest of a query into `nearest`, and the queries for which that is not certain,
    /// and which are as they were, into `left`, in order; so also when it fails.
    ///
    /// # Errors
    /// What the copies report; `OutOfMemory`.
    pub(super) fn search(
        &mut self,
        rows: &Rows,
        nearest: &mut [Nearest<'_>],
        left: &mut Vec<usize>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        left.extend(&self.unbounded);
        let mut done = 0;
        let searched = self.search_in_turns(rows, nearest, left, &mut done, keep_waiting);
        left.extend(&self.numbers[done..]);
        left.sort_unstable();
        searched
    }

    /// As [`Self::search`]; `done` queries have been searched for when it returns.
    fn search_in_turns(
        &mut self,
        rows: &Rows,
        nearest: &mut [Nearest<'_>],
        left: &mut Vec<usize>,
        done: &mut usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if rows.ids.is_empty() || self.queries.is_empty() {
            *done = self.queries.len();
            return Ok(());
        }
        self.copy(rows, keep_waiting)?;
        let at_once = rows.ids.len().clamp(QUERIES_MIN, QUERIES);
        while *done < self.queries.len() {
            let queries = &self.queries[*done..self.queries.len().min(*done + at_once)];
            self.found.hits.clear();
            self.found.queries.clear();
            self.copies.nearest_of_many(
                queries,
                Probed::Same(&[BLOCK]),
                self.wanted,
                &mut self.found,
                keep_waiting,
            )?;
            if self.found.queries.len() != queries.len() {
                return Err(Error::new(ErrorKind::Internal, "a device left out queries"));
            }
            let mut start = 0;
            for (end, searched) in &self.found.queries {
                let number = self.numbers[*done];
                let hits = &self.found.hits[start..*end];
                start = *end;
                if !merge(self.metric, rows, hits, *searched, &mut nearest[number])? {
                    left.push(number);
                }
                *done += 1;
            }
        }
        Ok(())
    }

    /// Copies a block to the device, in place of the one before; a row's TID there is its place here.
    fn copy(&mut self, rows: &Rows, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let dims = self.encoded.dims();
        self.copies.begin(BLOCK, rows.ids.len() as u64, keep_waiting)?;
        let together = (ENCODED_BYTES / (dims * size_of::<f32>())).max(1);
        let mut place = 0;
        for part in rows.values.chunks(together * dims) {
            self.encoded.clear();
            for row in part.chunks_exact(dims) {
                let norm_sq = match self.metric {
                    Metric::L2 | Metric::L1 | Metric::Hamming => 0.0,
                    Metric::InnerProduct | Metric::Jaccard => distance::norm_squared(row),
                    Metric::Cosine => rows.norms[place],
                };
                let code = RowCode::F32(bytemuck::cast_slice(row));
                self.encoded.push(place as u64, code, norm_sq);
                place += 1;
            }
            if !keep_waiting() {
                return Err(Error::new(ErrorKind::Cancelled, "a search was cancelled"));
            }
            self.copies.append(BLOCK, &self.encoded, keep_waiting)?;
        }
        self.copies.finish(BLOCK, CopyMark::default());
        Ok(())
    }

    /// Drops the copy of the last block, and decides what becomes of `error`.
    ///
    /// # Errors
    /// The error, if it is the search's.
    pub(super) fn failed(&mut self, error: Error) -> Result<()> {
        self.copies.discard(BLOCK);
        self.copies.failed(error)
    }

    /// Drops the copy of the last block.
    pub(super) fn end(self) {
        self.copies.discard(BLOCK);
    }
}

/// Puts those of `hits` that are among the nearest into `nearest`, if it is certain that no other row of the block is; else
/// `nearest` is as it was.
fn merge(
    metric: Metric,
    rows: &Rows,
    hits: &[CopyHit],
    searched: CopiesSearched,
    nearest: &mut Nearest<'_>,
) -> Result<bool> {
    // For most queries, only the first blocks hold rows that are near.
    let is_certain = |nearest: &Nearest<'_>| searched.cut.is_none_or(|cut| !nearest.may_take(bound_of(cut)));
    if is_certain(nearest) && !hits.iter().any(|hit| nearest.may_take(bound_of(hit.key))) {
        return Ok(true);
    }
    // What is compared with the whole block must not hold rows of it.
    let before = nearest.rows.clone();
    let merged = take_hits(metric, rows, hits, nearest);
    if merged.is_err() || !is_certain(nearest) {
        nearest.rows = before;
        return merged.map(|()| false);
    }
    Ok(true)
}

fn take_hits(metric: Metric, rows: &Rows, hits: &[CopyHit], nearest: &mut Nearest<'_>) -> Result<()> {
    for hit in hits {
        if !nearest.may_take(bound_of(hit.key)) {
            continue;
        }
        let place = usize::try_from(hit.tid).ok();
        let place = place.filter(|place| *place < rows.ids.len());
        let place =
            place.ok_or_else(|| Error::new(ErrorKind::Internal, "a device found a row that is not there"))?;
        nearest.take(metric, rows, place)?;
    }
    Ok(())
}
