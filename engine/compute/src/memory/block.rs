//! A range of a buffer that somebody uses, and where it goes when dropped.
//!
//! The device may still work on a block after its user dropped it (a cancelled wait, a step that was submitted and
//! not waited for). So a dropped block is retired with the number of the last submission that uses it, and is handed
//! out again only when that one has finished.

use std::cell::Cell;
use std::rc::Rc;

use super::budget::Charge;
use super::buffer::DeviceBuffer;
use super::pool::Pool;
use super::segment::Segments;

/// A range in use.
pub(crate) struct Block {
    buffer: Rc<DeviceBuffer>,
    offset: u64,
    bytes: u64,
    last_use: Cell<u64>,
    home: Home,
}

/// Where a block came from.
enum Home {
    /// A whole transient buffer.
    Pool(Rc<Pool>),
    /// Part of a segment; the charge is `Some` until drop.
    Segments(Rc<Segments>, Cell<Option<Charge>>),
}

impl Block {
    /// A transient block: all of `buffer`.
    pub(super) fn transient(buffer: Rc<DeviceBuffer>, pool: Rc<Pool>) -> Rc<Self> {
        Rc::new(Self {
            offset: 0,
            bytes: buffer.bytes(),
            buffer,
            last_use: Cell::new(0),
            home: Home::Pool(pool),
        })
    }

    /// A resident block: `bytes` of `buffer` from `offset`, charged to `charge`.
    pub(super) fn resident(
        buffer: Rc<DeviceBuffer>,
        offset: u64,
        bytes: u64,
        charge: Charge,
        segments: Rc<Segments>,
    ) -> Rc<Self> {
        Rc::new(Self {
            buffer,
            offset,
            bytes,
            last_use: Cell::new(0),
            home: Home::Segments(segments, Cell::new(Some(charge))),
        })
    }

    /// The buffer it lies in.
    pub(crate) fn buffer(&self) -> &Rc<DeviceBuffer> {
        &self.buffer
    }

    /// Where it starts in the buffer.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that submission `number` uses it.
    pub(crate) fn stamp(&self, number: u64) {
        self.last_use.set(number);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match &self.home {
            Home::Pool(pool) => pool.retire(&self.buffer, self.last_use.get()),
            Home::Segments(segments, cell) => {
                if let Some(charge) = cell.take() {
                    segments.retire(&self.buffer, self.offset, self.bytes, charge, self.last_use.get());
                }
            }
        }
    }
}
