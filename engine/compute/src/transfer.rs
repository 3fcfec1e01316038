//! Bytes up through the staging ring, and results back through the read-back ring.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::memory::block::Block;
use crate::memory::buffer::{DeviceBuffer, Purpose};
use crate::memory::read_back;
use crate::memory::staging::{self, NextSlot, Source};
use crate::memory::view::{COPY_ALIGNMENT, View};
use crate::recording::{End, Recording};
use crate::runtime::{Runtime, as_u64, as_usize};
use crate::submit::Submission;

/// Account of results that are expected.
const EXPECTED_LABEL: &str = "vectorgpu.results";

/// Most bytes of a piece that is copied to the host's own memory before anyone looks at it.
const COPIED_MAX: u64 = 16 << 10;

/// The bytes of a piece.
enum Read {
    Copied(Vec<u8>),
    Mapped(wgpu::BufferView),
}

/// A piece of a result under way.
struct Piece {
    slot: Rc<DeviceBuffer>,
    bytes: u64,
    submission: Submission,
}

/// A result under way in memory of its own, beside which other results may be asked for and read.
///
/// Dropping it gives the result up: its memory is used again once the device is done with it.
pub(crate) struct Expected {
    piece: Piece,
    /// Keeps the piece's buffer out of the pool.
    _block: Rc<Block>,
}

impl Expected {
    /// What leaves the result behind.
    pub(crate) fn submission(&self) -> &Submission {
        &self.piece.submission
    }
}

impl Runtime {
    /// Writes `source` to the front of `target` through the staging ring.
    ///
    /// The copies go to the end of `recording`; when a slot fills up, what is recorded so far is submitted.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, or as [`crate::context::Context::guarded`].
    pub(crate) fn stage(
        &self,
        recording: &mut Recording,
        mut source: Source<'_>,
        target: End,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let mut written = 0;
        while source.bytes() > 0 {
            let (slot, start, room) = self.open_slot(recording, source.piece_bytes(), keep_waiting)?;
            let piece = source.split_front(as_usize(room)?);
            let bytes = as_u64(piece.bytes())?;
            let outcome = self.context.guarded("filling the staging ring", |_| {
                slot.raw()
                    .slice(start..start + bytes)
                    .get_mapped_range_mut()
                    .map(|mut view| piece.write(view.slice(..)))
            })?;
            outcome.map_err(|error| {
                Error::new(ErrorKind::Internal, "a staging slot is not mapped").with_detail(error.to_string())
            })?;
            self.staging.advance(bytes);
            self.context
                .counters
                .update(|counters| counters.bytes_up += bytes);
            let end = match &target {
                End::Ring(buffer, offset) => End::Ring(Rc::clone(buffer), offset + written),
                End::View(view) => End::View(view.part(written, bytes, COPY_ALIGNMENT)?),
            };
            recording.copy(End::Ring(slot, start), end, bytes);
            written += bytes;
        }
        Ok(())
    }

    /// Runs `recording`, then gives `sink` all bytes of `source` in order, in pieces. Returns the time from submission
    /// until the first piece was there.
    ///
    /// # Errors
    /// As [`Runtime::wait`], `OutOfMemory`, or as [`crate::context::Context::guarded`].
    pub(crate) fn run_and_read(
        &self,
        recording: Recording,
        source: &View,
        keep_waiting: &mut KeepWaiting<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Duration> {
        let started = Instant::now();
        let mut first = None;
        let mut recording = Some(recording);
        let mut under_way: VecDeque<Piece> = VecDeque::new();
        let mut asked = 0;
        while asked < source.bytes() || !under_way.is_empty() || recording.is_some() {
            if asked < source.bytes() && under_way.len() < read_back::SLOTS {
                let bytes = self.read_back.slot_bytes().min(source.bytes() - asked);
                let part = source.part(asked, bytes, COPY_ALIGNMENT)?;
                let piece = self.ask(recording.take().unwrap_or_default(), &part, keep_waiting)?;
                under_way.push_back(piece);
                asked += bytes;
            } else if let Some(piece) = under_way.pop_front() {
                let settled = || piece.slot.mapping().is_settled();
                self.wait_until(&settled, Some(&piece.submission), keep_waiting)?;
                first.get_or_insert_with(|| started.elapsed());
                self.take_piece(&piece, sink)?;
            } else if let Some(recording) = recording.take() {
                let submission = self.submit(recording, keep_waiting)?;
                self.wait(&submission, keep_waiting)?;
            }
        }
        self.collect_profile()?;
        Ok(first.unwrap_or_else(|| started.elapsed()))
    }

    /// Runs `recording`, then has all of `source` copied to where [`Runtime::take_expected`] finds it.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, or as [`crate::context::Context::guarded`].
    pub(crate) fn run_and_expect(
        &self,
        recording: Recording,
        source: &View,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Expected> {
        let bytes = source.bytes();
        // Not a slot of the ring: that would go to whoever reads next.
        let block = self.acquire(EXPECTED_LABEL, Purpose::ReadBack, bytes, keep_waiting)?;
        let target = End::View(View::front(&block, bytes)?);
        let slot = Rc::clone(block.buffer());
        let piece = self.copy_out(recording, source, target, slot, keep_waiting)?;
        Ok(Expected { piece, _block: block })
    }

    /// Waits for a result, and gives `sink` its bytes.
    ///
    /// # Errors
    /// As [`Runtime::wait`], or as [`crate::context::Context::guarded`].
    pub(crate) fn take_expected(
        &self,
        expected: &Expected,
        keep_waiting: &mut KeepWaiting<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let piece = &expected.piece;
        let settled = || piece.slot.mapping().is_settled();
        self.wait_until(&settled, Some(&piece.submission), keep_waiting)?;
        self.take_piece(piece, sink)?;
        self.collect_profile()
    }

    /// Gives `sink` all bytes of `source` in order, in pieces, as a future.
    ///
    /// # Errors
    /// `DeviceLost`, `OutOfMemory`, or as [`crate::context::Context::guarded`].
    pub(crate) async fn read_async(&self, source: &View, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut asked = 0;
        while asked < source.bytes() {
            let bytes = self.read_back.slot_bytes().min(source.bytes() - asked);
            let part = source.part(asked, bytes, COPY_ALIGNMENT)?;
            let piece = self.ask(Recording::default(), &part, &mut || true)?;
            self.settled(|| piece.slot.mapping().is_settled()).await?;
            self.take_piece(&piece, sink)?;
            asked += bytes;
        }
        self.collect_profile()
    }

    /// Runs `recording`, then copies `source`, which fits a slot, and asks for the host's view of the copy.
    fn ask(&self, recording: Recording, source: &View, keep_waiting: &mut KeepWaiting<'_>) -> Result<Piece> {
        let slot = self.free_slot(keep_waiting)?;
        let target = End::Ring(Rc::clone(&slot), 0);
        self.copy_out(recording, source, target, slot, keep_waiting)
    }

    /// The same to `target`, which is the front of `slot`.
    fn copy_out(
        &self,
        mut recording: Recording,
        source: &View,
        target: End,
        slot: Rc<DeviceBuffer>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Piece> {
        recording.copy(End::View(source.clone()), target, source.bytes());
        let submission = self.submit_and_map(recording, Some(&*slot), keep_waiting)?;
        Ok(Piece {
            slot,
            bytes: source.bytes(),
            submission,
        })
    }

    fn take_piece(&self, piece: &Piece, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        if !piece.slot.mapping().is_mapped() {
            return Err(self.context.mark_lost("results could not be mapped".to_owned()));
        }
        let is_short = piece.bytes <= COPIED_MAX;
        // A sink may unwind, so it is never called under a guard; what is short is copied, which takes less than a guard.
        let read = self.context.guarded("reading results", |_| {
            let view = piece.slot.raw().slice(..piece.bytes).get_mapped_range()?;
            Ok::<_, wgpu::MapRangeError>(if is_short {
                let copy = view.to_vec();
                drop(view);
                piece.slot.unmap();
                Read::Copied(copy)
            } else {
                Read::Mapped(view)
            })
        })?;
        match read.map_err(|error| {
            Error::new(ErrorKind::Internal, "results are not mapped").with_detail(error.to_string())
        })? {
            Read::Copied(bytes) => sink(&bytes),
            Read::Mapped(view) => {
                sink(&view);
                drop(view);
                self.context
                    .guarded("unmapping results", |_| piece.slot.unmap())?;
            }
        }
        self.context
            .counters
            .update(|counters| counters.bytes_down += piece.bytes);
        Ok(())
    }

    /// A slot of the read-back ring that the device does not use.
    fn free_slot(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<Rc<DeviceBuffer>> {
        let Some(slot) = self.read_back.next() else {
            let bytes = self.read_back.slot_bytes();
            let slot = self.allocate(read_back::LABEL, Purpose::ReadBack, bytes, keep_waiting)?;
            self.read_back.add(Rc::clone(&slot));
            return Ok(slot);
        };
        if !slot.mapping().is_unmapped() {
            // Left over from a wait that was cancelled.
            self.wait_until(&|| slot.mapping().is_settled(), None, keep_waiting)?;
            self.context.guarded("unmapping results", |_| slot.unmap())?;
        }
        Ok(slot)
    }

    /// The open slot with room for `piece_bytes`: its buffer, the start of its free part, the free bytes.
    fn open_slot(
        &self,
        recording: &mut Recording,
        piece_bytes: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<(Rc<DeviceBuffer>, u64, u64)> {
        let piece_bytes = as_u64(piece_bytes)?;
        if piece_bytes > self.staging.slot_bytes() {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "a staging slot of {} bytes cannot hold {piece_bytes}",
                    self.staging.slot_bytes()
                ),
            ));
        }
        if let Some((slot, start, room)) = self.staging.room() {
            if room >= piece_bytes {
                return Ok((slot, start, room));
            }
            if !self.staging.feeds(recording) {
                // What fills the slot belongs to a step that was cancelled before it was submitted.
                self.staging.rewind();
                return Ok((slot, 0, self.staging.slot_bytes()));
            }
            self.submit(std::mem::take(recording), keep_waiting)?;
        }
        match self.staging.next_slot() {
            NextSlot::Create => {
                let bytes = self.staging.slot_bytes();
                let buffer = self.allocate(staging::LABEL, Purpose::Upload, bytes, keep_waiting)?;
                self.staging.add(buffer);
            }
            NextSlot::Wait(buffer, copied_by) => {
                let settled = || buffer.mapping().is_settled();
                self.wait_until(&settled, copied_by.as_ref(), keep_waiting)?;
                if !buffer.mapping().is_mapped() {
                    return Err(self
                        .context
                        .mark_lost("a staging slot could not be mapped again".to_owned()));
                }
                self.staging.open();
            }
        }
        self.staging
            .room()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no staging slot is open"))
    }
}
