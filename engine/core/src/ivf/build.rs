//! Writes a whole index in physical order: metapage, centroids, directory, then each list's groups.
//!
//! The number of rows of every list is known before the first page is written, so every block number is too: lists
//! lie one after the other, groups of a list are neighbours, nothing is written twice, and several writers can each
//! write a range of lists.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

use super::layout::{self, DIRECTORY_ENTRIES, ListHead, Meta, Shape, Tid};
use super::page::{self, CONTENT_AT, Kind, NO_BLOCK, PAGE_SIZE, RUN_BYTES};

/// Takes neighbouring pages of a new index in block order.
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

/// Where every list of a new index lies.
#[derive(Debug, Clone)]
pub struct Placement {
    meta: Meta,
    shape: Shape,
    list_rows: Vec<u64>,
    /// The first block of each list's groups, and last the end of the index.
    starts: Vec<u32>,
}

impl Placement {
    /// The places of lists of the given sizes.
    ///
    /// # Errors
    /// `LimitExceeded` when the index would pass 2^32 - 2 pages.
    ///
    /// # Panics
    /// When `list_rows` does not have `meta.lists` entries.
    pub fn new(meta: Meta, list_rows: Vec<u64>) -> Result<Self> {
        assert_eq!(list_rows.len(), meta.lists as usize);
        assert!((1..=meta.storage.dims_max()).contains(&(meta.dims as usize)));
        let shape = meta.shape();
        let starts = list_starts(&meta, &shape, &list_rows)?;
        Ok(Self {
            meta,
            shape,
            list_rows,
            starts,
        })
    }

    /// How a group looks.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of lists.
    pub fn lists(&self) -> u32 {
        self.meta.lists
    }

    /// Rows of all lists.
    pub fn rows(&self) -> u64 {
        self.list_rows.iter().sum()
    }

    /// Pages of the whole index.
    pub fn blocks(&self) -> u32 {
        self.first_block(self.meta.lists)
    }

    /// The block from which on the groups of list `list` and of those after it lie.
    pub fn first_block(&self, list: u32) -> u32 {
        self.starts[list as usize]
    }

    /// Writes what lies before the groups: metapage, centroids (`[lists, dims]` row-major) and directory.
    ///
    /// # Errors
    /// What the sink reports.
    ///
    /// # Panics
    /// When `centroids` does not have `lists x dims` elements.
    pub fn write_front<S: PageSink>(&self, sink: &mut S, centroids: &[f32]) -> Result<()> {
        assert_eq!(
            centroids.len(),
            self.meta.lists as usize * self.meta.dims as usize
        );
        let mut page = vec![0; PAGE_SIZE];
        self.meta.format(&mut page);
        sink.append(&page)?;
        write_run(sink, Kind::Centroids, bytemuck::cast_slice(centroids))?;
        for (number, entries) in self.list_rows.chunks(DIRECTORY_ENTRIES).enumerate() {
            page::format(&mut page, Kind::Directory, 0, CONTENT_AT + entries.len() * 4);
            for (slot, rows) in entries.iter().enumerate() {
                let start = self.starts[number * DIRECTORY_ENTRIES + slot];
                let head = if *rows == 0 { NO_BLOCK } else { start };
                page::put_u32(&mut page, CONTENT_AT + slot * 4, head);
            }
            sink.append(&page)?;
        }
        Ok(())
    }

    /// Starts writing the groups of `lists` into `sink`, whose next page is [`Placement::first_block`] of their first.
    ///
    /// # Panics
    /// When there are no such lists.
    pub fn write_lists<S: PageSink>(&self, sink: S, lists: Range<u32>) -> ListWriter<'_, S> {
        assert!(lists.start <= lists.end && lists.end <= self.meta.lists);
        ListWriter {
            place: self,
            sink,
            group: Vec::new(),
            group_block: self.first_block(lists.start),
            list: lists.start,
            end: lists.end,
            list_written: 0,
        }
    }
}

/// Writes the groups of neighbouring lists; rows come in ascending order of their list.
pub struct ListWriter<'a, S> {
    place: &'a Placement,
    sink: S,
    group: Vec<u8>,
    group_block: u32,
    list: u32,
    end: u32,
    list_written: u64,
}

impl<S: PageSink> ListWriter<'_, S> {
    /// Adds the next row of list `list`.
    ///
    /// # Errors
    /// `Internal` when rows come out of order or a list gets more rows than announced; what the sink reports.
    pub fn push(&mut self, list: u32, row: EncodedRow<'_>) -> Result<()> {
        while self.list < list {
            self.finish_list()?;
        }
        if self.list != list || list >= self.end || self.list_written == self.announced() {
            return Err(out_of_step(format!(
                "list {list} got more rows than announced, or out of order"
            )));
        }
        if self.group.is_empty() {
            self.group = new_group(&self.place.shape, self.list);
        }
        let slot = layout::count(&self.group[..PAGE_SIZE]);
        put_row(&mut self.group, &self.place.shape, slot, row);
        layout::set_count(&mut self.group, slot + 1);
        self.list_written += 1;
        if slot + 1 == self.place.shape.rows || self.list_written == self.announced() {
            self.flush_group()?;
        }
        Ok(())
    }

    /// Ends the lists; gives the sink back.
    ///
    /// # Errors
    /// `Internal` when a list got fewer rows than announced.
    pub fn finish(mut self) -> Result<S> {
        while self.list < self.end {
            self.finish_list()?;
        }
        Ok(self.sink)
    }

    fn announced(&self) -> u64 {
        self.place.list_rows[self.list as usize]
    }

    fn finish_list(&mut self) -> Result<()> {
        if self.list >= self.end || self.list_written != self.announced() {
            return Err(out_of_step(format!(
                "list {} got {} rows",
                self.list, self.list_written
            )));
        }
        self.list += 1;
        self.list_written = 0;
        Ok(())
    }

    fn flush_group(&mut self) -> Result<()> {
        let (shape, announced) = (&self.place.shape, self.announced());
        let (blocks, head) = (shape.group_blocks(), self.place.first_block(self.list));
        let last = self.list_written == announced;
        layout::set_next(
            &mut self.group,
            if last { NO_BLOCK } else { self.group_block + blocks },
        );
        if self.group_block == head {
            let groups = u32::try_from(shape.groups_for(announced)).expect("checked by list_starts");
            let tail = head + (groups - 1) * blocks;
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

fn list_starts(meta: &Meta, shape: &Shape, list_rows: &[u64]) -> Result<Vec<u32>> {
    let mut next = u64::from(meta.groups_first);
    let mut starts = Vec::with_capacity(list_rows.len() + 1);
    // A start beyond 32 bits is never used, because the end is beyond them, too.
    let truncated = |block: u64| u32::try_from(block).unwrap_or(NO_BLOCK);
    for rows in list_rows {
        starts.push(truncated(next));
        next += shape.groups_for(*rows) * u64::from(shape.group_blocks());
    }
    starts.push(truncated(next));
    if next >= u64::from(NO_BLOCK) {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the index would take {next} pages, more than a relation can have"),
        ));
    }
    Ok(starts)
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
