//! The rows that a scan has found and not yet returned: smallest distance first, within bounded memory.
//!
//! While a batch of lists is read, rows are only collected. When they outgrow the window, the nearer half is kept and
//! the window remembers that rows beyond it exist: once it is drained, the scan reads the same lists again for the
//! rows behind the last one returned. The window starts small, since few scans return many rows, and grows with each
//! pass, so a small LIMIT sorts few rows. A row whose distance is only known to be no less than its key is given back
//! once it is known; a heap holds such rows.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};

use crate::distance;
use crate::limits::MAX_LISTS;

/// A found row; ordered by distance (NaN last, as in SQL), then by TID.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The distance as an integer that sorts alike.
    order: u64,
    pub(super) tid: u64,
    /// A [`Source`]: list, block and slot, with [`FINE`] or not, or one of the numbers that no slot has.
    place: u64,
}

/// Bytes of a row in the window.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

const SETTLED: u64 = u64::MAX;
const MOVED: u64 = u64::MAX - 1;
const EXACT: u64 = u64::MAX - 2;
const BOUND: u64 = u64::MAX - 3;
const FINE: u64 = 1 << 48;
const LIST_AT: u32 = 49;
const _: () = assert!(MAX_LISTS as u64 <= 1 << (64 - LIST_AT));

/// What a row's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// What the row goes out with.
    Settled,
    /// The operator's value, whatever other rows go out with.
    Exact,
    /// A lower bound of it, whatever other rows go out with.
    Bound,
    /// Not more than that, which the row in this slot tells: its 4-bit code more closely, its vector exactly.
    Slot {
        /// The list.
        list: u32,
        /// First page of the group.
        block: u32,
        /// Slot in the group.
        slot: u16,
        /// Whether the 4-bit code has told already.
        fine: bool,
    },
    /// Not more than that, which is not to be had: VACUUM has moved the row since.
    Moved,
}

impl Entry {
    /// A row at distance `key`.
    pub(super) fn new(key: f64, tid: u64, source: Source) -> Self {
        let order = distance::order(key);
        let place = match source {
            Source::Settled => SETTLED,
            Source::Moved => MOVED,
            Source::Exact => EXACT,
            Source::Bound => BOUND,
            Source::Slot {
                list,
                block,
                slot,
                fine,
            } => {
                let place = u64::from(list) << LIST_AT | u64::from(block) << 16 | u64::from(slot);
                place | if fine { FINE } else { 0 }
            }
        };
        Self { order, tid, place }
    }

    /// What its key is.
    pub(super) fn source(&self) -> Source {
        match self.place {
            SETTLED => Source::Settled,
            MOVED => Source::Moved,
            EXACT => Source::Exact,
            BOUND => Source::Bound,
            place => Source::Slot {
                list: u32::try_from(place >> LIST_AT).expect("15 bits"),
                block: u32::try_from(place >> 16 & 0xffff_ffff).expect("32 bits"),
                slot: u16::try_from(place & 0xffff).expect("16 bits"),
                fine: place & FINE != 0,
            },
        }
    }

    /// What comes before every row at this row's distance.
    pub(super) fn before_ties(self) -> Self {
        Self { tid: 0, ..self }
    }

    /// The row when it is no longer where it was found.
    pub(super) fn moved(self) -> Self {
        Self { place: MOVED, ..self }
    }

    /// Its distance.
    pub(super) fn key(&self) -> f64 {
        distance::of_order(self.order)
    }

    /// One number that sorts as the row does: compared without a branch.
    fn rank(&self) -> u128 {
        u128::from(self.order) << 64 | u128::from(self.tid)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn lt(&self, other: &Self) -> bool {
        self.rank() < other.rank()
    }
}

/// Fewest rows that a pass may collect before it drops the farther half.
const CAPACITY_MIN: usize = 128;
/// How much larger the window is in the next pass.
const GROWTH: usize = 8;
/// How many times as many rows there must be as the scan will return before it narrows the window.
const NARROWED_OF: usize = 4;
/// Rows that are sorted at a time.
const SORTED_TOGETHER: usize = 64;

#[derive(Debug)]
pub(super) struct Window {
    capacity: usize,
    capacity_first: usize,
    capacity_max: usize,
    /// Once the pass is over, those before `sorted` ascend, and none of the others is nearer; those before `taken` are
    /// gone.
    rows: Vec<Entry>,
    sorted: usize,
    taken: usize,
    /// Rows that were taken, and came back with a larger distance.
    grown: BinaryHeap<Reverse<Entry>>,
    floor: Option<Entry>,
    cut: Option<Entry>,
    narrowed: bool,
    /// Rows that were returned by other bounds, and the last of those: no other row is nearer.
    returned: Option<(HashSet<u64>, f64)>,
}

impl Window {
    /// A window of at most `capacity_max` rows (at least 2), sized at first for a scan that takes `expected` of them.
    pub(super) fn new(capacity_max: usize, expected: usize) -> Self {
        let capacity_max = capacity_max.max(2);
        // Half are kept; where more are taken, the lists have to be read again.
        let wanted = expected.saturating_mul(3).max(CAPACITY_MIN);
        let capacity_first = capacity_max.min(wanted);
        Self {
            capacity: capacity_first,
            capacity_first,
            capacity_max,
            rows: Vec::new(),
            sorted: 0,
            taken: 0,
            grown: BinaryHeap::new(),
            floor: None,
            cut: None,
            narrowed: false,
            returned: None,
        }
    }

    /// Makes it as small as it was first.
    fn shrink(&mut self) {
        self.capacity = self.capacity_first;
    }

    /// Forgets what was returned.
    pub(super) fn restart(&mut self) {
        self.shrink();
        self.returned = None;
    }

    /// Leaves out the rows `returned`, from now on, whatever the bounds by which they are found again; `bound` is one of all
    /// other rows.
    pub(super) fn leave_out(&mut self, returned: HashSet<u64>, bound: f64) {
        self.returned = Some((returned, bound));
        self.floor = None;
    }

    /// Makes it larger for the next pass.
    pub(super) fn grow(&mut self) {
        self.capacity = self.capacity.saturating_mul(GROWTH).min(self.capacity_max);
    }

    /// The distance from which on rows are left out, ties aside.
    pub(super) fn cut(&self) -> f64 {
        self.cut.map_or(f64::INFINITY, |cut| cut.key())
    }

    /// The row up to which rows are left out.
    pub(super) fn floor(&self) -> Option<Entry> {
        self.floor
    }

    /// The nearest `wanted` rows so far of a first pass that was not narrowed yet, if there are several times as many.
    pub(super) fn nearest(&mut self, wanted: usize) -> Option<&mut [Entry]> {
        let first = self.floor.is_none() && !self.narrowed && self.capacity == self.capacity_first;
        if !first || wanted == 0 || self.rows.len() < NARROWED_OF * wanted {
            return None;
        }
        self.rows.select_nth_unstable(wanted - 1);
        Some(&mut self.rows[..wanted])
    }

    /// Leaves out rows farther than `farthest` from now on: [`Self::nearest`] of those there are have been found to be
    /// no farther.
    pub(super) fn narrow(&mut self, farthest: f64) {
        let farthest = Entry::new(farthest, u64::MAX, Source::Settled);
        let cut = self.cut.map_or(farthest, |cut| cut.min(farthest));
        self.rows.retain(|row| *row < cut);
        self.cut = Some(cut);
        self.narrowed = true;
    }

    /// Whether it can become larger.
    pub(super) fn can_grow(&self) -> bool {
        self.capacity < self.capacity_max
    }

    /// Empties the window for a pass over lists; rows up to and including `floor` are left out.
    pub(super) fn open(&mut self, floor: Option<Entry>) {
        self.floor = floor;
        self.reopen();
    }

    /// Starts the present pass again.
    pub(super) fn reopen(&mut self) {
        self.rows.clear();
        self.grown.clear();
        self.sorted = 0;
        self.taken = 0;
        self.cut = None;
        self.narrowed = false;
    }

    /// Collects a row.
    pub(super) fn push(&mut self, mut entry: Entry) {
        if let Some((returned, bound)) = &self.returned {
            if returned.contains(&entry.tid) {
                return;
            }
            entry.order = entry.order.max(distance::order(*bound));
        }
        if self.floor.is_some_and(|floor| entry <= floor) || self.cut.is_some_and(|cut| entry >= cut) {
            return;
        }
        self.rows.push(entry);
        if self.rows.len() >= self.capacity {
            let keep = self.capacity / 2;
            let (_, cut, _) = self.rows.select_nth_unstable(keep);
            self.cut = Some(*cut);
            self.rows.truncate(keep);
        }
    }

    /// Makes room for `rows` rows at once, within its bounds.
    pub(super) fn make_room(&mut self, rows: usize) {
        self.capacity = self.capacity.max(rows.saturating_add(1)).min(self.capacity_max);
    }

    /// Notes that rows at `distance` and beyond were left out.
    pub(super) fn leave_out_from(&mut self, distance: f64) {
        let left_out = Entry::new(distance, 0, Source::Settled);
        self.cut = Some(self.cut.map_or(left_out, |cut| cut.min(left_out)));
    }

    /// Ends the pass.
    pub(super) fn seal(&mut self) {
        if let Some(cut) = self.cut {
            // Rows that are not nearer may have been left out.
            self.rows.retain(|row| *row < cut);
        }
        self.sort_more();
    }

    fn sort_more(&mut self) {
        let rest = &mut self.rows[self.sorted..];
        let count = rest.len().min(self.sorted.max(SORTED_TOGETHER));
        if count < rest.len() {
            rest.select_nth_unstable(count);
        }
        rest[..count].sort_unstable();
        self.sorted += count;
    }

    /// Takes the nearest row, or nothing when rows that were left out may be nearer.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        if self.taken == self.sorted {
            self.sort_more();
        }
        let next = self.rows.get(self.taken).copied();
        let Some(Reverse(grown)) = self.grown.peek().copied() else {
            self.taken += usize::from(next.is_some());
            return next;
        };
        if next.is_some_and(|next| next < grown) {
            self.taken += 1;
            return next;
        }
        if self.cut.is_some_and(|cut| grown >= cut) {
            return None;
        }
        self.grown.pop();
        Some(grown)
    }

    /// The row that [`Self::pop`] gives after `ahead` others, those that came back aside, if that is known yet.
    pub(super) fn peek(&self, ahead: usize) -> Option<Entry> {
        self.rows[..self.sorted].get(self.taken + ahead).copied()
    }

    /// The row that came back and that [`Self::pop`] gives after the nearest of those that did, or a farther one.
    pub(super) fn peek_grown(&self) -> Option<Entry> {
        // The nearest is the root of the heap, the next one of its children.
        let heap = self.grown.as_slice();
        let children = heap.get(1..heap.len().min(3)).unwrap_or_default();
        children.iter().max().map(|Reverse(entry)| *entry)
    }

    /// Takes back a row that [`Self::pop`] gave, its key grown.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.grown.push(Reverse(entry));
    }

    /// Whether rows were left out because the window was full.
    pub(super) fn overflowed(&self) -> bool {
        self.cut.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_passes_over_a_small_window_yield_every_row_in_order() {
        let rows: Vec<Entry> = (0..if cfg!(miri) { 100 } else { 1000 })
            .map(|tid| Entry::new(f64::from((tid * 7919 % 97) as u32), tid + 1, Source::Settled))
            .collect();
        let mut sorted = rows.clone();
        sorted.sort();
        let (mut window, mut out, mut floor) = (Window::new(16, 8), Vec::new(), None);
        loop {
            window.open(floor);
            rows.iter().for_each(|row| window.push(*row));
            window.seal();
            while let Some(entry) = window.pop() {
                out.push(entry);
                floor = Some(entry);
            }
            if !window.overflowed() {
                break;
            }
        }
        assert_eq!(out, sorted);
    }

    #[test]
    fn rows_that_come_back_farther_take_their_place_among_the_others() {
        let mut window = Window::new(1000, 300);
        window.open(None);
        let slot = Source::Slot {
            list: MAX_LISTS - 1,
            block: u32::MAX - 1,
            slot: u16::MAX,
            fine: true,
        };
        for tid in 1..=300u32 {
            window.push(Entry::new(f64::from(tid), tid.into(), slot));
        }
        window.seal();
        let mut order = Vec::new();
        while let Some(entry) = window.pop() {
            assert_eq!(entry.source() == slot, entry.key() == entry.tid as f64);
            if entry.source() == slot {
                window.put_back(Entry::new(entry.key() + 100.5, entry.tid, Source::Settled));
            } else {
                order.push(entry.tid);
            }
        }
        assert_eq!(order, (1..=300).collect::<Vec<_>>());
    }

    #[test]
    fn a_narrowed_window_keeps_what_is_no_farther_and_knows_of_the_rest() {
        let mut window = Window::new(1000, 300);
        window.open(None);
        for tid in (1..=300u32).rev() {
            window.push(Entry::new(f64::from(tid), tid.into(), Source::Settled));
        }
        assert!(window.nearest(76).is_none(), "less than four times as many");
        let nearest: Vec<u64> = window.nearest(2).unwrap().iter().map(|row| row.tid).collect();
        assert!(nearest.iter().all(|tid| [1, 2].contains(tid)));
        window.narrow(2.5);
        assert!(window.nearest(1).is_none(), "once a pass");
        for (tid, key) in [(301, 2.5), (302, 2.6), (303, 0.5)] {
            window.push(Entry::new(key, tid, Source::Settled));
        }
        window.seal();
        let order: Vec<u64> = std::iter::from_fn(|| window.pop()).map(|row| row.tid).collect();
        assert_eq!(order, [303, 1, 2, 301]);
        assert!(window.overflowed());
        window.grow();
        window.open(None);
        (1..=300u32).for_each(|tid| window.push(Entry::new(f64::from(tid), tid.into(), Source::Settled)));
        assert!(window.nearest(2).is_none(), "not a first pass");
        window.seal();
        assert_eq!(std::iter::from_fn(|| window.pop()).count(), 300);
    }

    #[test]
    fn nan_comes_last_whatever_its_sign() {
        let mut window = Window::new(16, 8);
        window.open(None);
        for (tid, key) in [
            (1, f64::NAN),
            (2, -f64::NAN),
            (3, 1.0),
            (4, f64::INFINITY),
            (5, 0.0),
            (6, -0.0),
            (7, -2.5),
            (8, f64::NEG_INFINITY),
        ] {
            window.push(Entry::new(key, tid, Source::Settled));
        }
        window.seal();
        let order: Vec<(u64, String)> = std::iter::from_fn(|| window.pop())
            .map(|entry| (entry.tid, entry.key().to_string()))
            .collect();
        let expected = [
            (8, "-inf"),
            (7, "-2.5"),
            (5, "0"),
            (6, "0"),
            (3, "1"),
            (4, "inf"),
            (1, "NaN"),
            (2, "NaN"),
        ];
        assert_eq!(order, expected.map(|(tid, key)| (tid, key.to_owned())));
    }
}
