//! What a device is to compute in a search for many queries.
//!
//! A search for which all queries have the same lists has rounds. The first scores each query against some of its rows, enough
//! that few others are nearer than the nearest of those, and chooses the nearest. Every later one scores it against further
//! rows, all of them in the end, and keeps only what is nearer than what was chosen so far: next to nothing is written or chosen
//! from. Where rows are few the first round takes them all, and so it does where queries have lists of their own.

use std::ops::Range;

use vectorgpu_core::Result;

use super::search::Tiles;
use crate::kernels::candidates::CANDIDATES_MAX;
use crate::kernels::list_keys::{BLOCK, KeyBlock};
use crate::kernels::top_k::{FEW_BLOCK, Span};
use crate::runtime::as_u32;

/// Fewest rows of a first round.
const FIRST_ROWS_MIN: u64 = 512;
/// Part of the candidates that all later rows may be expected to add: chance and order of rows may add more.
const EXPECTED_PART: u64 = 4;
/// Later rounds take at least so many times the rows of the first.
const LATER_MIN: u64 = 2;

/// Most keys of a span.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
const FEW_SPAN: u32 = FEW_BLOCK as u32;

/// Plans parts of a search.
pub(super) trait Planner {
    /// The tiles of all lists.
    fn tiles(&self) -> &Tiles;

    /// Rows of the query with this number.
    fn rows(&self, query: usize) -> u64;

    /// The end of the queries from `first` on whose keys take at most `most` places, and their candidates, if they have some, as
    /// many words; one query at the least.
    fn fitting(&self, first: usize, most: usize) -> usize;

    /// What some of the queries need.
    ///
    /// # Errors
    /// `LimitExceeded` beyond what kernels can count.
    fn plan(&self, queries: Range<usize>) -> Result<Plan>;
}

/// What a search looks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Rows for each query.
    pub(super) rows: usize,
    /// Whether later rounds need places for keys, too.
    pub(super) sums: bool,
}

/// What some of the queries need.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) first: Round,
    pub(super) later: Vec<Round>,
    /// Of the first round's keys, one query after the other, and how many each has.
    pub(super) spans: Vec<Span>,
    pub(super) span_counts: Vec<usize>,
}

/// What one round computes.
#[derive(Default)]
pub(super) struct Round {
    pub(super) map: Vec<u32>,
    /// By segment.
    pub(super) blocks: Vec<Vec<KeyBlock>>,
    /// Places for keys.
    pub(super) places: usize,
}

impl Wanted {
    /// Rows of the first round for a query with so many rows; all of them when there is to be no later round.
    pub(super) fn first_rows(self, rows: u64) -> u64 {
        let expected = CANDIDATES_MAX as u64 / EXPECTED_PART;
        let first = (rows.saturating_mul(self.rows as u64) / expected)
            .max(FIRST_ROWS_MIN)
            .max(8 * self.rows as u64);
        if first.saturating_mul(1 + LATER_MIN) > rows {
            rows
        } else {
            first
        }
    }
}

impl Round {
    /// Adds the blocks of a tile of `segment` and so many queries, which begin in the map at `map_at`. The keys of the first go to
    /// `keys_at`, and those of each next one `step` places behind.
    ///
    /// # Errors
    /// `LimitExceeded` beyond what kernels can count.
    pub(super) fn add_tile(
        &mut self,
        segment: usize,
        tile: usize,
        (map_at, queries): (usize, usize),
        (keys_at, step): (usize, usize),
    ) -> Result<()> {
        for first in (0..queries).step_by(BLOCK) {
            self.blocks[segment].push(KeyBlock {
                tile: as_u32(tile)?,
                queries_at: as_u32(map_at + first)?,
                queries: as_u32(BLOCK.min(queries - first))?,
                keys_at: as_u32(keys_at + first * step)?,
                step: as_u32(step)?,
                reserved: [0; 3],
            });
        }
        Ok(())
    }
}

impl Plan {
    /// Adds the spans of `places` keys of one query, which begin at `keys_at` and are those of the rows from `index` on.
    pub(super) fn add_spans(&mut self, keys_at: u32, index: u32, places: u32) {
        for from in (0..places).step_by(FEW_BLOCK) {
            self.spans.push(Span {
                start: keys_at + from,
                count: FEW_SPAN.min(places - from),
                index: index + from,
                reserved: 0,
            });
        }
    }
}

/// The spans from which later passes choose what the first one has left of so many spans of each query: until there is one
/// for each.
pub(super) fn later_passes(counts: &[usize], wanted: usize) -> Result<Vec<Vec<Span>>> {
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
