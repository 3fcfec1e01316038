//! A run of rows of a list in a segment, with room for more.
//!
//! One block holds, each part at a multiple of 16 bytes: codes `[capacity, octets]` of 16 bytes, heads `[capacity]` of 16,
//! TIDs `[capacity]` of 8, `|x|^2` `[capacity]` of 4, and, where they are kept, vectors `[capacity, ceil(dims / 4)]` of 16.

use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::quantize::list_row::ListRows;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::kernels::lists::Tile;
use crate::memory::block::Block;
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

    /// Bytes of a row.
    pub(super) fn row_bytes(self) -> usize {
        UNIT * (self.octets() + 1 + self.vector_units()) + 8 + 4
    }
}

/// Rows in a block.
pub(super) struct Extent {
    block: Rc<Block>,
    shape: RowShape,
    capacity: usize,
    rows: usize,
}

/// Where the parts of a block begin, in bytes.
struct Parts {
    heads: usize,
    tids: usize,
    norms: usize,
    vectors: usize,
    end: usize,
}

fn parts(shape: RowShape, capacity: usize) -> Parts {
    let heads = capacity * shape.octets() * UNIT;
    let tids = heads + capacity * UNIT;
    let norms = tids + capacity * 8;
    let vectors = norms + capacity * 4;
    Parts {
        heads,
        tids,
        norms,
        vectors,
        end: vectors + capacity * shape.vector_units() * UNIT,
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
        let bytes = as_u64(parts(shape, capacity).end)?;
        Ok(Self {
            block: runtime.reserve(label.to_owned(), bytes, keep_waiting)?,
            shape,
            capacity,
            rows: 0,
        })
    }

    /// The block, for the segment's whole buffer.
    pub(super) fn block(&self) -> &Rc<Block> {
        &self.block
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
        self.block.bytes()
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
        let mut put = |start: usize, each: usize, source: Source<'_>| {
            let whole = View::front(&self.block, self.block.bytes())?;
            let bytes = as_u64(source.bytes())?;
            let target = whole.part(as_u64(start + row * each)?, bytes, COPY_ALIGNMENT)?;
            runtime.stage(&mut recording, source, End::View(target), keep_waiting)
        };
        let codes = &rows.codes[first * dims * 2..][..count * dims * 2];
        let stride = shape.octets() * UNIT;
        put(0, stride, Source::rows(codes, dims * 2, stride))?;
        let heads = bytemuck::cast_slice(&rows.heads[first..first + count]);
        put(at.heads, UNIT, Source::Bytes(heads))?;
        let tids = bytemuck::cast_slice(&rows.tids[first..first + count]);
        put(at.tids, 8, Source::Bytes(tids))?;
        let norms = bytemuck::cast_slice(&rows.norms[first..first + count]);
        put(at.norms, 4, Source::Bytes(norms))?;
        if shape.vectors {
            let vectors = bytemuck::cast_slice(&rows.vectors[first * dims..][..count * dims]);
            let stride = shape.vector_units() * UNIT;
            put(at.vectors, stride, Source::rows(vectors, dims * 4, stride))?;
        }
        runtime.submit(recording, keep_waiting)?;
        self.rows += count;
        Ok(())
    }

    /// Appends the tiles of `tile_rows` rows, a multiple of 4, in which its rows lie.
    ///
    /// # Errors
    /// `LimitExceeded` beyond what kernels can count.
    pub(super) fn tiles(&self, tile_rows: usize, tiles: &mut Vec<Tile>) -> Result<()> {
        let (shape, at) = (self.shape, parts(self.shape, self.capacity));
        let start = as_usize(self.block.offset())?;
        let unit = |bytes: usize| as_u32((start + bytes) / UNIT);
        for first in (0..self.rows).step_by(tile_rows) {
            tiles.push(Tile {
                codes_at: unit(first * shape.octets() * UNIT)?,
                heads_at: unit(at.heads + first * UNIT)?,
                tids_at: unit(at.tids + first * 8)?,
                rows: as_u32(tile_rows.min(self.rows - first))?,
                norms_at: unit(at.norms + first * 4)?,
                vectors_at: if shape.vectors {
                    unit(at.vectors + first * shape.vector_units() * UNIT)?
                } else {
                    u32::MAX
                },
                reserved: [0; 2],
            });
        }
        Ok(())
    }
}
