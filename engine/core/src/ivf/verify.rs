//! Checks an index page by page, as amcheck does for a btree.
//!
//! Runs under a lock that keeps writers out, so counts must agree exactly. Pages that no list, free list or fixed
//! area reaches are legal leftovers of a crash between extending the index and linking the new group.

use crate::error::{Error, Result};
use crate::quantize::rabitq::fine;

use super::group;
use super::layout::{self, ListHead, Meta, Shape, Tid};
use super::page::{self, CONTENT_AT, Kind, NO_BLOCK, RUN_BYTES};
use super::search::list_head_block;
use super::store::PageStore;

/// What a check found in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows.
    pub rows: u64,
    /// Groups that lists own.
    pub groups: u64,
    /// Groups on the free list.
    pub free_groups: u64,
    /// Pages that nothing points to.
    pub lost_pages: u32,
}

/// Checks everything; calls `seen` with the TID of every row.
///
/// # Errors
/// `CorruptIndex` for the first thing that is wrong; `Cancelled`.
pub fn verify<S: PageStore>(store: &S, seen: &mut dyn FnMut(Tid) -> Result<()>) -> Result<Verified> {
    let meta = Meta::read(&store.share(0)?)?;
    let blocks = store.blocks()?;
    if meta.groups_first > blocks {
        return Err(broken(format!(
            "the index has {blocks} pages, its fixed part alone {}",
            meta.groups_first
        )));
    }
    let mut check = Check {
        store,
        meta,
        shape: meta.shape(),
        blocks,
        owned: vec![false; blocks as usize],
        seen,
    };
    check.fixed_pages()?;
    let mut done = Verified::default();
    for list in 0..meta.lists {
        store.pause()?;
        let head_block = list_head_block(store, &meta, list)?;
        if head_block != NO_BLOCK {
            check.list(list, head_block, &mut done)?;
        }
    }
    check.free_list(&mut done)?;
    let lost = check.owned[meta.groups_first as usize..]
        .iter()
        .filter(|owned| !**owned)
        .count();
    done.lost_pages = u32::try_from(lost).expect("fewer than the index's pages");
    Ok(done)
}

struct Check<'a, S> {
    store: &'a S,
    meta: Meta,
    shape: Shape,
    blocks: u32,
    owned: Vec<bool>,
    seen: &'a mut dyn FnMut(Tid) -> Result<()>,
}

impl<S: PageStore> Check<'_, S> {
    fn fixed_pages(&mut self) -> Result<()> {
        for block in self.meta.centroids_first..self.meta.groups_first {
            let kind = if block < self.meta.directory_first {
                Kind::Centroids
            } else {
                Kind::Directory
            };
            self.store.pause()?;
            let page = self.store.share(block)?;
            page::expect(&page, block, kind)?;
            if kind == Kind::Centroids {
                let at = (block - self.meta.centroids_first) as usize * RUN_BYTES;
                let len = (self.meta.lists as usize * self.meta.dims as usize * 4 - at).min(RUN_BYTES);
                let finite = page[CONTENT_AT..CONTENT_AT + len]
                    .chunks_exact(4)
                    .all(|bytes| f32::from_bits(page::u32_at(bytes, 0)).is_finite());
                if !finite {
                    return Err(broken(format!(
                        "block {block} of the index holds a centroid that is not finite"
                    )));
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, list: u32, head_block: u32, done: &mut Verified) -> Result<()> {
        let (mut block, mut last, mut rows, mut groups) = (head_block, head_block, 0, 0);
        let mut head = None;
        while block != NO_BLOCK {
            self.store.pause()?;
            self.own(block)?;
            let page = self.store.share(block)?;
            layout::check_group(&page, block, list, &self.shape)?;
            if block == head_block {
                head = Some(ListHead::read(&page));
            }
            rows += self.rows(&page, block)?;
            groups += 1;
            last = block;
            block = layout::next(&page);
            drop(page);
            self.continuations(last)?;
        }
        let head = head.ok_or_else(|| broken(format!("list {list} has no head page")))?;
        if head.tail != last || u64::from(head.groups) != groups || head.rows != rows {
            return Err(broken(format!(
                "the head of list {list} says {} rows in {} groups up to block {}, found were {rows} in {groups} up to {last}",
                head.rows, head.groups, head.tail
            )));
        }
        done.rows += rows;
        done.groups += groups;
        Ok(())
    }

    fn rows(&mut self, page: &[u8], block: u32) -> Result<u64> {
        let (mut rows, mut dead) = (0, 0);
        for slot in 0..layout::count(page) {
            let tid = layout::tid(page, slot);
            if tid.is_tombstone() {
                dead += 1;
                continue;
            }
            if tid.block() == NO_BLOCK {
                return Err(broken(format!(
                    "slot {slot} of block {block} holds no valid row pointer"
                )));
            }
            for run in 0..self.shape.factors.count() {
                let factor = layout::factor(page, &self.shape, run, slot);
                if factor.is_nan() || (factor < 0.0 && !self.shape.factors.is_signed(run)) {
                    return Err(broken(format!(
                        "slot {slot} of block {block} holds a factor that is negative or no number"
                    )));
                }
            }
            if self.shape.fine_bytes > 0 && self.id(page, block, slot)? != tid.0 {
                return Err(broken(format!(
                    "slot {slot} of block {block} holds the code of another row"
                )));
            }
            (self.seen)(tid)?;
            rows += 1;
        }
        if dead != layout::dead(page) {
            return Err(broken(format!(
                "block {block} of the index says it has {} dead rows and has {dead}",
                layout::dead(page)
            )));
        }
        Ok(rows)
    }

    /// Whose 4-bit code the one in `slot` of the group at `block` is, by its head.
    fn id(&self, first_page: &[u8], block: u32, slot: usize) -> Result<u64> {
        let mut head = Vec::with_capacity(fine::HEAD_BYTES);
        let pieces = self.shape.pieces_in(slot, 0..fine::HEAD_BYTES);
        group::append(self.store, first_page, block, pieces, &mut head)?;
        Ok(fine::id(&head))
    }

    fn continuations(&self, block: u32) -> Result<()> {
        for further in block + 1..block + self.shape.group_blocks() {
            page::expect(&self.store.share(further)?, further, Kind::Continuation)?;
        }
        Ok(())
    }

    fn free_list(&mut self, done: &mut Verified) -> Result<()> {
        let mut block = self.meta.free_head;
        while block != NO_BLOCK {
            self.store.pause()?;
            self.own(block)?;
            let page = self.store.share(block)?;
            page::expect(&page, block, Kind::Free)?;
            block = layout::next(&page);
            done.free_groups += 1;
        }
        if done.free_groups != u64::from(self.meta.free_groups) {
            return Err(broken(format!(
                "the metapage says {} groups are free, found were {}",
                self.meta.free_groups, done.free_groups
            )));
        }
        Ok(())
    }

    /// Marks the pages of a group as owned; a second owner or a circle is an error.
    fn own(&mut self, block: u32) -> Result<()> {
        self.meta.check_group_block(block, self.blocks)?;
        for page in block..block + self.shape.group_blocks() {
            if std::mem::replace(&mut self.owned[page as usize], true) {
                return Err(broken(format!("block {page} of the index is reached twice")));
            }
        }
        Ok(())
    }
}

fn broken(message: String) -> Error {
    Error::corrupt(message).with_hint("REINDEX the index.")
}
