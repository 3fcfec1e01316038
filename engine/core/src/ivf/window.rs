//! The rows that a scan has found and not yet returned: smallest distance first, within bounded memory.
//!
//! While a batch of lists is read, rows are only collected. When they outgrow the window, the nearer half is kept and
//! the window remembers that rows beyond it exist: once it is drained, the scan reads the same lists again for the
//! rows behind the last one returned. Rows are handed out through a binary heap, so a small LIMIT never pays for a
//! full sort. The window starts small, since few scans return many rows, and grows with each pass.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A found row; ordered by distance (NaN last, as in SQL), then by TID.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) key: f64,
    pub(super) tid: u64,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self
            .key
            .partial_cmp(&other.key)
            .unwrap_or_else(|| self.key.is_nan().cmp(&other.key.is_nan()));
        keys.then(self.tid.cmp(&other.tid))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Rows that the first pass of a scan may collect before it drops the farther half.
const FIRST_CAPACITY: usize = 512;
/// How much larger the window is in the next pass.
const GROWTH: usize = 8;

#[derive(Debug)]
pub(super) struct Window {
    capacity: usize,
    capacity_max: usize,
    rows: Vec<Reverse<Entry>>,
    heap: BinaryHeap<Reverse<Entry>>,
    floor: Option<Entry>,
    cut: Option<Entry>,
}

impl Window {
    /// A window of at most `capacity_max` rows (at least 2).
    pub(super) fn new(capacity_max: usize) -> Self {
        let capacity_max = capacity_max.max(2);
        Self {
            capacity: capacity_max.min(FIRST_CAPACITY),
            capacity_max,
            rows: Vec::new(),
            heap: BinaryHeap::new(),
            floor: None,
            cut: None,
        }
    }

    /// Makes it as small as it was first.
    pub(super) fn shrink(&mut self) {
        self.capacity = self.capacity_max.min(FIRST_CAPACITY);
    }

    /// Makes it larger for the next pass.
    pub(super) fn grow(&mut self) {
        self.capacity = self.capacity.saturating_mul(GROWTH).min(self.capacity_max);
    }

    /// The distance from which on rows are left out, ties aside.
    pub(super) fn cut(&self) -> f64 {
        self.cut.map_or(f64::INFINITY, |cut| cut.key)
    }

    /// Empties the window for a pass over lists; rows up to and including `floor` are left out.
    pub(super) fn open(&mut self, floor: Option<Entry>) {
        self.rows.clear();
        if self.heap.capacity() > self.rows.capacity() {
            self.rows = std::mem::take(&mut self.heap).into_vec();
            self.rows.clear();
        }
        self.floor = floor;
        self.cut = None;
    }

    /// Starts the present pass again.
    pub(super) fn reopen(&mut self) {
        self.rows.clear();
        self.cut = None;
    }

    /// Collects a row.
    pub(super) fn push(&mut self, entry: Entry) {
        if self.floor.is_some_and(|floor| entry <= floor) || self.cut.is_some_and(|cut| entry >= cut) {
            return;
        }
        self.rows.push(Reverse(entry));
        if self.rows.len() >= self.capacity {
            let keep = self.capacity / 2;
            let (_, cut, _) = self.rows.select_nth_unstable_by(keep, |a, b| a.0.cmp(&b.0));
            self.cut = Some(cut.0);
            self.rows.truncate(keep);
        }
    }

    /// Ends the pass.
    pub(super) fn seal(&mut self) {
        self.heap = BinaryHeap::from(std::mem::take(&mut self.rows));
    }

    /// Takes the nearest row.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.heap.pop().map(|Reverse(entry)| entry)
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
            .map(|tid| Entry {
                key: f64::from((tid * 7919 % 97) as u32),
                tid: tid + 1,
            })
            .collect();
        let mut sorted = rows.clone();
        sorted.sort();
        let (mut window, mut out, mut floor) = (Window::new(16), Vec::new(), None);
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
    fn nan_comes_last_whatever_its_sign() {
        let mut window = Window::new(8);
        window.open(None);
        for (tid, key) in [(1, f64::NAN), (2, -f64::NAN), (3, 1.0), (4, f64::INFINITY)] {
            window.push(Entry { key, tid });
        }
        window.seal();
        let order: Vec<u64> = std::iter::from_fn(|| window.pop())
            .map(|entry| entry.tid)
            .collect();
        assert_eq!(order, [3, 4, 1, 2]);
    }
}
