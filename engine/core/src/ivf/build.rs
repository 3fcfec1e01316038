//! Writes a whole index in physical order: metapage, centroids, directory, then each list's groups.
//!
//! The number of rows of every list is known before the first page is written, so every block number is too: lists
//! lie one after the other, groups of a list are neighbours, and nothing is written twice.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DIMS;

use super::layout::{self, DIRECTORY_ENTRIES, ListHead, Meta, Shape, Tid};
use super::page::{self, CONTENT_AT, Kind, NO_BLOCK, PAGE_SIZE, RUN_BYTES};

/// Takes the pages of a new index in block order.
pub trait PageSink {
    /// Appends whole pages.
    ///
    /// # Errors
    /// What the storage reports.
    fn append(&mut self, pages: &[u8]) -> Result<()>;
}

/// A row as the index stores it.
#[derive(Debug, Clone, Copy)]
pub struct EncodedRow<'a> {
    /// Its heap row.
    pub tid: Tid,
    /// Its factors, in the order of the runs.
    pub factors: &'a [f32],
    /// Its 1-bit code, `filter_bytes` long.
    pub filter: &'a [u8],
    /// Its code, `code_bytes` long.
    pub code: &'a [u8],
}

/// Writes the groups of a new index; rows come in ascending order of their list.
pub struct Builder<S> {
    sink: S,
    shape: Shape,
    meta: Meta,
    list_rows: Vec<u64>,
    group: Vec<u8>,
    group_block: u32,
    list: u32,
    list_written: u64,
    list_head: u32,
}

impl<S: PageSink> Builder<S> {
    /// Writes metapage, centroids (`[lists, dims]` row-major) and directory for lists of the given sizes.
    ///
    /// # Errors
    /// `LimitExceeded` when the index would pass 2^32 - 2 pages; what the sink reports.
    ///
    /// # Panics
    /// When `centroids` or `list_rows` do not have `meta.lists` entries.
    pub fn new(mut sink: S, meta: Meta, centroids: &[f32], list_rows: Vec<u64>) -> Result<Self> {
        assert_eq!(centroids.len(), meta.lists as usize * meta.dims as usize);
        assert_eq!(list_rows.len(), meta.lists as usize);
        assert!((1..=MAX_DIMS).contains(&(meta.dims as usize)));
        let shape = meta.shape();
        let heads = list_heads(&meta, &shape, &list_rows)?;
        let mut page = vec![0; PAGE_SIZE];
        meta.format(&mut page);
        sink.append(&page)?;
        write_run(&mut sink, Kind::Centroids, bytemuck::cast_slice(centroids))?;
        for entries in heads.chunks(DIRECTORY_ENTRIES) {
            page::format(&mut page, Kind::Directory, 0, CONTENT_AT + entries.len() * 4);
            for (slot, head) in entries.iter().enumerate() {
                page::put_u32(&mut page, CONTENT_AT + slot * 4, *head);
            }
            sink.append(&page)?;
        }
        Ok(Self {
            sink,
            shape,
            meta,
            list_rows,
            group: Vec::new(),
            group_block: meta.groups_first,
            list: 0,
            list_written: 0,
            list_head: meta.groups_first,
        })
    }

    /// Adds the next row of list `list`.
    ///
    /// # Errors
    /// `Internal` when rows come out of order or a list gets more rows than announced; what the sink reports.
    pub fn push(&mut self, list: u32, row: EncodedRow<'_>) -> Result<()> {
        while self.list < list {
            self.finish_list()?;
        }
        if self.list != list || self.list_written == self.announced() {
            return Err(out_of_step(format!(
                "list {list} got more rows than announced, or out of order"
            )));
        }
        if self.group.is_empty() {
            self.group = new_group(&self.shape, self.list);
        }
        let slot = layout::count(&self.group[..PAGE_SIZE]);
        put_row(&mut self.group, &self.shape, slot, row);
        layout::set_count(&mut self.group, slot + 1);
        self.list_written += 1;
        if slot + 1 == self.shape.rows || self.list_written == self.announced() {
            self.flush_group()?;
        }
        Ok(())
    }

    /// Ends the index; gives the sink back.
    ///
    /// # Errors
    /// `Internal` when a list got fewer rows than announced.
    pub fn finish(mut self) -> Result<S> {
        while self.list < self.meta.lists {
            self.finish_list()?;
        }
        Ok(self.sink)
    }

    fn announced(&self) -> u64 {
        self.list_rows[self.list as usize]
    }

    fn finish_list(&mut self) -> Result<()> {
        if self.list >= self.meta.lists || self.list_written != self.announced() {
            return Err(out_of_step(format!(
                "list {} got {} rows",
                self.list, self.list_written
            )));
        }
        self.list += 1;
        self.list_written = 0;
        self.list_head = self.group_block;
        Ok(())
    }

    fn flush_group(&mut self) -> Result<()> {
        let (blocks, announced) = (self.shape.group_blocks(), self.announced());
        let last = self.list_written == announced;
        layout::set_next(
            &mut self.group,
            if last { NO_BLOCK } else { self.group_block + blocks },
        );
        if self.group_block == self.list_head {
            let groups = u32::try_from(self.shape.groups_for(announced)).expect("checked by list_heads");
            let tail = self.list_head + (groups - 1) * blocks;
            ListHead {
                version: 1,
                epoch: 1,
                tail,
                groups,
                rows: announced,
            }
            .write(&mut self.group);
        }
        self.sink.append(&self.group)?;
        self.group.clear();
        self.group_block += blocks;
        Ok(())
    }
}

fn out_of_step(what: String) -> Error {
    Error::new(ErrorKind::Internal, what)
}

fn list_heads(meta: &Meta, shape: &Shape, list_rows: &[u64]) -> Result<Vec<u32>> {
    let mut next = u64::from(meta.groups_first);
    let mut heads = Vec::with_capacity(list_rows.len());
    for rows in list_rows {
        heads.push(if *rows == 0 {
            NO_BLOCK
        } else {
            u32::try_from(next).unwrap_or(NO_BLOCK)
        });
        next += shape.groups_for(*rows) * u64::from(shape.group_blocks());
    }
    if next >= u64::from(NO_BLOCK) {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the index would take {next} pages, more than a relation can have"),
        ));
    }
    Ok(heads)
}

fn write_run<S: PageSink>(sink: &mut S, kind: Kind, bytes: &[u8]) -> Result<()> {
    let mut page = vec![0; PAGE_SIZE];
    for run in bytes.chunks(RUN_BYTES) {
        page::format(&mut page, kind, 0, CONTENT_AT + run.len());
        page[CONTENT_AT..CONTENT_AT + run.len()].copy_from_slice(run);
        sink.append(&page)?;
    }
    Ok(())
}

/// The formatted pages of an empty group of `list`.
pub(super) fn new_group(shape: &Shape, list: u32) -> Vec<u8> {
    let mut pages = vec![0; shape.pages * PAGE_SIZE];
    for (index, page) in pages.chunks_exact_mut(PAGE_SIZE).enumerate() {
        format_group_page(page, shape, index, list);
    }
    pages
}

/// Formats page `index` of an empty group of `list`.
pub(super) fn format_group_page(page: &mut [u8], shape: &Shape, index: usize, list: u32) {
    let code_bytes = shape.run_bytes(shape.rows);
    let before = if index == 0 {
        0
    } else {
        PAGE_SIZE - shape.codes_at + (index - 1) * RUN_BYTES
    };
    let used = (shape.code_start(index) + code_bytes.saturating_sub(before)).min(PAGE_SIZE);
    page::format(
        page,
        if index == 0 {
            Kind::Group
        } else {
            Kind::Continuation
        },
        list,
        used,
    );
    if index == 0 {
        layout::set_next(page, NO_BLOCK);
    }
}

fn put_row(group: &mut [u8], shape: &Shape, slot: usize, row: EncodedRow<'_>) {
    layout::set_tid(group, slot, row.tid);
    for (run, value) in row.factors.iter().enumerate() {
        layout::set_factor(group, shape, run, slot, *value);
    }
    for ((page, at), byte) in shape.filter_places(slot).zip(row.filter) {
        group[page * PAGE_SIZE + at] = *byte;
    }
    for piece in shape.pieces(slot) {
        let at = piece.page * PAGE_SIZE + piece.at;
        group[at..at + piece.len].copy_from_slice(&row.code[piece.code_at..piece.code_at + piece.len]);
    }
}
