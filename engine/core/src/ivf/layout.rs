//! Where everything lies: the shape of a group, the metapage, the fields of a group's first page.
//!
//! A *group* is a few neighbouring pages that hold as many rows as fit: TIDs, then each factor as its own run, then the
//! 1-bit codes where there are such, in blocks of 16 rows that hold each byte of all of them side by side, then the
//! codes. Both go on over the further pages, so that a row of any size fits and wide loads see long runs. All groups
//! of an index have the same shape, so a freed group fits any list.

use crate::error::{Error, Result};

use super::page::{self, CONTENT_AT, Kind, RUN_BYTES};

mod meta;
mod shape;

pub use meta::{FORMAT_VERSION, MAGIC, Meta};
pub use shape::{Factors, MAX_FILTERED_GROUP_PAGES, MAX_GROUP_PAGES, Piece, Shape};

/// Where a group's TIDs start in its first page.
pub const TIDS_AT: usize = CONTENT_AT + 64;
/// Bytes of a TID: heap block u32, offset u16.
pub const TID_BYTES: usize = 6;
/// Head-block numbers in a directory page.
pub const DIRECTORY_ENTRIES: usize = RUN_BYTES / 4;

const COUNT_AT: usize = CONTENT_AT;
const DEAD_AT: usize = COUNT_AT + 2;
const NEXT_AT: usize = DEAD_AT + 2;
const VERSION_AT: usize = NEXT_AT + 4;
const EPOCH_AT: usize = VERSION_AT + 8;
const TAIL_AT: usize = EPOCH_AT + 8;
const GROUPS_AT: usize = TAIL_AT + 4;
const ROWS_AT: usize = GROUPS_AT + 4;
const _: () = assert!(ROWS_AT + 8 <= TIDS_AT);

/// A heap row's place: `block << 16 | offset`. Offset 0 is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub u64);

impl Tid {
    /// A slot without a row.
    pub const TOMBSTONE: Self = Self(0);

    /// Packs a heap block and offset.
    pub const fn new(block: u32, offset: u16) -> Self {
        Self((block as u64) << 16 | offset as u64)
    }

    /// Heap block.
    #[expect(clippy::cast_possible_truncation, reason = "made from a u32 block")]
    pub const fn block(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Offset in the heap block, from 1.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 16 bits are what is asked for"
    )]
    pub const fn offset(self) -> u16 {
        self.0 as u16
    }

    /// Whether the slot holds no row.
    pub const fn is_tombstone(self) -> bool {
        self.offset() == 0
    }
}

/// Slots in use in a group, tombstones included.
pub fn count(page: &[u8]) -> usize {
    usize::from(page::u16_at(page, COUNT_AT))
}

/// Writes [`count`].
pub fn set_count(page: &mut [u8], count: usize) {
    page::put_u16(
        page,
        COUNT_AT,
        u16::try_from(count).expect("a group holds fewer than 65,536 rows"),
    );
}

/// Tombstones in a group.
pub fn dead(page: &[u8]) -> usize {
    usize::from(page::u16_at(page, DEAD_AT))
}

/// Writes [`dead`].
pub fn set_dead(page: &mut [u8], dead: usize) {
    page::put_u16(
        page,
        DEAD_AT,
        u16::try_from(dead).expect("a group holds fewer than 65,536 rows"),
    );
}

/// The list's next group, or the next free group.
pub fn next(page: &[u8]) -> u32 {
    page::u32_at(page, NEXT_AT)
}

/// Writes [`next`].
pub fn set_next(page: &mut [u8], block: u32) {
    page::put_u32(page, NEXT_AT, block);
}

/// The TID in slot `slot`.
pub fn tid(page: &[u8], slot: usize) -> Tid {
    let at = TIDS_AT + slot * TID_BYTES;
    Tid::new(page::u32_at(page, at), page::u16_at(page, at + 4))
}

/// Writes [`tid`].
pub fn set_tid(page: &mut [u8], slot: usize, tid: Tid) {
    let at = TIDS_AT + slot * TID_BYTES;
    page::put_u32(page, at, tid.block());
    page::put_u16(page, at + 4, tid.offset());
}

/// The f32 of slot `slot` in factor run `run`.
pub fn factor(page: &[u8], shape: &Shape, run: usize, slot: usize) -> f32 {
    f32::from_bits(page::u32_at(page, shape.factor_run_at(run) + slot * 4))
}

/// Factor run `run` of the first `rows` slots where it lies, or a copy of it where the page is not aligned.
pub(super) fn factor_run_or_copy<'a>(
    page: &'a [u8],
    shape: &Shape,
    run: usize,
    rows: usize,
    copy: &'a mut Vec<f32>,
) -> &'a [f32] {
    if let Some(run) = shape.factor_run(page, run, rows) {
        return run;
    }
    copy.clear();
    copy.extend((0..rows).map(|slot| factor(page, shape, run, slot)));
    copy
}

/// Writes [`factor`].
pub fn set_factor(page: &mut [u8], shape: &Shape, run: usize, slot: usize, value: f32) {
    page::put_u32(page, shape.factor_run_at(run) + slot * 4, value.to_bits());
}

/// What a list's head page says of the whole list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListHead {
    /// Raised by every change of the list.
    pub version: u64,
    /// Raised by every change that is not an append.
    pub epoch: u64,
    /// Last group.
    pub tail: u32,
    /// Number of groups.
    pub groups: u32,
    /// Rows, tombstones not counted.
    pub rows: u64,
}

impl ListHead {
    /// Reads the head of a list.
    pub fn read(page: &[u8]) -> Self {
        Self {
            version: page::u64_at(page, VERSION_AT),
            epoch: page::u64_at(page, EPOCH_AT),
            tail: page::u32_at(page, TAIL_AT),
            groups: page::u32_at(page, GROUPS_AT),
            rows: page::u64_at(page, ROWS_AT),
        }
    }

    /// Writes the head of a list.
    pub fn write(&self, page: &mut [u8]) {
        page::put_u64(page, VERSION_AT, self.version);
        page::put_u64(page, EPOCH_AT, self.epoch);
        page::put_u32(page, TAIL_AT, self.tail);
        page::put_u32(page, GROUPS_AT, self.groups);
        page::put_u64(page, ROWS_AT, self.rows);
    }
}

/// Checks a group's first page, reached by a pointer from list `list`.
///
/// # Errors
/// `CorruptIndex`.
pub fn check_group(page: &[u8], block: u32, list: u32, shape: &Shape) -> Result<()> {
    page::expect(page, block, Kind::Group)?;
    if page::owner(page) != list {
        return Err(Error::corrupt(format!(
            "block {block} of the index belongs to list {}, not to list {list}",
            page::owner(page)
        ))
        .with_hint("REINDEX the index."));
    }
    if count(page) > shape.rows || dead(page) > count(page) {
        return Err(Error::corrupt(format!(
            "block {block} of the index has {} rows, {} of them dead, where {} fit",
            count(page),
            dead(page),
            shape.rows
        ))
        .with_hint("REINDEX the index."));
    }
    Ok(())
}
