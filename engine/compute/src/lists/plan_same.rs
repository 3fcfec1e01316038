//! The plan of a search in which all queries have the same lists: each round takes tiles from all over them.

use std::ops::Range;

use vectorgpu_core::Result;

use super::copies::IndexCopies;
use super::plan::{Plan, Planner, Round, Wanted};
use super::search::Tiles;
use crate::kernels::candidates::CANDIDATE_WORDS;
use crate::kernels::list_keys::BLOCK;
use crate::kernels::lists::Tile;
use crate::runtime::as_u32;

/// Up to the end of each round, so many times the rows are searched as up to the end of the one before.
const GROWTH: u64 = 8;

/// The tiles of the lists, those of one round after the other.
pub(super) struct SameLists {
    wanted: Wanted,
    tiles: Tiles,
    /// The tiles of each round.
    rounds: Vec<Range<usize>>,
    /// Which tiles each segment has.
    by_segment: Vec<Vec<usize>>,
    queries: usize,
}

impl SameLists {
    /// A search of `lists` for so many queries.
    ///
    /// # Errors
    /// `Internal` when a list has no finished copy; `LimitExceeded` beyond what kernels can count.
    pub(super) fn new(copies: &IndexCopies, lists: &[u32], queries: usize, wanted: Wanted) -> Result<Self> {
        let held = lists.iter().map(|list| copies.finished(*list));
        let held = held.collect::<Result<Vec<_>>>()?;
        let (mut tiles, _) = Tiles::in_blocks(&held, BLOCK)?;
        let (table, rows) = (std::mem::take(&mut tiles.table), tiles.rows as u64);
        let (order, rounds) = in_rounds(&table, rows, wanted.first_rows(rows));
        let mut places = vec![0; table.len()];
        for (place, tile) in order.iter().enumerate() {
            places[*tile] = place;
        }
        tiles.table = order.iter().map(|tile| table[*tile]).collect();
        let by_segment = tiles
            .ranges()
            .map(|range| places[range.first..range.end].to_vec())
            .collect();
        Ok(Self {
            wanted,
            tiles,
            rounds,
            by_segment,
            queries,
        })
    }

    /// The blocks of so many queries and the tiles in `range`, with `step` places for the keys of each query.
    fn round(&self, queries: usize, range: &Range<usize>, step: usize) -> Result<Round> {
        let places = step * queries;
        as_u32(places)?;
        let mut round = Round {
            map: (0..as_u32(queries)?).collect(),
            blocks: vec![Vec::new(); self.by_segment.len()],
            places,
        };
        for (segment, tiles) in self.by_segment.iter().enumerate() {
            for tile in tiles.iter().filter(|tile| range.contains(tile)) {
                let place = if step > 0 { (tile - range.start) * BLOCK } else { 0 };
                round.add_tile(segment, *tile, (0, queries), (place, step))?;
            }
        }
        Ok(round)
    }
}

impl Planner for SameLists {
    fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    fn rows(&self, _query: usize) -> u64 {
        self.tiles.rows as u64
    }

    fn fitting(&self, first: usize, most: usize) -> usize {
        let with_keys = if self.wanted.sums { self.rounds.len() } else { 1 };
        let tiles = self.rounds.iter().take(with_keys).map(Range::len);
        let each = tiles.max().unwrap_or(0) * BLOCK;
        let mut fit = most.checked_div(each).unwrap_or(usize::MAX);
        if self.rounds.len() > 1 {
            fit = fit.min(most / CANDIDATE_WORDS);
        }
        let fit = fit.max(1);
        self.queries.min(first.saturating_add(fit))
    }

    fn plan(&self, queries: Range<usize>) -> Result<Plan> {
        let count = queries.len();
        let first = self.rounds.first().map_or(0, Range::len);
        let of_first = first * BLOCK;
        let mut plan = Plan {
            first: self.round(count, &(0..first), of_first)?,
            ..Plan::default()
        };
        for range in self.rounds.iter().skip(1) {
            let step = if self.wanted.sums { range.len() * BLOCK } else { 0 };
            plan.later.push(self.round(count, range, step)?);
        }
        as_u32(count * of_first)?;
        for query in 0..count {
            let before = plan.spans.len();
            plan.add_spans(as_u32(query * of_first)?, 0, as_u32(of_first)?);
            plan.span_counts.push(plan.spans.len() - before);
        }
        Ok(plan)
    }
}

/// Orders tiles by rounds, of which the first has about `first` of the `rows` rows; and which each round has.
fn in_rounds(table: &[Tile], rows: u64, first: u64) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut left: Vec<usize> = (0..table.len()).collect();
    let (mut order, mut rounds) = (Vec::with_capacity(table.len()), Vec::new());
    let (mut held, mut until) = (0, first);
    while !left.is_empty() {
        let tile_rows = left.iter().map(|tile| u64::from(table[*tile].rows));
        let chosen = spread(tile_rows, rows - held, until.min(rows) - held);
        let start = order.len();
        let mut is_chosen = chosen.into_iter();
        left.retain(|tile| {
            let is_chosen = is_chosen.next().unwrap_or(true);
            if is_chosen {
                order.push(*tile);
                held += u64::from(table[*tile].rows);
            }
            !is_chosen
        });
        rounds.push(start..order.len());
        until = held.max(1).saturating_mul(GROWTH);
    }
    (order, rounds)
}

/// Chooses tiles, evenly spread, that hold about `wanted` of the `rows` rows.
fn spread(tile_rows: impl Iterator<Item = u64>, rows: u64, wanted: u64) -> Vec<bool> {
    // A tile is taken when the rows up to it hold their share.
    let (mut seen, mut taken) = (0_u128, 0_u128);
    let choose = |tile_rows: u64| {
        seen += u128::from(tile_rows);
        let is_due = taken * u128::from(rows) < seen * u128::from(wanted);
        taken += if is_due { u128::from(tile_rows) } else { 0 };
        is_due
    };
    tile_rows.map(choose).collect()
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::{GROWTH, Tile, in_rounds, spread};

    #[test]
    fn what_is_spread_is_even_and_enough() {
        let tiles: Vec<u64> = (0..1000)
            .map(|tile| if tile % 8 == 7 { 104 } else { 128 })
            .collect();
        let rows: u64 = tiles.iter().sum();
        for wanted in [1, 512, 2000, 16_000, rows] {
            let chosen = spread(tiles.iter().copied(), rows, wanted);
            let held: u64 = chosen
                .iter()
                .zip(&tiles)
                .map(|(is, rows)| u64::from(*is) * rows)
                .sum();
            assert!((wanted..wanted + 128).contains(&held), "{held} for {wanted}");
            // Chosen tiles have about as many rows as others.
            let apart = usize::try_from(2 * rows / wanted).unwrap() + 2;
            let near = chosen.windows(apart.min(1000));
            assert!(near.into_iter().all(|tiles| tiles.contains(&true)), "{wanted}");
        }
        assert!(spread(std::iter::empty(), 0, 0).is_empty());
    }

    #[test]
    fn every_tile_is_in_one_round_and_rounds_grow() {
        let tile = |rows| Tile {
            rows,
            ..Tile::zeroed()
        };
        for tiles in [0, 1, 3, 100, 5000] {
            let table: Vec<Tile> = (0..tiles).map(|number| tile(1 + number % 128)).collect();
            let rows = table.iter().map(|tile| u64::from(tile.rows)).sum();
            for first in [1, 1000, rows / 3, rows] {
                let (mut order, rounds) = in_rounds(&table, rows, first);
                let ends: Vec<usize> = rounds.iter().map(|round| round.end).collect();
                assert!(
                    rounds
                        .iter()
                        .skip(1)
                        .zip(&ends)
                        .all(|(round, end)| round.start == *end)
                );
                let held = |end: usize| -> u64 {
                    order[..end].iter().map(|tile| u64::from(table[*tile].rows)).sum()
                };
                for ends in ends.windows(2) {
                    assert!(
                        held(ends[1]) <= GROWTH * held(ends[0]) + 128,
                        "{ends:?} of {tiles}"
                    );
                }
                order.sort_unstable();
                assert!(order.into_iter().eq(0..table.len()));
            }
        }
    }
}
