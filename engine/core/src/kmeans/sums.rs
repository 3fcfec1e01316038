//! The sum of each list's rows, in f64, kept from one assignment to the next.
//!
//! Few rows change their list in most iterations, so a sum is changed by those that went and came. It is made anew, from the list's
//! rows in their order, where that is less work, or where so much went through it that rounding might show. Invariants: what comes
//! out follows from the labels of all assignments so far; and it is as close as a sum made anew, up to `CHURN_MAX * 2^-53` of
//! the norms of its rows.

use super::{Run, buffer, index};
use crate::backend::NearestBy;
use crate::cpu::{kernels, prefetch};
use crate::error::Result;

/// Norms of rows that went through a sum, at most, for those that are in it: leaves 30 bits, more than an f32 has.
const CHURN_MAX: f64 = 4096.0;
/// Elements summed between two calls of the keep-waiting closure: about a millisecond.
const POLL_ELEMENTS: usize = 1 << 20;
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
    /// Rows that went in or out in this iteration.
    moved: usize,
    /// Whether it is made anew.
    anew: bool,
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
            moved: 0,
            anew: false,
        };
        of_lists.resize(lists, none);
        Ok(Self {
            dims,
            values,
            lists: of_lists,
        })
    }

    /// The sum of `list`, and its squared length.
    pub(super) fn of(&self, list: usize) -> (&[f64], f64) {
        let sums = &self.values[list * self.dims..][..self.dims];
        let mut squares = [0.0; LANES];
        let (groups, tail) = sums.as_chunks::<LANES>();
        for group in groups {
            for (square, sum) in squares.iter_mut().zip(group) {
                *square += sum * sum;
            }
        }
        let tail: f64 = tail.iter().map(|sum| sum * sum).sum();
        (sums, squares.iter().sum::<f64>() + tail)
    }

    /// Makes the sums those of the labels `now`, after they were those of `before`, where a label beyond the lists is none.
    /// `order[starts[i]..starts[i + 1]]` are the places in `rows` of the rows of list `i`.
    ///
    /// # Errors
    /// `Cancelled`.
    pub(super) fn follow(
        &mut self,
        run: &mut Run<'_, '_>,
        rows: &[u32],
        [before, now]: [&[u32]; 2],
        starts: &[usize],
        order: &[u32],
    ) -> Result<()> {
        self.choose(run, rows, [before, now], starts);
        let (lists, mut adding) = (&self.lists, Adding::new(run, self.dims, &mut self.values));
        let kept = |label: u32| {
            lists
                .get(index(label))
                .is_some_and(|list| !list.anew)
                .then_some(index(label))
        };
        let labels = before.iter().zip(now).map(|(before, now)| (*before, *now));
        let moved = rows.iter().zip(labels).filter(|(_, (before, now))| before != now);
        let mut moves = moved
            .map(|(number, (before, now))| (*number, kept(before), kept(now)))
            .filter(|(_, before, now)| before.is_some() || now.is_some())
            .peekable();
        while let Some((number, before, now)) = moves.next() {
            adding.ask_for(moves.peek().map(|(next, _, _)| *next));
            if let Some(list) = before {
                adding.add(list, number, -1.0)?;
            }
            if let Some(list) = now {
                adding.add(list, number, 1.0)?;
            }
        }
        for (list, _) in lists.iter().enumerate().filter(|(_, list)| list.anew) {
            adding.empty(list);
            let members = order[starts[list]..starts[list + 1]].iter();
            let mut members = members.map(|place| rows[index(*place)]).peekable();
            while let Some(number) = members.next() {
                adding.ask_for(members.peek().copied());
                adding.add(list, number, 1.0)?;
            }
        }
        Ok(())
    }

    /// Decides which sums are made anew.
    fn choose(&mut self, run: &Run<'_, '_>, rows: &[u32], [before, now]: [&[u32]; 2], starts: &[usize]) {
        for list in &mut self.lists {
            (list.mass, list.moved) = (0.0, 0);
        }
        for ((number, before), now) in rows.iter().zip(before).zip(now) {
            let mass = match run.by {
                NearestBy::L2 => run.norms[index(*number)],
                NearestBy::Dot => 1.0,
            };
            self.lists[index(*now)].mass += mass;
            if before == now {
                continue;
            }
            for label in [before, now] {
                if let Some(list) = self.lists.get_mut(index(*label)) {
                    list.churn += mass;
                    list.moved += 1;
                }
            }
        }
        for (list, ends) in self.lists.iter_mut().zip(starts.windows(2)) {
            let size = ends[1] - ends[0];
            list.anew = list.moved >= size.max(1) || list.churn > CHURN_MAX * list.mass;
            if list.anew {
                list.churn = list.mass;
            }
        }
    }
}

/// Rows on their way into sums.
struct Adding<'s, 'r, 'a, 'b> {
    run: &'r mut Run<'a, 'b>,
    dims: usize,
    /// `[lists, dims]`.
    values: &'s mut [f64],
    /// Added since the keep-waiting closure was asked.
    elements: usize,
}

impl<'s, 'r, 'a, 'b> Adding<'s, 'r, 'a, 'b> {
    fn new(run: &'r mut Run<'a, 'b>, dims: usize, values: &'s mut [f64]) -> Self {
        Self {
            run,
            dims,
            values,
            elements: 0,
        }
    }

    /// Has a row brought into the cache while others are added.
    fn ask_for(&self, number: Option<u32>) {
        if let Some(number) = number {
            prefetch(bytemuck::cast_slice(self.run.row(number)));
        }
    }

    fn sum(&mut self, list: usize) -> &mut [f64] {
        &mut self.values[list * self.dims..][..self.dims]
    }

    fn empty(&mut self, list: usize) {
        self.sum(list).fill(0.0);
    }

    fn add(&mut self, list: usize, number: u32, sign: f64) -> Result<()> {
        let row = self.run.row(number);
        let weight = match self.run.by {
            NearestBy::Dot if self.run.norms[index(number)] > 0.0 => sign / self.run.norms[index(number)],
            _ => sign,
        };
        kernels().add(self.sum(list), row, weight);
        self.elements += self.dims;
        if self.elements >= POLL_ELEMENTS {
            self.elements = 0;
            self.run.poll()?;
        }
        Ok(())
    }
}
