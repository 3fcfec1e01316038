//! Writes rows into slots that no reader looks at, and takes groups from and to the free list.
//!
//! A row may span more pages than one record can change, so its code goes into an unused slot first, in as many
//! records as it takes; only the record that then changes the group's first page makes it a row. A crash or a standby
//! in between sees an unused slot with some bytes in it.

use crate::error::Result;

use super::build::{EncodedRow, format_group_page};
use super::layout::{self, Meta, Shape};
use super::page::{self, Kind, NO_BLOCK};
use super::store::{PageStore, RECORD_PAGES};

/// A row to be written into slot `slot` of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement<'a> {
    /// An unused slot.
    pub(super) slot: usize,
    /// What goes there.
    pub(super) row: EncodedRow<'a>,
}

/// Writes the parts of the codes that lie behind the group's first page.
pub(super) fn write_continuations<S: PageStore>(
    store: &S,
    shape: &Shape,
    group: u32,
    rows: &[Placement<'_>],
) -> Result<()> {
    let mut pages: Vec<usize> = rows
        .iter()
        .flat_map(|row| {
            let filter = shape.filter_places(row.slot).map(|(page, _)| page);
            filter.chain(shape.pieces(row.slot).map(|piece| piece.page))
        })
        .filter(|page| *page > 0)
        .collect();
    pages.sort_unstable();
    pages.dedup();
    for chunk in pages.chunks(RECORD_PAGES) {
        let mut locked = Vec::with_capacity(RECORD_PAGES);
        for index in chunk {
            let block = group + u32::try_from(*index).expect("at most 32 pages");
            let page = store.exclusive(block)?;
            page::expect(&page, block, Kind::Continuation)?;
            locked.push(page);
        }
        let mut refs: Vec<&mut S::Exclusive> = locked.iter_mut().collect();
        store.apply(&mut refs, &mut |images| {
            for (image, index) in images.iter_mut().zip(chunk) {
                for row in rows {
                    write_pieces(image, shape, *index, row);
                }
            }
        })?;
    }
    Ok(())
}

/// Writes TID, factors and the first page's part of the code; the caller changes the count in the same record.
pub(super) fn write_first_page(page: &mut [u8], shape: &Shape, row: &Placement<'_>) {
    layout::set_tid(page, row.slot, row.row.tid);
    for (run, value) in row.row.factors.iter().enumerate() {
        layout::set_factor(page, shape, run, row.slot, *value);
    }
    write_pieces(page, shape, 0, row);
}

fn write_pieces(page: &mut [u8], shape: &Shape, index: usize, row: &Placement<'_>) {
    for ((place, at), byte) in shape.filter_places(row.slot).zip(row.row.filter) {
        if place == index {
            page[at] = *byte;
        }
    }
    for piece in shape.pieces(row.slot).filter(|piece| piece.page == index) {
        let code = &row.row.code[piece.code_at..piece.code_at + piece.len];
        page[piece.at..piece.at + piece.len].copy_from_slice(code);
    }
}

/// A group that belongs to no list yet, its first page locked.
pub(super) struct NewGroup<S: PageStore> {
    pub(super) block: u32,
    pub(super) page: S::Exclusive,
    /// The locked metapage and the free list that its record has to leave there, when the group came from it.
    pub(super) meta: Option<(S::Exclusive, Meta)>,
}

/// Takes a group from the free list, or appends one. It stays on the free list until the caller's record, which
/// links it, also writes the metapage.
pub(super) fn allocate_group<S: PageStore>(store: &S, shape: &Shape) -> Result<NewGroup<S>> {
    let meta_page = store.exclusive(0)?;
    let mut meta = Meta::read(&meta_page)?;
    if meta.free_head == NO_BLOCK {
        drop(meta_page);
        let block = append_group(store, shape)?;
        return Ok(NewGroup {
            block,
            page: store.exclusive(block)?,
            meta: None,
        });
    }
    let block = meta.free_head;
    meta.check_group_block(block, store.blocks()?)?;
    let page = store.exclusive(block)?;
    page::expect(&page, block, Kind::Free)?;
    meta.free_head = layout::next(&page);
    meta.free_groups = meta.free_groups.saturating_sub(1);
    Ok(NewGroup {
        block,
        page,
        meta: Some((meta_page, meta)),
    })
}

/// Extends the index by a formatted group that nothing points to. A crash before it is linked loses its pages until
/// the next REINDEX.
fn append_group<S: PageStore>(store: &S, shape: &Shape) -> Result<u32> {
    let block = store.extend(shape.group_blocks())?;
    let indexes: Vec<usize> = (0..shape.pages).collect();
    for chunk in indexes.chunks(RECORD_PAGES) {
        let mut locked = Vec::with_capacity(RECORD_PAGES);
        for index in chunk {
            locked.push(store.exclusive(block + u32::try_from(*index).expect("at most 32 pages"))?);
        }
        let mut refs: Vec<&mut S::Exclusive> = locked.iter_mut().collect();
        store.apply(&mut refs, &mut |images| {
            for (image, index) in images.iter_mut().zip(chunk) {
                format_group_page(image, shape, *index, 0);
                if *index == 0 {
                    page::retag(image, Kind::Free, 0);
                }
            }
        })?;
    }
    Ok(block)
}
