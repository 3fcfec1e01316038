//! The plan of a search in which every query has lists of its own: one round. A query's nearest lists hold most of what is near it,
//! so with a second round for its others, which was tried, more rows pass the limit than that saves.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use vectorgpu_core::Result;

use super::cache::ListCopy;
use super::copies::IndexCopies;
use super::plan::{Plan, Planner, Round};
use super::search::{Part, Tiles};
use crate::kernels::list_keys::BLOCK;
use crate::runtime::{as_u32, as_usize};

/// The lists of a search, and whose they are.
pub(super) struct EachHasLists {
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
    /// The end of its numbers.
    end: usize,
    rows: u64,
    /// Places for its keys.
    places: usize,
}

/// Where the next query of a list goes: small, because every list of every query looks here.
struct NextOfList {
    /// In the map.
    map_at: u32,
    /// Its parts, from and to.
    parts: (u32, u32),
}

/// Where the keys of the next query of a part go.
struct NextOfPart {
    keys_at: u32,
    /// The index of the part's first row.
    index: u32,
    /// Places for the keys of a query.
    places: u32,
}

impl EachHasLists {
    /// A search of the lists in `lists`, by query.
    ///
    /// # Errors
    /// `Internal` when a list has no finished copy; `LimitExceeded` beyond what kernels can count.
    pub(super) fn new(copies: &IndexCopies, lists: &[Vec<u32>]) -> Result<Self> {
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
        let mut query = Query {
            end: numbers.end,
            rows: 0,
            places: 0,
        };
        for size in self.sizes_of(numbers) {
            query.rows += size.rows;
            query.places += size.places;
        }
        query
    }

    /// Where the numbers of a query begin.
    fn start(&self, query: usize) -> usize {
        query.checked_sub(1).map_or(0, |before| self.queries[before].end)
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
        let numbers = self.start(queries.start)..self.start(queries.end);
        let mut counts = vec![0; self.sizes.len()];
        for number in &self.numbers[numbers.clone()] {
            counts[*number as usize] += 1;
        }
        let mut round = Round {
            blocks: vec![Vec::new(); self.tiles.segments()],
            ..Round::default()
        };
        let mut next_of_lists = Vec::with_capacity(self.sizes.len());
        let mut next_of_parts = Vec::with_capacity(self.parts.len());
        let mut map_len = 0;
        for (size, count) in self.sizes.iter().zip(&counts) {
            let first = as_u32(next_of_parts.len())?;
            for part in &self.parts[size.parts.clone()] {
                next_of_parts.push(NextOfPart {
                    // The last place has to be countable.
                    keys_at: as_u32(round.places)?,
                    index: as_u32(part.tiles.start * BLOCK)?,
                    places: as_u32(places_of(part))?,
                });
                round.add_part(part, map_len, *count)?;
            }
            next_of_lists.push(NextOfList {
                map_at: as_u32(map_len)?,
                parts: (first, as_u32(next_of_parts.len())?),
            });
            map_len += count;
        }
        as_u32(round.places)?;
        round.map.resize(map_len, 0);
        let mut plan = Plan {
            spans: Vec::with_capacity(numbers.len()),
            span_counts: Vec::with_capacity(queries.len()),
            ..Plan::default()
        };
        let mut start = numbers.start;
        for (place, query) in (0..).zip(&self.queries[queries]) {
            let before = plan.spans.len();
            for number in &self.numbers[start..query.end] {
                let list = &mut next_of_lists[*number as usize];
                round.map[list.map_at as usize] = place;
                list.map_at += 1;
                for part in &mut next_of_parts[list.parts.0 as usize..list.parts.1 as usize] {
                    plan.add_spans(part.keys_at, part.index, part.places);
                    // Below the number of all places, which fits.
                    part.keys_at += part.places;
                }
            }
            plan.span_counts.push(plan.spans.len() - before);
            start = query.end;
        }
        plan.first = round;
        Ok(plan)
    }
}

impl Round {
    /// Adds the blocks of a part of a list and its `count` queries, which begin in the map at `map_at`.
    fn add_part(&mut self, part: &Part, map_at: usize, count: usize) -> Result<()> {
        let step = places_of(part);
        for (place, tile) in part.tiles.clone().enumerate() {
            let keys_at = self.places + place * BLOCK;
            self.add_tile(part.segment, tile, (map_at, count), (keys_at, step))?;
        }
        self.places += step * count;
        Ok(())
    }
}
