//! The sum of each list's rows, in f64, kept from one assignment to the next.
//!
//! Few rows change their list in most iterations, so a sum is changed by those that went and came. It is made anew, from the list's
//! rows in their order, where that is less work, or where so much went through it that rounding might show. Invariants: what comes
//! out follows from the labels of all assignments so far; and it is as close as a sum made anew, up to `CHURN_MAX * 2^-53` of
//! the norms of its rows.

use std::iter::Peekable;

use super::{Samples, buffer, index};
use crate::backend::NearestBy;
use crate::cpu::{kernels, prefetch};
use crate::error::Result;

/// Norms of rows that went through a sum, at most, for those that are in it: leaves 30 bits, more than an f32 has.
const CHURN_MAX: f64 = 4096.0;
/// Partial sums of a square, so that none waits for the one before.
const LANES: usize = 8;

/// One sum for each list. For `Dot` rows count as their directions.
pub(super) struct Sums {
    dims: usize,
    /// `[lists, dims]`.
    values: Vec<f64>,
    lists: Vec<List>,
}

/// What a sum has been through.
#[derive(Clone, Copy)]
struct List {
    /// Norms of the rows that are in it.
    mass: f64,
    /// Norms of the rows that went in or out since it was made.
    churn: f64,
}

impl Sums {
    /// Sums of no rows.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(lists: usize, dims: usize) -> Result<Self> {
        let mut values = buffer(lists.saturating_mul(dims))?;
        values.resize(lists * dims, 0.0);
        let mut of_lists = buffer(lists)?;
        let none = List {
            mass: 0.0,
            churn: 0.0,
        };
        of_lists.resize(lists, none);
        Ok(Self {
            dims,
            values,
            lists: of_lists,
        })
    }

    /// The sums, `together` lists at a time.
    pub(super) fn parts_mut(&mut self, together: usize) -> impl ExactSizeIterator<Item = SumsPart<'_>> {
        let dims = self.dims;
        let values = self.values.chunks_mut(together * dims);
        let parts = values.zip(self.lists.chunks_mut(together));
        parts.map(move |(values, lists)| SumsPart { dims, values, lists })
    }
}

/// The sums of neighbouring lists.
pub(super) struct SumsPart<'s> {
    dims: usize,
    values: &'s mut [f64],
    lists: &'s mut [List],
}

impl SumsPart<'_> {
    /// Makes the sum of the part's list `list` that of the rows at the places `now`, after it was that of those at the places
    /// `before`, and returns how many came. Both ascend; `rows` are the numbers of the rows at all places.
    pub(super) fn follow(
        &mut self,
        list: usize,
        samples: Samples<'_>,
        rows: &[u32],
        [before, now]: [&[u32]; 2],
    ) -> usize {
        let mass = |place: u32| match samples.by {
            NearestBy::L2 => samples.norms[index(rows[index(place)])],
            NearestBy::Dot => 1.0,
        };
        let sum = &mut self.values[list * self.dims..][..self.dims];
        let list = &mut self.lists[list];
        list.mass = now.iter().map(|place| mass(*place)).sum();
        let (mut moved, mut came) = (0, 0);
        for (place, sign) in Moves::new(before, now) {
            list.churn += mass(place);
            moved += 1;
            came += usize::from(sign > 0.0);
        }
        if moved >= now.len().max(1) || list.churn > CHURN_MAX * list.mass {
            list.churn = list.mass;
            sum.fill(0.0);
            add(sum, samples, rows, Moves::new(&[], now));
        } else {
            add(sum, samples, rows, Moves::new(before, now));
        }
        came
    }

    /// The sum of the part's list `list`, and its squared length.
    pub(super) fn of(&self, list: usize) -> (&[f64], f64) {
        let sum = &self.values[list * self.dims..][..self.dims];
        let mut squares = [0.0; LANES];
        let (groups, tail) = sum.as_chunks::<LANES>();
        for group in groups {
            for (square, sum) in squares.iter_mut().zip(group) {
                *square += sum * sum;
            }
        }
        let tail: f64 = tail.iter().map(|sum| sum * sum).sum();
        (sum, squares.iter().sum::<f64>() + tail)
    }
}

/// Adds rows, or takes them away, while the next one is brought into the cache.
fn add(sum: &mut [f64], samples: Samples<'_>, rows: &[u32], moves: Moves<'_>) {
    let mut moves = moves.map(|(place, sign)| (rows[index(place)], sign)).peekable();
    while let Some((number, sign)) = moves.next() {
        if let Some((next, _)) = moves.peek() {
            prefetch(bytemuck::cast_slice(samples.row(*next)));
        }
        let weight = match samples.by {
            NearestBy::Dot if samples.norms[index(number)] > 0.0 => sign / samples.norms[index(number)],
            _ => sign,
        };
        kernels().add(sum, samples.row(number), weight);
    }
}

/// What is in one of two ascending runs of places and not in the other, ascending: with -1 what goes, with 1 what comes.
struct Moves<'p> {
    before: Peekable<std::slice::Iter<'p, u32>>,
    now: Peekable<std::slice::Iter<'p, u32>>,
}

impl<'p> Moves<'p> {
    fn new(before: &'p [u32], now: &'p [u32]) -> Self {
        Self {
            before: before.iter().peekable(),
            now: now.iter().peekable(),
        }
    }
}

impl Iterator for Moves<'_> {
    type Item = (u32, f64);

    fn next(&mut self) -> Option<(u32, f64)> {
        loop {
            return match (self.before.peek(), self.now.peek()) {
                (Some(before), Some(now)) if before == now => {
                    self.before.next();
                    self.now.next();
                    continue;
                }
                (Some(before), now) if now.is_none_or(|now| before < now) => {
                    self.before.next().map(|place| (*place, -1.0))
                }
                _ => self.now.next().map(|place| (*place, 1.0)),
            };
        }
    }
}
