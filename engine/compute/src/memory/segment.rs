//! Long-lived device memory: large buffers (segments) from which blocks are cut.
//!
//! A driver allows a few thousand allocations and binds at most 2 GiB of a buffer, so lists and weights share segments
//! that stay below the binding limit. Free ranges are kept by offset and merged with their neighbours; a request takes
//! the smallest range that fits, the lowest of equals, so that long-lived data moves together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::block::Block;
use super::budget::{Charge, Label};
use super::buffer::DeviceBuffer;

/// Account of the parts of segments that nobody uses.
pub(crate) const FREE_LABEL: &str = "vectorgpu.segments.free";
/// Account of dropped blocks that the device may still use.
pub(crate) const RETIRED_LABEL: &str = "vectorgpu.segments.retired";

/// What offsets and sizes of blocks are multiples of: every device's binding alignment divides it.
pub(crate) const BLOCK_ALIGNMENT: u64 = 256;

/// The segments of one engine.
pub(crate) struct Segments {
    segment_bytes: u64,
    largest_bytes: u64,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    segments: Vec<Segment>,
    retired: Vec<Retired>,
    /// Bytes that are about to be asked for.
    expected_bytes: u64,
}

struct Segment {
    buffer: Rc<DeviceBuffer>,
    free: FreeRanges,
}

struct Retired {
    buffer_number: u64,
    offset: u64,
    bytes: u64,
    charge: Charge,
    last_use: u64,
}

/// Free ranges: bytes by offset, never adjacent.
#[derive(Debug, Default, PartialEq, Eq)]
struct FreeRanges(BTreeMap<u64, u64>);

impl Segments {
    /// No segments yet; new ones have `segment_bytes`, up to `largest_bytes` where more is expected or as much is there
    /// already, or more for a larger block: a kernel sees few at a time, so few large ones are better.
    pub(crate) fn new(segment_bytes: u64, largest_bytes: u64) -> Rc<Self> {
        let rounded_down = |bytes: u64| bytes & !(BLOCK_ALIGNMENT - 1);
        Rc::new(Self {
            segment_bytes: rounded_down(segment_bytes),
            largest_bytes: rounded_down(largest_bytes),
            state: RefCell::default(),
        })
    }

    /// Notes that blocks of so many bytes in all are about to be asked for.
    pub(crate) fn expect(&self, bytes: u64) {
        let mut state = self.state.borrow_mut();
        let free: u64 = state.segments.iter().map(|segment| segment.free.bytes()).sum();
        state.expected_bytes = bytes.saturating_sub(free);
    }

    /// The size of the next segment, if a block of `bytes` needs one.
    pub(crate) fn next_bytes(&self, bytes: u64) -> u64 {
        let state = self.state.borrow();
        let held: u64 = state.segments.iter().map(|segment| segment.buffer.bytes()).sum();
        // What does not fill the last block of a segment is lost, hence some more.
        let expected = state.expected_bytes.saturating_add(state.expected_bytes / 64);
        let wanted = rounded(held.max(expected).min(self.largest_bytes));
        self.segment_bytes.max(wanted).max(rounded(bytes))
    }

    /// A block of at least `bytes` from the segments there are.
    pub(crate) fn take(self: &Rc<Self>, label: impl Into<Label>, bytes: u64) -> Option<Rc<Block>> {
        let bytes = rounded(bytes);
        let mut state = self.state.borrow_mut();
        let segment = state
            .segments
            .iter_mut()
            .filter_map(|segment| Some((segment.free.best(bytes)?, segment)))
            .min_by_key(|(best, _)| best.1)?;
        let ((offset, _), segment) = segment;
        segment.free.take(offset, bytes);
        let charge = segment.buffer.split_charge(label, bytes);
        Some(Block::resident(
            Rc::clone(&segment.buffer),
            offset,
            bytes,
            charge,
            Rc::clone(self),
        ))
    }

    /// Adds a new segment, all of it free.
    pub(crate) fn add(&self, buffer: Rc<DeviceBuffer>) {
        let mut free = FreeRanges::default();
        free.give(0, buffer.bytes());
        let mut state = self.state.borrow_mut();
        state.expected_bytes = state.expected_bytes.saturating_sub(buffer.bytes());
        state.segments.push(Segment { buffer, free });
    }

    /// Takes a dropped block back; the device may use it until submission `last_use` has finished.
    pub(super) fn retire(
        &self,
        buffer: &DeviceBuffer,
        offset: u64,
        bytes: u64,
        mut charge: Charge,
        last_use: u64,
    ) {
        charge.relabel(RETIRED_LABEL);
        self.state.borrow_mut().retired.push(Retired {
            buffer_number: buffer.number(),
            offset,
            bytes,
            charge,
            last_use,
        });
    }

    /// Frees the retired blocks whose last submission has finished.
    pub(crate) fn reclaim(&self, completed: u64) {
        let mut state = self.state.borrow_mut();
        let (finished, busy) = std::mem::take(&mut state.retired)
            .into_iter()
            .partition(|retired| retired.last_use <= completed);
        state.retired = busy;
        for retired in finished {
            let owner = state
                .segments
                .iter_mut()
                .find(|segment| segment.buffer.number() == retired.buffer_number);
            if let Some(segment) = owner {
                segment.buffer.join_charge(retired.charge);
                segment.free.give(retired.offset, retired.bytes);
            }
        }
    }

    /// Frees segments without any block; returns how many.
    pub(crate) fn trim(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let before = state.segments.len();
        state
            .segments
            .retain(|segment| segment.free.0.get(&0) != Some(&segment.buffer.bytes()));
        before - state.segments.len()
    }
}

fn rounded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(BLOCK_ALIGNMENT)
}

impl FreeRanges {
    /// Bytes of all ranges.
    fn bytes(&self) -> u64 {
        self.0.values().sum()
    }

    /// Offset and size of the smallest range of at least `bytes`.
    fn best(&self, bytes: u64) -> Option<(u64, u64)> {
        self.0
            .iter()
            .map(|(&offset, &size)| (offset, size))
            .filter(|&(_, size)| size >= bytes)
            .min_by_key(|&(_, size)| size)
    }

    /// Takes `bytes` off the front of the range at `offset`.
    fn take(&mut self, offset: u64, bytes: u64) {
        if let Some(size) = self.0.remove(&offset)
            && size > bytes
        {
            self.0.insert(offset + bytes, size - bytes);
        }
    }

    /// Adds a range and merges it with its neighbours.
    fn give(&mut self, offset: u64, bytes: u64) {
        let (mut offset, mut bytes) = (offset, bytes);
        if let Some((&before, &size)) = self.0.range(..offset).next_back()
            && before + size == offset
        {
            self.0.remove(&before);
            (offset, bytes) = (before, size + bytes);
        }
        if let Some(size) = self.0.remove(&(offset + bytes)) {
            bytes += size;
        }
        self.0.insert(offset, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is taken never overlaps, and giving everything back leaves one range.
        #[test]
        fn ranges_never_overlap_and_merge_again(steps in prop::collection::vec((any::<bool>(), 1u64..40), 1..200)) {
            let whole = 64 * BLOCK_ALIGNMENT;
            let mut free = FreeRanges::default();
            free.give(0, whole);
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (take, size) in steps {
                if take {
                    let bytes = rounded(size * 100);
                    if let Some((offset, _)) = free.best(bytes) {
                        free.take(offset, bytes);
                        prop_assert!(held.iter().all(|&(start, length)| offset + bytes <= start || start + length <= offset));
                        held.push((offset, bytes));
                    }
                } else if !held.is_empty() {
                    let index = usize::try_from(size).unwrap() % held.len();
                    let (offset, bytes) = held.swap_remove(index);
                    free.give(offset, bytes);
                }
                let used: u64 = held.iter().map(|&(_, bytes)| bytes).sum();
                prop_assert_eq!(used + free.0.values().sum::<u64>(), whole);
            }
            for (offset, bytes) in held {
                free.give(offset, bytes);
            }
            prop_assert_eq!(free, FreeRanges(BTreeMap::from([(0, whole)])));
        }
    }

    #[test]
    fn a_request_takes_the_smallest_range_that_fits() {
        let mut free = FreeRanges(BTreeMap::from([(0, 1024), (2048, 512), (4096, 2048)]));
        assert_eq!(free.best(512), Some((2048, 512)));
        free.take(2048, 512);
        assert_eq!(free.best(512), Some((0, 1024)));
        assert_eq!(free.best(4096), None);
    }
}
