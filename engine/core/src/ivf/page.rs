//! The bytes that every page of the index begins with.
//!
//! A page starts with PostgreSQL's 24-byte page header, so that checksums, WAL and page inspection work, followed by
//! an 8-byte tag. Offsets of the header are those of `PageHeaderData` in PostgreSQL 14 to 18; the root crate asserts
//! them against the server's headers. Integers are little-endian.

use crate::error::{Error, Result};

/// Bytes of a page; the only block size supported.
pub const PAGE_SIZE: usize = 8192;
/// Where the tag starts: behind PostgreSQL's page header.
pub const TAG_AT: usize = 24;
/// Where the contents start: behind the tag.
pub const CONTENT_AT: usize = TAG_AT + 8;
/// Bytes of contents of a page that holds nothing but a run of records.
pub const RUN_BYTES: usize = PAGE_SIZE - CONTENT_AT;
/// A block number that means none, as in PostgreSQL.
pub const NO_BLOCK: u32 = u32::MAX;

const LOWER_AT: usize = 12;
const UPPER_AT: usize = 14;
const SPECIAL_AT: usize = 16;
const SIZE_VERSION_AT: usize = 18;
const PAGE_LAYOUT_VERSION: u16 = 4;
const OWNER_AT: usize = TAG_AT + 4;

#[cfg(target_endian = "big")]
compile_error!("index pages hold little-endian vectors that are read in place");

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Block 0.
    Meta = 1,
    /// A run of centroids.
    Centroids = 2,
    /// A run of head-block numbers, one for each list.
    Directory = 3,
    /// The first page of a group of rows.
    Group = 4,
    /// A further page of a group.
    Continuation = 5,
    /// The first page of a group that is on the free list.
    Free = 6,
}

impl Kind {
    fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Meta,
            2 => Self::Centroids,
            3 => Self::Directory,
            4 => Self::Group,
            5 => Self::Continuation,
            6 => Self::Free,
            _ => return None,
        })
    }
}

/// Reads a little-endian u16; `at` is a constant offset within a page.
pub fn u16_at(page: &[u8], at: usize) -> u16 {
    let mut bytes = [0; 2];
    bytes.copy_from_slice(&page[at..at + 2]);
    u16::from_le_bytes(bytes)
}

/// Reads a little-endian u32; `at` is a constant offset within a page.
pub fn u32_at(page: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&page[at..at + 4]);
    u32::from_le_bytes(bytes)
}

/// Reads a little-endian u64; `at` is a constant offset within a page.
pub fn u64_at(page: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Writes a little-endian u16.
pub fn put_u16(page: &mut [u8], at: usize, value: u16) {
    page[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Writes a little-endian u32.
pub fn put_u32(page: &mut [u8], at: usize, value: u32) {
    page[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Writes a little-endian u64.
pub fn put_u64(page: &mut [u8], at: usize, value: u64) {
    page[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Makes `page` an empty page of `kind`: zeroes, page header, tag.
///
/// `used` is where its contents end; behind it lies the hole that WAL leaves out.
///
/// # Panics
/// When `used` does not lie between `CONTENT_AT` and `PAGE_SIZE`.
pub fn format(page: &mut [u8], kind: Kind, owner: u32, used: usize) {
    assert!(page.len() == PAGE_SIZE && (CONTENT_AT..=PAGE_SIZE).contains(&used));
    page.fill(0);
    let size = u16::try_from(PAGE_SIZE).expect("a page is 8192 bytes");
    put_u16(page, LOWER_AT, u16::try_from(used).expect("checked above"));
    put_u16(page, UPPER_AT, size);
    put_u16(page, SPECIAL_AT, size);
    put_u16(page, SIZE_VERSION_AT, size | PAGE_LAYOUT_VERSION);
    retag(page, kind, owner);
}

/// Whether the page is all zeroes, as an extension of the file leaves it.
pub fn is_new(page: &[u8]) -> bool {
    u16_at(page, UPPER_AT) == 0
}

/// Changes what a formatted page says it holds, and for which list.
pub fn retag(page: &mut [u8], kind: Kind, owner: u32) {
    put_u16(page, TAG_AT, kind as u16);
    put_u32(page, OWNER_AT, owner);
}

/// What the page says it holds, if it is one of ours.
pub fn kind(page: &[u8]) -> Option<Kind> {
    Kind::from_code(u16_at(page, TAG_AT))
}

/// The list that a page belongs to.
pub fn owner(page: &[u8]) -> u32 {
    u32_at(page, OWNER_AT)
}

/// Checks that `block` holds what the caller followed a pointer to.
///
/// # Errors
/// `CorruptIndex` naming the block.
pub fn expect(page: &[u8], block: u32, wanted: Kind) -> Result<()> {
    if page.len() == PAGE_SIZE && kind(page) == Some(wanted) {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "block {block} of the index holds {} where {wanted:?} was expected",
        kind(page).map_or_else(
            || format!("kind {}", u16_at(page, TAG_AT)),
            |kind| format!("{kind:?}")
        )
    ))
    .with_hint("REINDEX the index."))
}
