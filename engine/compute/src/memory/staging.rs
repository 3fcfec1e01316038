//! The ring of mapped buffers through which all bytes go to the device.
//!
//! Slots are mapped once, filled from the front, and mapped again after the submission that copies from them has
//! finished, so uploading costs one memcpy and overlaps with the device's copies. wgpu's own `write_buffer` allocates
//! a staging copy of the whole size each time, is 2.5 times slower on NVIDIA (4 against 10 GB/s), and loses the
//! device when that allocation fails.

use std::cell::RefCell;
use std::rc::Rc;

use super::buffer::DeviceBuffer;
use crate::recording::{Command, Recording};
use crate::submit::Submission;

/// Account of the ring.
pub(crate) const LABEL: &str = "vectorgpu.staging";

/// Slots of the ring: one being filled, one being copied, one waiting.
pub(crate) const SLOTS: usize = 3;

/// Alignment of a piece within a slot: wgpu's rule for mapped ranges is 8, a quad's is 16.
pub(crate) const PIECE_ALIGNMENT: u64 = 16;

/// Bytes to write to the device.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// As they are; the length is a multiple of 4.
    Bytes(&'a [u8]),
    /// Rows of `row_bytes`, each padded with zeros to `stride_bytes`.
    Rows {
        codes: &'a [u8],
        row_bytes: usize,
        stride_bytes: usize,
    },
    /// As [`Source::Rows`], of rows that lie apart and have the same length.
    Apart {
        rows: &'a [&'a [u8]],
        stride_bytes: usize,
    },
    /// `front`, zeros up to `behind_at`, then `behind`; the front and the zeros are not cut. Lengths are multiples of 4.
    Together {
        front: &'a [u8],
        behind: &'a [u8],
        behind_at: usize,
    },
}

impl<'a> Source<'a> {
    /// Rows, taken as plain bytes where no padding is needed.
    pub(crate) fn rows(codes: &'a [u8], row_bytes: usize, stride_bytes: usize) -> Self {
        if row_bytes == stride_bytes {
            Self::Bytes(codes)
        } else {
            Self::Rows {
                codes,
                row_bytes,
                stride_bytes,
            }
        }
    }

    /// Bytes that it takes on the device.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Rows {
                codes,
                row_bytes,
                stride_bytes,
            } => codes.len() / row_bytes * stride_bytes,
            Self::Apart { rows, stride_bytes } => rows.len() * stride_bytes,
            Self::Together {
                behind, behind_at, ..
            } => behind_at + behind.len(),
        }
    }

    /// The smallest piece that may be written alone, in bytes on the device.
    pub(crate) fn piece_bytes(&self) -> usize {
        match self {
            Self::Bytes(_) => 4,
            Self::Rows { stride_bytes, .. } | Self::Apart { stride_bytes, .. } => *stride_bytes,
            Self::Together { behind_at, .. } => *behind_at,
        }
    }

    /// Takes as many whole pieces as fit in `room` bytes off the front.
    pub(crate) fn split_front(&mut self, room: usize) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let (front, rest) = bytes.split_at(bytes.len().min(room / 4 * 4));
                *bytes = rest;
                Self::Bytes(front)
            }
            Self::Rows {
                codes,
                row_bytes,
                stride_bytes,
            } => {
                let rows = (codes.len() / *row_bytes).min(room / *stride_bytes);
                let (front, rest) = codes.split_at(rows * *row_bytes);
                *codes = rest;
                Self::Rows {
                    codes: front,
                    row_bytes: *row_bytes,
                    stride_bytes: *stride_bytes,
                }
            }
            Self::Apart { rows, stride_bytes } => {
                let (front, rest) = rows.split_at(rows.len().min(room / *stride_bytes));
                *rows = rest;
                Self::Apart {
                    rows: front,
                    stride_bytes: *stride_bytes,
                }
            }
            Self::Together {
                front,
                behind,
                behind_at,
            } => {
                let room = room.saturating_sub(*behind_at) / 4 * 4;
                let (taken, rest) = behind.split_at(behind.len().min(room));
                let taken = Self::Together {
                    front,
                    behind: taken,
                    behind_at: *behind_at,
                };
                *self = Self::Bytes(rest);
                taken
            }
        }
    }

    /// Writes it to the front of `target`, which is at least as long.
    pub(crate) fn write(&self, mut target: wgpu::WriteOnly<'_, [u8]>) {
        match self {
            Self::Bytes(bytes) => target.slice(..bytes.len()).copy_from_slice(bytes),
            Self::Rows {
                codes,
                row_bytes,
                stride_bytes,
            } => write_rows(codes.chunks_exact(*row_bytes), *stride_bytes, target),
            Self::Apart { rows, stride_bytes } => {
                write_rows(rows.iter().copied(), *stride_bytes, target);
            }
            Self::Together {
                front,
                behind,
                behind_at,
            } => {
                target.slice(..front.len()).copy_from_slice(front);
                target.slice(front.len()..*behind_at).fill(0);
                target
                    .slice(*behind_at..behind_at + behind.len())
                    .copy_from_slice(behind);
            }
        }
    }
}

/// Writes rows with zeros behind each up to the stride.
fn write_rows<'a>(
    rows: impl Iterator<Item = &'a [u8]>,
    stride_bytes: usize,
    mut target: wgpu::WriteOnly<'_, [u8]>,
) {
    for (index, row) in rows.enumerate() {
        let start = index * stride_bytes;
        target.slice(start..start + row.len()).copy_from_slice(row);
        target.slice(start + row.len()..start + stride_bytes).fill(0);
    }
}

/// The slots; created one by one when first needed.
pub(crate) struct StagingRing {
    slot_bytes: u64,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// The slot being filled.
    open: Option<usize>,
    next: usize,
}

struct Slot {
    buffer: Rc<DeviceBuffer>,
    used_bytes: u64,
    /// The submission that copies from it.
    copied_by: Option<Submission>,
}

/// What to do to get an open slot.
pub(crate) enum NextSlot {
    /// Create its buffer and pass it to [`StagingRing::add`].
    Create,
    /// Wait until the buffer is mapped again, then call [`StagingRing::open`].
    Wait(Rc<DeviceBuffer>, Option<Submission>),
}

impl StagingRing {
    /// A ring that will hold `total_bytes` in all its slots.
    pub(crate) fn new(total_bytes: u64) -> Self {
        let slot_bytes = (total_bytes / SLOTS as u64) & !255;
        Self {
            slot_bytes,
            state: RefCell::default(),
        }
    }

    /// Bytes of one slot.
    pub(crate) fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// The open slot's buffer, where its free part starts, and how many bytes are free.
    pub(crate) fn room(&self) -> Option<(Rc<DeviceBuffer>, u64, u64)> {
        let state = self.state.borrow();
        let slot = &state.slots[state.open?];
        Some((
            Rc::clone(&slot.buffer),
            slot.used_bytes,
            self.slot_bytes - slot.used_bytes,
        ))
    }

    /// Notes that `bytes` of the open slot are filled.
    pub(crate) fn advance(&self, bytes: u64) {
        let mut state = self.state.borrow_mut();
        if let Some(open) = state.open {
            let slot = &mut state.slots[open];
            slot.used_bytes = (slot.used_bytes + bytes)
                .next_multiple_of(PIECE_ALIGNMENT)
                .min(self.slot_bytes);
        }
    }

    /// The slot to open next, when none is open.
    pub(crate) fn next_slot(&self) -> NextSlot {
        let state = self.state.borrow();
        match state.slots.get(state.next) {
            None => NextSlot::Create,
            Some(slot) => NextSlot::Wait(Rc::clone(&slot.buffer), slot.copied_by.clone()),
        }
    }

    /// Adds a new slot, born mapped, and opens it.
    pub(crate) fn add(&self, buffer: Rc<DeviceBuffer>) {
        self.state.borrow_mut().slots.push(Slot {
            buffer,
            used_bytes: 0,
            copied_by: None,
        });
        self.open();
    }

    /// Opens the next slot, which is mapped.
    pub(crate) fn open(&self) {
        let mut state = self.state.borrow_mut();
        let next = state.next;
        state.slots[next].used_bytes = 0;
        state.open = Some(next);
        state.next = (next + 1) % SLOTS;
    }

    /// Forgets what the open slot holds, because no recording copies from it any more.
    pub(crate) fn rewind(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(open) = state.open {
            state.slots[open].used_bytes = 0;
        }
    }

    /// Whether `recording` copies from the open slot.
    pub(crate) fn feeds(&self, recording: &Recording) -> bool {
        let state = self.state.borrow();
        let Some(open) = state.open else { return false };
        let slot = &state.slots[open].buffer;
        recording.commands.iter().any(
            |command| matches!(command, Command::Copy { source, .. } if Rc::ptr_eq(source.buffer(), slot)),
        )
    }

    /// Closes the open slot if `recording` copies from it: it must be unmapped before that is submitted.
    pub(crate) fn close_for(&self, recording: &Recording) -> Option<(usize, Rc<DeviceBuffer>)> {
        if !self.feeds(recording) {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let open = state.open.take()?;
        Some((open, Rc::clone(&state.slots[open].buffer)))
    }

    /// Notes which submission copies from slot `slot`.
    pub(crate) fn copied_by(&self, slot: usize, submission: &Submission) {
        self.state.borrow_mut().slots[slot].copied_by = Some(submission.clone());
    }

    /// Frees the slots. Call only when the device is idle and no recording holds a copy from them.
    pub(crate) fn release(&self) {
        *self.state.borrow_mut() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_rows_never_cuts_a_row() {
        let codes: Vec<u8> = (0..30).collect();
        let mut source = Source::rows(&codes, 6, 8);
        assert_eq!((source.bytes(), source.piece_bytes()), (40, 8));
        let front = source.split_front(23);
        assert_eq!((front.bytes(), source.bytes()), (16, 24));
        let all = source.split_front(usize::MAX);
        assert_eq!((all.bytes(), source.bytes()), (24, 0));
    }

    #[test]
    fn rows_that_lie_apart_are_split_between_rows() {
        let rows: [&[u8]; 3] = [&[1; 6], &[2; 6], &[3; 6]];
        let mut source = Source::Apart {
            rows: &rows,
            stride_bytes: 8,
        };
        assert_eq!((source.bytes(), source.piece_bytes()), (24, 8));
        let front = source.split_front(23);
        assert_eq!((front.bytes(), source.bytes()), (16, 8));
    }

    #[test]
    fn what_stands_together_is_cut_only_in_its_back_part() {
        let (front, behind) = ([1_u8; 12], [2_u8; 20]);
        let mut source = Source::Together {
            front: &front,
            behind: &behind,
            behind_at: 16,
        };
        assert_eq!((source.bytes(), source.piece_bytes()), (36, 16));
        let taken = source.split_front(27);
        assert_eq!((taken.bytes(), source.bytes()), (24, 12));
        assert_eq!(source.piece_bytes(), 4);
    }

    #[test]
    fn rows_without_padding_are_plain_bytes() {
        let codes = [0_u8; 32];
        assert!(matches!(Source::rows(&codes, 16, 16), Source::Bytes(_)));
    }
}
