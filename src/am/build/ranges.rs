//! Ranges of neighbouring lists: each is sorted by itself and written by one participant.
//!
//! K-means balances lists, so ranges of equally many lists hold about equally many rows.

use std::ops::Range;

use vectorgpu_core::ivf::layout::Tid;

use crate::pg::sort::{Part, RowSort};

/// All lists, cut into ranges whose sizes differ by at most one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListRanges {
    lists: u32,
    count: u32,
}

impl ListRanges {
    /// Cuts `lists` (at least 1) into `wanted` ranges, or as many as there are lists.
    pub(super) fn new(lists: u32, wanted: u32) -> Self {
        let count = wanted.clamp(1, lists);
        Self { lists, count }
    }

    /// Number of ranges.
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// The range that `list` falls into.
    pub(super) fn of(self, list: u32) -> usize {
        let range = u64::from(list) * u64::from(self.count) / u64::from(self.lists);
        usize::try_from(range).expect("less than count")
    }

    /// The lists of range `range`: those for which [`ListRanges::of`] says so.
    pub(super) fn lists(self, range: u32) -> Range<u32> {
        let start = |range: u32| {
            let lists = (u64::from(range) * u64::from(self.lists)).div_ceil(u64::from(self.count));
            u32::try_from(lists).expect("at most all lists")
        };
        start(range)..start(range + 1)
    }
}

/// One participant's sorts, one for each range.
pub(super) struct RangeSorts {
    ranges: ListRanges,
    sorts: Vec<RowSort>,
}

impl RangeSorts {
    /// Starts a sort for each range, `part(range)`; together they use at most `memory_kb`.
    pub(super) fn begin(ranges: ListRanges, memory_kb: i32, part: impl Fn(u32) -> Part) -> Self {
        let each_kb = memory_kb / i32::try_from(ranges.count()).unwrap_or(i32::MAX);
        let sorts = (0..ranges.count())
            .map(|range| RowSort::begin(part(range), each_kb))
            .collect();
        Self { ranges, sorts }
    }

    /// Adds a row, whose payload comes in parts.
    pub(super) fn put<const N: usize>(&mut self, list: u32, tid: Tid, payload: [&[u8]; N]) {
        self.sorts[self.ranges.of(list)].put(list, tid.0, payload);
    }

    /// Ends the input.
    pub(super) fn perform(&mut self) {
        self.sorts.iter_mut().for_each(RowSort::perform);
    }

    /// The only sort.
    ///
    /// # Panics
    /// When lists were cut into several ranges.
    pub(super) fn into_whole(mut self) -> RowSort {
        assert_eq!(self.sorts.len(), 1);
        self.sorts.remove(0)
    }

    /// Frees memory; what other participants are to merge stays in shared files.
    pub(super) fn end(self) {
        self.sorts.into_iter().for_each(RowSort::end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_in_the_one_range_that_names_it() {
        for (lists, wanted) in [(1, 1), (1, 3), (2, 3), (7, 3), (245, 3), (1200, 9), (32_768, 7)] {
            let ranges = ListRanges::new(lists, wanted);
            let mut next = 0;
            for range in 0..ranges.count() {
                let part = ranges.lists(range);
                assert_eq!(part.start, next);
                assert!(!part.is_empty());
                assert!(part.clone().all(|list| ranges.of(list) == range as usize));
                next = part.end;
            }
            assert_eq!(next, lists);
        }
    }
}
