//! A run of rows of a list in segments, with room for more.
//!
//! What every search reads lies in one block: codes `[capacity, octets]` of 16 bytes, heads `[capacity]` of 16, TIDs
//! `[capacity]` of 8. What only belongs to the rows found lies in another, in other segments: TIDs again, `|x|^2`
//! `[capacity]` of 4, and, where they are kept, vectors `[capacity, ceil(dims / 4)]` of 16. Each part begins at a multiple
//! of 16 bytes.

use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::quantize::list_row::ListRows;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::kernels::lists::Tile;
use crate::memory::block::Block;
use crate::memory::segment::Segments;
use crate::memory::staging::Source;
use crate::memory::view::{COPY_ALIGNMENT, View};
use crate::recording::{End, Recording};
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};

/// The unit in which kernels count, in bytes.
const UNIT: usize = 16;
/// A capacity is a multiple of so many rows, so that every part begins at a whole unit.
pub(super) const CAPACITY_STEP: usize = 32;

/// What the rows of an index take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowShape {
    pub(super) dims: usize,
    /// Whether vectors are kept beside the codes.
    pub(super) vectors: bool,
}

impl RowShape {
    pub(super) fn octets(self) -> usize {
        self.dims.div_ceil(8)
    }

    fn vector_units(self) -> usize {
        if self.vectors { self.dims.div_ceil(4) } else { 0 }
    }

    /// Bytes of a row in the block that every search reads.
    pub(super) fn scanned_bytes(self) -> usize {
        UNIT * (self.octets() + 1) + 8
    }

    /// Bytes of a row in the other block.
    pub(super) fn found_bytes(self) -> usize {
        8 + 4 + UNIT * self.vector_units()
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(self) -> usize {
        self.scanned_bytes() + self.found_bytes()
    }
}

/// Rows in two blocks.
pub(super) struct Extent {
    scanned: Rc<Block>,
    found: Rc<Block>,
    shape: RowShape,
    capacity: usize,
    rows: usize,
    /// Where its first row lies, kept because every search of it asks.
    first: Tile,
    /// The numbers of the buffers of both blocks.
    scanned_number: u64,
    found_number: u64,
}

/// Where the parts of the blocks begin, in bytes.
struct Parts {
    heads: usize,
    tids: usize,
    norms: usize,
    vectors: usize,
}

fn parts(shape: RowShape, capacity: usize) -> Parts {
    let heads = capacity * shape.octets() * UNIT;
    let norms = capacity * 8;
    Parts {
        heads,
        tids: heads + capacity * UNIT,
        norms,
        vectors: norms + capacity * 4,
    }
}

impl Extent {
    /// Room for `capacity` rows, a multiple of [`CAPACITY_STEP`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub(super) fn reserve(
        runtime: &Runtime,
        label: &str,
        shape: RowShape,
        capacity: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        debug_assert!(capacity.is_multiple_of(CAPACITY_STEP));
        let mut block = |segments: &Rc<Segments>, row_bytes: usize| {
            let bytes = as_u64(capacity * row_bytes)?;
            runtime.reserve_in(segments, label.to_owned(), bytes, &mut *keep_waiting)
        };
        let scanned = block(&runtime.segments, shape.scanned_bytes())?;
        let found = block(&runtime.side_segments, shape.found_bytes())?;
        Ok(Self {
            first: first_tile(shape, capacity, &scanned, &found)?,
            scanned_number: scanned.buffer().number(),
            found_number: found.buffer().number(),
            scanned,
            found,
            shape,
            capacity,
            rows: 0,
        })
    }

    /// The block that every search reads, for its segment's whole buffer.
    pub(super) fn scanned(&self) -> &Rc<Block> {
        &self.scanned
    }

    /// The other block.
    pub(super) fn found(&self) -> &Rc<Block> {
        &self.found
    }

    /// The number of the buffer of [`Self::scanned`].
    pub(super) fn scanned_number(&self) -> u64 {
        self.scanned_number
    }

    /// The number of the buffer of [`Self::found`].
    pub(super) fn found_number(&self) -> u64 {
        self.found_number
    }

    /// Rows that it holds.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that fit in beside those.
    pub(super) fn room(&self) -> usize {
        self.capacity - self.rows
    }

    /// Bytes of device memory.
    pub(super) fn bytes(&self) -> u64 {
        self.scanned.bytes() + self.found.bytes()
    }

    /// Adds rows `first..first + count` of `rows`, for which there is room. The device may still be copying when this
    /// returns; what is recorded later sees them.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub(super) fn append(
        &mut self,
        runtime: &Runtime,
        rows: &ListRows,
        first: usize,
        count: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if count > self.room() || rows.dims() != self.shape.dims {
            return Err(Error::new(ErrorKind::Internal, "rows do not fit a list's copy"));
        }
        let (shape, at) = (self.shape, parts(self.shape, self.capacity));
        let (dims, row) = (shape.dims, self.rows);
        let mut recording = Recording::default();
        let mut put = |block: &Rc<Block>, start: usize, each: usize, source: Source<'_>| {
            let whole = View::front(block, block.bytes())?;
            let bytes = as_u64(source.bytes())?;
            let target = whole.part(as_u64(start + row * each)?, bytes, COPY_ALIGNMENT)?;
            runtime.stage(&mut recording, source, End::View(target), keep_waiting)
        };
        let codes = &rows.codes[first * dims * 2..][..count * dims * 2];
        let stride = shape.octets() * UNIT;
        put(&self.scanned, 0, stride, Source::rows(codes, dims * 2, stride))?;
        let heads = bytemuck::cast_slice(&rows.heads[first..first + count]);
        put(&self.scanned, at.heads, UNIT, Source::Bytes(heads))?;
        let tids = bytemuck::cast_slice(&rows.tids[first..first + count]);
        put(&self.scanned, at.tids, 8, Source::Bytes(tids))?;
        put(&self.found, 0, 8, Source::Bytes(tids))?;
        let norms = bytemuck::cast_slice(&rows.norms[first..first + count]);
        put(&self.found, at.norms, 4, Source::Bytes(norms))?;
        if shape.vectors {
            let vectors = bytemuck::cast_slice(&rows.vectors[first * dims..][..count * dims]);
            let stride = shape.vector_units() * UNIT;
            let source = Source::rows(vectors, dims * 4, stride);
            put(&self.found, at.vectors, stride, source)?;
        }
        runtime.submit(recording, keep_waiting)?;
        self.rows += count;
        Ok(())
    }

    /// Appends the tiles of `tile_rows` rows, a multiple of 4, in which its rows lie; `found_segment` is the number of the
    /// segment of [`Self::found`].
    ///
    /// # Errors
    /// `LimitExceeded` beyond what kernels can count.
    pub(super) fn tiles(&self, tile_rows: usize, found_segment: u32, tiles: &mut Vec<Tile>) -> Result<()> {
        let (step, rows) = (as_u32(tile_rows)?, as_u32(self.rows)?);
        let (octets, vector_units) = (as_u32(self.shape.octets())?, as_u32(self.shape.vector_units())?);
        let (at, vectors) = (self.first, self.shape.vectors);
        tiles.extend((0..rows).step_by(tile_rows).map(|first| Tile {
            codes_at: at.codes_at + first * octets,
            heads_at: at.heads_at + first,
            tids_at: at.tids_at + first / 2,
            rows: step.min(rows - first),
            found_segment,
            found_tids_at: at.found_tids_at + first / 2,
            norms_at: at.norms_at + first / 4,
            vectors_at: if vectors {
                at.vectors_at + first * vector_units
            } else {
                u32::MAX
            },
        }));
        Ok(())
    }
}

/// A tile of no rows at the front of two blocks.
///
/// # Errors
/// `LimitExceeded` where the blocks end beyond what kernels can count: all that lies before that can be counted.
fn first_tile(shape: RowShape, capacity: usize, scanned: &Block, found: &Block) -> Result<Tile> {
    let at = parts(shape, capacity);
    let unit = |block: &Block, bytes: usize| as_u32((as_usize(block.offset())? + bytes) / UNIT);
    unit(scanned, as_usize(scanned.bytes())?)?;
    unit(found, as_usize(found.bytes())?)?;
    Ok(Tile {
        codes_at: unit(scanned, 0)?,
        heads_at: unit(scanned, at.heads)?,
        tids_at: unit(scanned, at.tids)?,
        rows: 0,
        found_segment: 0,
        found_tids_at: unit(found, 0)?,
        norms_at: unit(found, at.norms)?,
        vectors_at: unit(found, at.vectors)?,
    })
}
