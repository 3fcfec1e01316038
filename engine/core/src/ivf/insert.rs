//! Adds one row to its nearest list.
//!
//! Locks: list head, tail group, metapage, free group, in this order. A list without rows has no pages; its first row
//! gives it a group, under the lock of its directory page.

use crate::backend::{Backend, KeepWaiting};
use crate::error::Result;
use crate::metric::Element;
use crate::quantize;

use super::build::EncodedRow;
use super::centroids;
use super::encode::RowEncoder;
use super::layout::{self, ListHead, Meta, Shape, Tid};
use super::page::{self, Kind, NO_BLOCK};
use super::search::{directory_place, nearest_list};
use super::store::PageStore;
use super::value::IndexValue;
use super::write::{self, NewGroup, Placement};

/// Adds the row of the heap row `tid`, whose value is `value`.
///
/// # Errors
/// `CorruptIndex`; what the store or the backend reports. Nothing is lost then, and the row is not in the index.
pub fn insert<S: PageStore>(
    store: &S,
    meta: &Meta,
    backend: &mut dyn Backend,
    tid: Tid,
    value: IndexValue<'_>,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    let list = nearest_list(store, meta, backend, value.vector, keep_waiting)?;
    let mut encoder = RowEncoder::new(meta);
    if let Some(sparse) = value.sparse {
        return append(store, meta, list, encoder.encode_sparse(tid, sparse)?);
    }
    let mut centroid = Vec::new();
    if encoder.needs_centroid() {
        centroids::with_one(store, meta, list, &mut Vec::new(), |bytes| {
            quantize::decode(Element::F32, bytes, &mut centroid)
        })??;
    }
    append(
        store,
        meta,
        list,
        encoder.encode(tid, value.vector, list, &centroid)?,
    )
}

/// Adds a row to list `list`.
///
/// # Errors
/// As [`insert`].
pub fn append<S: PageStore>(store: &S, meta: &Meta, list: u32, row: EncodedRow<'_>) -> Result<()> {
    let shape = meta.shape();
    let (directory_block, at) = directory_place(meta, list);
    let head_block = {
        let directory = store.share(directory_block)?;
        page::expect(&directory, directory_block, Kind::Directory)?;
        page::u32_at(&directory, at)
    };
    if head_block != NO_BLOCK {
        return append_to_list(store, meta, &shape, list, head_block, row);
    }
    let mut directory = store.exclusive(directory_block)?;
    page::expect(&directory, directory_block, Kind::Directory)?;
    let head_block = page::u32_at(&directory, at);
    if head_block != NO_BLOCK {
        drop(directory);
        return append_to_list(store, meta, &shape, list, head_block, row);
    }
    let group = write::allocate_group(store, &shape)?;
    let block = group.block;
    let head = ListHead {
        version: 1,
        epoch: 1,
        tail: block,
        groups: 1,
        rows: 1,
    };
    publish_in_new_group(
        store,
        &shape,
        list,
        group,
        row,
        &mut [&mut directory],
        &mut |images, new| {
            page::put_u32(images[0], at, block);
            head.write(new);
        },
    )
}

fn append_to_list<S: PageStore>(
    store: &S,
    meta: &Meta,
    shape: &Shape,
    list: u32,
    head_block: u32,
    row: EncodedRow<'_>,
) -> Result<()> {
    let blocks = store.blocks()?;
    meta.check_group_block(head_block, blocks)?;
    let mut head_page = store.exclusive(head_block)?;
    layout::check_group(&head_page, head_block, list, shape)?;
    let mut head = ListHead::read(&head_page);
    head.version += 1;
    head.rows += 1;
    let tail_block = head.tail;
    let mut tail_page = None;
    if tail_block != head_block {
        meta.check_group_block(tail_block, store.blocks()?)?;
        let page = store.exclusive(tail_block)?;
        layout::check_group(&page, tail_block, list, shape)?;
        tail_page = Some(page);
    }
    let slot = layout::count(tail_page.as_ref().map_or(&head_page[..], |page| &page[..]));
    let mut pages: Vec<&mut S::Exclusive> = Vec::with_capacity(2);
    pages.push(&mut head_page);
    pages.extend(tail_page.as_mut());
    if slot < shape.rows {
        let placement = Placement { slot, row };
        write::write_continuations(store, shape, tail_block, &[placement])?;
        return store.apply(&mut pages, &mut |images| {
            head.write(images[0]);
            let last = images.len() - 1;
            write::write_first_page(images[last], shape, &placement);
            layout::set_count(images[last], slot + 1);
        });
    }
    let group = write::allocate_group(store, shape)?;
    let block = group.block;
    head.tail = block;
    head.groups += 1;
    publish_in_new_group(store, shape, list, group, row, &mut pages, &mut |images, _| {
        head.write(images[0]);
        let last = images.len() - 1;
        layout::set_next(images[last], block);
    })
}

/// Changes the linking pages and the new group's first page.
type LinkEdit<'a> = dyn FnMut(&mut [&mut [u8]], &mut [u8]) + 'a;

/// Writes the first row of `group` and, in the same record, links the group by `edit(linking pages, first page)`.
fn publish_in_new_group<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: u32,
    mut group: NewGroup<S>,
    row: EncodedRow<'_>,
    linking: &mut [&mut S::Exclusive],
    edit: &mut LinkEdit<'_>,
) -> Result<()> {
    let placement = Placement { slot: 0, row };
    write::write_continuations(store, shape, group.block, &[placement])?;
    let links = linking.len();
    let mut pages: Vec<&mut S::Exclusive> = linking.iter_mut().map(|page| &mut **page).collect();
    pages.push(&mut group.page);
    let mut free_list = None;
    if let Some((page, meta)) = group.meta.as_mut() {
        pages.push(page);
        free_list = Some(*meta);
    }
    store.apply(&mut pages, &mut |images| {
        let (before, rest) = images.split_at_mut(links);
        let (new, meta_page) = rest.split_at_mut(1);
        page::retag(new[0], Kind::Group, list);
        layout::set_next(new[0], NO_BLOCK);
        layout::set_count(new[0], 1);
        layout::set_dead(new[0], 0);
        write::write_first_page(new[0], shape, &placement);
        edit(before, new[0]);
        if let (Some(meta), Some(page)) = (free_list, meta_page.first_mut()) {
            meta.write_free_list(page);
        }
    })
}
