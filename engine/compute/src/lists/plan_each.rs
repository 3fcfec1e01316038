//! The plan of a search in which every query has lists of its own: those that come first for it make the first round, and all others the second.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use vectorgpu_core::Result;

use super::cache::ListCopy;
use super::copies::IndexCopies;
use super::plan::{Plan, Planner, Round, Wanted};
use super::search::{Part, Tiles};
use crate::kernels::list_keys::{BLOCK, KeyBlock};
use crate::runtime::{as_u32, as_usize};

/// The lists of a search, and whose they are.
pub(super) struct EachHasLists {
    wanted: Wanted,
    tiles: Tiles,
    /// Those of each list, one list after the other.
    parts: Vec<Part>,
    sizes: Vec<Size>,
    /// Which of the sizes the lists of each query have, one query after the other.
    numbers: Vec<u32>,
    queries: Vec<Query>,
}

/// What a list takes.
struct Size {
    parts: Range<usize>,
    /// Places for the keys of a query.
    places: usize,
    rows: u64,
}

struct Query {
    /// The end of its numbers in the first round, and of all.
    first_end: usize,
    end: usize,
    rows: u64,
    /// Places for its keys.
    places: usize,
}

/// The blocks and the map of a round while they are made.
struct Rounded {
    round: Round,
    /// How many queries each list has.
    counts: Vec<usize>,
    /// Where the next query of each list goes in the map.
    map_at: Vec<usize>,
    /// Where the next query's keys go in each part.
    keys_at: Vec<u32>,
}

impl EachHasLists {
    /// A search of the lists in `lists`, by query.
    ///
    /// # Errors
    /// `Internal` when a list has no finished copy; `LimitExceeded` beyond what kernels can count.
    pub(super) fn new(copies: &IndexCopies, lists: &[Vec<u32>], wanted: Wanted) -> Result<Self> {
        // By number of a list, which of the sizes it has. Only lists that there are, so numbers are small.
        let mut known: Vec<Option<u32>> = Vec::new();
        let mut held: Vec<Rc<RefCell<ListCopy>>> = Vec::new();
        let mut numbers = Vec::with_capacity(lists.iter().map(Vec::len).sum());
        for &list in lists.iter().flatten() {
            let place = as_usize(u64::from(list))?;
            if let Some(Some(number)) = known.get(place) {
                numbers.push(*number);
                continue;
            }
            let number = as_u32(held.len())?;
            held.push(copies.finished(list)?);
            if known.len() <= place {
                known.resize(place + 1, None);
            }
            known[place] = Some(number);
            numbers.push(number);
        }
        let (tiles, parts_of_each) = Tiles::in_blocks(&held, BLOCK)?;
        let (mut parts, mut sizes) = (Vec::new(), Vec::with_capacity(held.len()));
        for of_list in parts_of_each {
            sizes.push(Size {
                parts: parts.len()..parts.len() + of_list.len(),
                places: of_list.iter().map(places_of).sum(),
                rows: of_list.iter().map(|part| part.rows as u64).sum(),
            });
            parts.extend(of_list);
        }
        let mut made = Self {
            wanted,
            tiles,
            parts,
            sizes,
            numbers,
            queries: Vec::with_capacity(lists.len()),
        };
        let mut start = 0;
        for lists in lists {
            made.queries.push(made.query(start..start + lists.len()));
            start += lists.len();
        }
        Ok(made)
    }

    fn sizes_of(&self, numbers: Range<usize>) -> impl Iterator<Item = &Size> {
        let numbers = self.numbers[numbers].iter();
        numbers.map(|number| &self.sizes[*number as usize])
    }

    /// The query whose numbers these are.
    fn query(&self, numbers: Range<usize>) -> Query {
        let rows = self.sizes_of(numbers.clone()).map(|size| size.rows).sum();
        let (least, mut first_rows) = (self.wanted.first_rows(rows), 0);
        let before_enough = |size: &&Size| {
            let is_before = first_rows < least;
            first_rows += size.rows;
            is_before
        };
        let first = self.sizes_of(numbers.clone()).take_while(before_enough).count();
        let first_end = numbers.start + first;
        let with_keys = if self.wanted.sums { numbers.end } else { first_end };
        Query {
            first_end,
            end: numbers.end,
            rows,
            places: self
                .sizes_of(numbers.start..with_keys)
                .map(|size| size.places)
                .sum(),
        }
    }

    /// Where the numbers of a query begin.
    fn start(&self, query: usize) -> usize {
        query.checked_sub(1).map_or(0, |before| self.queries[before].end)
    }

    /// The blocks of a round in which so many queries have each list, `needs_places` for their keys.
    fn round(&self, counts: Vec<usize>, needs_places: bool) -> Result<Rounded> {
        let mut rounded = Rounded {
            round: Round {
                blocks: vec![Vec::new(); self.tiles.segments()],
                ..Round::default()
            },
            map_at: Vec::with_capacity(counts.len()),
            keys_at: vec![0; self.parts.len()],
            counts,
        };
        let mut map_len = 0;
        for (size, count) in self.sizes.iter().zip(&rounded.counts) {
            for part in size.parts.clone() {
                // The last place has to be countable.
                rounded.keys_at[part] = as_u32(rounded.round.places)?;
                rounded
                    .round
                    .add_part(&self.parts[part], map_len, *count, needs_places)?;
            }
            rounded.map_at.push(map_len);
            map_len += count;
        }
        as_u32(rounded.round.places)?;
        rounded.round.map.resize(map_len, 0);
        Ok(rounded)
    }
}

/// Places for the keys of a query: whole tiles.
fn places_of(part: &Part) -> usize {
    part.tiles.len() * BLOCK
}

impl Planner for EachHasLists {
    fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    fn rows(&self, query: usize) -> u64 {
        self.queries[query].rows
    }

    fn fitting(&self, first: usize, most: usize) -> usize {
        let mut places = 0;
        for (number, query) in self.queries.iter().enumerate().skip(first) {
            places += query.places;
            if places > most && number > first {
                return number;
            }
        }
        self.queries.len()
    }

    fn plan(&self, queries: Range<usize>) -> Result<Plan> {
        let mut counts = [vec![0; self.sizes.len()], vec![0; self.sizes.len()]];
        let mut start = self.start(queries.start);
        for query in &self.queries[queries.clone()] {
            for (counts, end) in counts.iter_mut().zip([query.first_end, query.end]) {
                for number in &self.numbers[start..end] {
                    counts[*number as usize] += 1;
                }
                start = end;
            }
        }
        let [first, second] = counts;
        let has_second = second.iter().any(|count| *count > 0);
        let (mut first, mut second) = (self.round(first, true)?, self.round(second, self.wanted.sums)?);
        let mut plan = Plan {
            spans: Vec::with_capacity(first.round.map.len()),
            span_counts: Vec::with_capacity(queries.len()),
            ..Plan::default()
        };
        let mut start = self.start(queries.start);
        for (place, query) in (0..).zip(&self.queries[queries]) {
            let before = plan.spans.len();
            for number in &self.numbers[start..query.first_end] {
                let number = *number as usize;
                first.add_query(number, place);
                for part in self.sizes[number].parts.clone() {
                    let (keys_at, part) = (&mut first.keys_at[part], &self.parts[part]);
                    let places = places_of(part);
                    plan.add_spans(*keys_at, as_u32(part.tiles.start * BLOCK)?, places)?;
                    // Below the number of all places, which fits.
                    *keys_at += as_u32(places)?;
                }
            }
            for number in &self.numbers[query.first_end..query.end] {
                second.add_query(*number as usize, place);
            }
            plan.span_counts.push(plan.spans.len() - before);
            start = query.end;
        }
        plan.first = first.round;
        plan.later.extend(has_second.then_some(second.round));
        Ok(plan)
    }
}

impl Rounded {
    /// Adds the query at `place` to those of the list `number`.
    fn add_query(&mut self, number: usize, place: u32) {
        let at = &mut self.map_at[number];
        self.round.map[*at] = place;
        *at += 1;
    }
}

impl Round {
    /// Adds the blocks of a part of a list and its `count` queries, which begin in the map at `map_at`.
    fn add_part(&mut self, part: &Part, map_at: usize, count: usize, needs_places: bool) -> Result<()> {
        let step = if needs_places { places_of(part) } else { 0 };
        for (place, tile) in part.tiles.clone().enumerate() {
            for first in (0..count).step_by(BLOCK) {
                let keys_at = if needs_places {
                    self.places + first * step + place * BLOCK
                } else {
                    0
                };
                self.blocks[part.segment].push(KeyBlock {
                    tile: as_u32(tile)?,
                    queries_at: as_u32(map_at + first)?,
                    queries: as_u32(BLOCK.min(count - first))?,
                    keys_at: as_u32(keys_at)?,
                    step: as_u32(step)?,
                    reserved: [0; 3],
                });
            }
        }
        self.places += step * count;
        Ok(())
    }
}
