//! Space in a buffer that is used in order: reserved by a recording, free again when its submission has finished.
//!
//! Only arithmetic; the buffer and the device belong to the caller. Positions count on for ever and are taken modulo
//! the size, so that empty and full differ.

use std::collections::VecDeque;

/// The free and used parts of a ring.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: u64,
    /// Where the next reservation starts, at the earliest.
    head: u64,
    /// Where the oldest used byte is.
    tail: u64,
    /// Submission and the head at which what it uses ends, oldest first.
    sealed: VecDeque<(u64, u64)>,
}

impl Ring {
    /// An empty ring.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            head: 0,
            tail: 0,
            sealed: VecDeque::new(),
        }
    }

    /// Reserves `bytes` in one piece at a multiple of `alignment`, which divides the ring's size. Returns the offset,
    /// or nothing when there is no room now.
    pub(crate) fn reserve(&mut self, bytes: u64, alignment: u64) -> Option<u64> {
        let mut start = self.head.next_multiple_of(alignment);
        if start % self.bytes + bytes > self.bytes {
            start = start.next_multiple_of(self.bytes);
        }
        if bytes > self.bytes || start + bytes > self.tail + self.bytes {
            return None;
        }
        self.head = start + bytes;
        Some(start % self.bytes)
    }

    /// Everything reserved since the last call belongs to submission `number`.
    pub(crate) fn seal(&mut self, number: u64) {
        if self.sealed.back().map_or(self.tail, |&(_, end)| end) != self.head {
            self.sealed.push_back((number, self.head));
        }
    }

    /// Frees what submissions up to `completed` used.
    pub(crate) fn release(&mut self, completed: u64) {
        while let Some(&(number, end)) = self.sealed.front()
            && number <= completed
        {
            self.sealed.pop_front();
            self.tail = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No reservation overlaps one whose submission has not finished.
        #[test]
        fn space_is_never_handed_out_twice(steps in prop::collection::vec((0u8..4, 1u64..300), 1..300)) {
            let mut ring = Ring::new(1024);
            let mut live: Vec<(u64, u64, u64)> = Vec::new();
            let (mut submitted, mut completed) = (0, 0);
            for (kind, size) in steps {
                match kind {
                    0 | 1 => {
                        if let Some(offset) = ring.reserve(size, 64) {
                            prop_assert!(offset.is_multiple_of(64) && offset + size <= 1024);
                            prop_assert!(live.iter().all(|&(start, bytes, _)| offset + size <= start || start + bytes <= offset));
                            live.push((offset, size, u64::MAX));
                        }
                    }
                    2 => {
                        submitted += 1;
                        ring.seal(submitted);
                        live.iter_mut().filter(|part| part.2 == u64::MAX).for_each(|part| part.2 = submitted);
                    }
                    _ => {
                        completed = submitted.min(completed + size % 3);
                        ring.release(completed);
                        live.retain(|part| part.2 > completed);
                    }
                }
            }
            submitted += 1;
            ring.seal(submitted);
            ring.release(submitted);
            prop_assert!(ring.reserve(512, 64).is_some());
        }
    }

    #[test]
    fn a_full_ring_refuses_until_its_oldest_submission_has_finished() {
        let mut ring = Ring::new(256);
        assert_eq!(ring.reserve(128, 64), Some(0));
        ring.seal(1);
        assert_eq!(ring.reserve(128, 64), Some(128));
        ring.seal(2);
        assert_eq!(ring.reserve(64, 64), None);
        ring.release(1);
        assert_eq!(ring.reserve(64, 64), Some(0));
        assert_eq!(ring.reserve(512, 64), None);
    }
}
