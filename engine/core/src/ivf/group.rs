//! The further pages of a group, and the bytes of a row that lie on them.

use crate::error::Result;

use super::layout::Piece;
use super::page::{self, Kind};
use super::store::PageStore;

/// The block of page `index` of the group at `block`.
pub(super) fn page_of(block: u32, index: usize) -> u32 {
    block + u32::try_from(index).expect("at most 32 pages")
}

/// Locks page `index`, from 1, of the group at `block` for reading.
///
/// # Errors
/// `CorruptIndex`.
pub(super) fn further<S: PageStore>(store: &S, block: u32, index: usize) -> Result<S::Shared> {
    let block = page_of(block, index);
    let page = store.share(block)?;
    page::expect(&page, block, Kind::Continuation)?;
    Ok(page)
}

/// Appends some pieces of a row to `out`; the group's first page is locked.
///
/// # Errors
/// `CorruptIndex`.
pub(super) fn append<S: PageStore>(
    store: &S,
    first_page: &[u8],
    block: u32,
    pieces: impl Iterator<Item = Piece>,
    out: &mut Vec<u8>,
) -> Result<()> {
    for piece in pieces {
        let bytes = piece.at..piece.at + piece.len;
        if piece.page == 0 {
            out.extend_from_slice(&first_page[bytes]);
        } else {
            out.extend_from_slice(&further(store, block, piece.page)?[bytes]);
        }
    }
    Ok(())
}
