//! Removes dead rows and gives their space back.
//!
//! Per list, under its head's lock group by group: tombstones first; then the holes are filled with the group's last
//! rows; then, where the group before has much room, rows move there, and an emptied group goes to the free list, from
//! which any list takes it. Every step is a record of its own that leaves a correct list; a scan
//! that a move overtakes sees the raised epoch and starts its list again.

use crate::error::{Error, Result};

use super::build::EncodedRow;
use super::group;
use super::layout::{self, ListHead, Meta, Shape, Tid};
use super::page::{self, Kind, NO_BLOCK, PAGE_SIZE};
use super::search::list_head_block;
use super::store::PageStore;
use super::write::{self, Placement};

/// A group is filled up with rows of the next one when this share of it is empty.
const ROOM_SHARE: usize = 4;

/// What a pass removed and left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Rows removed.
    pub removed: u64,
    /// Rows left.
    pub left: u64,
    /// Groups put on the free list.
    pub freed_groups: u64,
}

/// Removes every row for which `is_dead` answers true.
///
/// # Errors
/// `CorruptIndex`, `Cancelled`; what was done so far stays done and the index is correct.
pub fn bulk_delete<S: PageStore>(store: &S, is_dead: &mut dyn FnMut(Tid) -> bool) -> Result<Vacuumed> {
    let meta = Meta::read(&store.share(0)?)?;
    let mut pass = Pass {
        store,
        meta,
        shape: meta.shape(),
        is_dead,
        done: Vacuumed::default(),
    };
    for list in 0..meta.lists {
        store.pause()?;
        let head_block = list_head_block(store, &meta, list)?;
        if head_block != NO_BLOCK {
            pass.list(list, head_block)?;
        }
    }
    Ok(pass.done)
}

struct Pass<'a, S> {
    store: &'a S,
    meta: Meta,
    shape: Shape,
    is_dead: &'a mut dyn FnMut(Tid) -> bool,
    done: Vacuumed,
}

/// Changes the head page, and the group's first page where that is another one.
type GroupEdit<'a> = dyn FnMut(&mut [u8], Option<&mut [u8]>) + 'a;

/// An owned row, on its way from one slot to another.
struct MovedRow {
    slot: usize,
    tid: Tid,
    factors: Vec<f32>,
    filter: Vec<u8>,
    code: Vec<u8>,
}

impl<S: PageStore> Pass<'_, S> {
    /// Walks one list. Only VACUUM unlinks groups and only one VACUUM runs, so `before` stays in the list while
    /// nothing is locked.
    fn list(&mut self, list: u32, head_block: u32) -> Result<()> {
        let mut before = head_block;
        let mut steps = 0;
        loop {
            let blocks = self.store.blocks()?;
            if steps > blocks {
                return Err(Error::corrupt(format!("the groups of list {list} form a circle")));
            }
            steps += 1;
            let mut head = self.locked_group(list, head_block)?;
            if steps == 1 {
                self.clean_group(&mut head, head_block, None)?;
                continue;
            }
            let mut previous = if before == head_block {
                None
            } else {
                Some(self.locked_group(list, before)?)
            };
            let block = layout::next(previous.as_ref().map_or(&head[..], |page| &page[..]));
            if block == NO_BLOCK {
                self.done.left += ListHead::read(&head).rows;
                return Ok(());
            }
            let mut group = self.locked_group(list, block)?;
            self.clean_group(&mut head, head_block, Some((&mut group, block)))?;
            let room = self.shape.rows - layout::count(previous.as_ref().map_or(&head[..], |page| &page[..]));
            let count = layout::count(&group);
            // A few holes are left to the rows that INSERT brings; more are worth moving rows for.
            let moved = if count <= room {
                count
            } else if room * ROOM_SHARE >= self.shape.rows {
                room
            } else {
                0
            };
            self.merge(&mut head, previous.as_mut(), before, &mut group, block, moved)?;
            if moved < count {
                before = block;
            } else {
                self.unlink(
                    &mut head,
                    head_block,
                    previous.as_mut(),
                    before,
                    &mut group,
                    block,
                )?;
            }
            drop((group, previous, head));
            self.store.pause()?;
        }
    }

    fn locked_group(&self, list: u32, block: u32) -> Result<S::Exclusive> {
        // How long the index was a moment ago says nothing of a group that was linked since; the store itself refuses a
        // block that the index does not have.
        self.meta.check_group_block(block, NO_BLOCK)?;
        let page = self.store.exclusive(block)?;
        layout::check_group(&page, block, list, &self.shape)?;
        Ok(page)
    }

    /// Removes the dead rows of a group and fills their slots with its last rows. `group` is `None` for the head's own.
    fn clean_group(
        &mut self,
        head: &mut S::Exclusive,
        head_block: u32,
        mut group: Option<(&mut S::Exclusive, u32)>,
    ) -> Result<()> {
        let (slots, first_block) = {
            let page: &[u8] = group.as_ref().map_or(&head[..], |(page, _)| &page[..]);
            let slots: Vec<Tid> = (0..layout::count(page))
                .map(|slot| layout::tid(page, slot))
                .collect();
            (slots, group.as_ref().map_or(head_block, |(_, block)| *block))
        };
        let mut holes: Vec<bool> = slots.iter().map(|tid| tid.is_tombstone()).collect();
        let dead: Vec<usize> = (0..slots.len())
            .filter(|slot| !holes[*slot] && (self.is_dead)(slots[*slot]))
            .collect();
        dead.iter().for_each(|slot| holes[*slot] = true);
        if !holes.contains(&true) {
            return Ok(());
        }
        let hole_count = holes.iter().filter(|hole| **hole).count();
        let mut list = ListHead::read(head);
        list.version += 1;
        list.epoch += 1;
        list.rows = list.rows.saturating_sub(dead.len() as u64);
        self.apply_group(
            head,
            group.as_mut().map(|(page, _)| &mut **page),
            &mut |head, page| {
                list.write(head);
                let page = page.unwrap_or(head);
                for slot in &dead {
                    layout::set_tid(page, *slot, Tid::TOMBSTONE);
                }
                layout::set_dead(page, hole_count);
            },
        )?;
        self.done.removed += dead.len() as u64;
        let live = slots.len() - hole_count;
        let movers = (live..slots.len()).filter(|slot| !holes[*slot]);
        let targets = (0..live).filter(|slot| holes[*slot]);
        let page: &[u8] = group.as_ref().map_or(&head[..], |(page, _)| &page[..]);
        let mut moved = Vec::new();
        for (from, to) in movers.zip(targets) {
            moved.push(self.read_row(page, first_block, from, to)?);
        }
        let placements = placements(&moved);
        write::write_continuations(self.store, &self.shape, first_block, &placements)?;
        list.version += 1;
        list.epoch += 1;
        let shape = self.shape;
        self.apply_group(head, group.map(|(page, _)| page), &mut |head, page| {
            list.write(head);
            let page = page.unwrap_or(head);
            for row in &placements {
                write::write_first_page(page, &shape, row);
            }
            layout::set_count(page, live);
            layout::set_dead(page, 0);
        })
    }

    /// Moves the last `rows` rows of `group` into the group before it, which has room for them.
    fn merge(
        &mut self,
        head: &mut S::Exclusive,
        previous: Option<&mut S::Exclusive>,
        before: u32,
        group: &mut S::Exclusive,
        block: u32,
        rows: usize,
    ) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let start = layout::count(previous.as_ref().map_or(&head[..], |page| &page[..]));
        let left = layout::count(group) - rows;
        let mut moved = Vec::with_capacity(rows);
        for row in 0..rows {
            moved.push(self.read_row(group, block, left + row, start + row)?);
        }
        let placements = placements(&moved);
        write::write_continuations(self.store, &self.shape, before, &placements)?;
        let mut list = ListHead::read(head);
        list.version += 1;
        list.epoch += 1;
        let (shape, mut pages) = (self.shape, vec![head]);
        pages.extend(previous);
        pages.push(group);
        self.store.apply(&mut pages, &mut |images| {
            list.write(images[0]);
            let target = images.len() - 2;
            for row in &placements {
                write::write_first_page(images[target], &shape, row);
            }
            layout::set_count(images[target], start + placements.len());
            layout::set_count(images[target + 1], left);
        })
    }

    /// Takes an empty group out of the list and puts it on the free list.
    fn unlink(
        &mut self,
        head: &mut S::Exclusive,
        head_block: u32,
        previous: Option<&mut S::Exclusive>,
        before: u32,
        group: &mut S::Exclusive,
        block: u32,
    ) -> Result<()> {
        debug_assert!(previous.is_some() || before == head_block);
        let mut meta_page = self.store.exclusive(0)?;
        let mut meta = Meta::read(&meta_page)?;
        let (next, free_next) = (layout::next(group), meta.free_head);
        meta.free_head = block;
        meta.free_groups += 1;
        let mut list = ListHead::read(head);
        list.version += 1;
        list.epoch += 1;
        list.groups = list.groups.saturating_sub(1);
        if list.tail == block {
            list.tail = before;
        }
        let mut pages = vec![head];
        pages.extend(previous);
        pages.push(group);
        pages.push(&mut meta_page);
        self.store.apply(&mut pages, &mut |images| {
            let freed = images.len() - 2;
            list.write(images[0]);
            layout::set_next(images[freed - 1], next);
            page::retag(images[freed], Kind::Free, 0);
            layout::set_next(images[freed], free_next);
            meta.write_free_list(images[freed + 1]);
        })?;
        self.done.freed_groups += 1;
        Ok(())
    }

    fn apply_group(
        &self,
        head: &mut S::Exclusive,
        group: Option<&mut S::Exclusive>,
        edit: &mut GroupEdit<'_>,
    ) -> Result<()> {
        let mut pages = vec![head];
        pages.extend(group);
        self.store.apply(&mut pages, &mut |images| {
            let (head, rest) = images.split_at_mut(1);
            edit(head[0], rest.first_mut().map(|page| &mut **page));
        })
    }

    /// Reads the row in slot `from` of the group whose first page is `page`, at `block`; it is to go to slot `to` somewhere.
    fn read_row(&self, page: &[u8], block: u32, from: usize, to: usize) -> Result<MovedRow> {
        let shape = &self.shape;
        let mut filter = Vec::with_capacity(shape.filter_bytes);
        let mut locked = None;
        for (index, at) in shape.filter_places(from) {
            if index == 0 {
                filter.push(page[at]);
                continue;
            }
            if locked.as_ref().is_none_or(|(at, _)| *at != index) {
                drop(locked.take());
                locked = Some((index, group::further(self.store, block, index)?));
            }
            filter.extend(locked.as_ref().map(|(_, page)| page[at]));
        }
        drop(locked);
        let mut code = Vec::with_capacity(shape.code_bytes);
        group::append(self.store, page, block, shape.pieces(from), &mut code)?;
        debug_assert_eq!(page.len(), PAGE_SIZE);
        let factors = (0..self.shape.factors.count())
            .map(|run| layout::factor(page, &self.shape, run, from))
            .collect();
        Ok(MovedRow {
            slot: to,
            tid: layout::tid(page, from),
            factors,
            filter,
            code,
        })
    }
}

fn placements(rows: &[MovedRow]) -> Vec<Placement<'_>> {
    rows.iter()
        .map(|row| Placement {
            slot: row.slot,
            row: EncodedRow {
                tid: row.tid,
                factors: &row.factors,
                filter: &row.filter,
                code: &row.code,
            },
        })
        .collect()
}
