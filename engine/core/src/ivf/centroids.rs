//! The centroids of an index on its pages, and a rounded copy of them for a process that ranks them for many queries.
//!
//! Reading them from the pages takes a large part of a short scan: their number grows with the rows' square root, and
//! their vectors are not rounded there. The copy tells which lists are certainly among the nearest and which are not;
//! those in between are read from the pages. It is valid as long as the index is not rebuilt: nothing else changes
//! centroids.

mod coded;
mod rounded;

use std::ops::Range;

use crate::cpu::Ahead;
use crate::error::Result;
use crate::metric::Storage;

use super::layout::Meta;
use super::page::{self, CONTENT_AT, Kind, RUN_BYTES};
use super::run::Run;
use super::store::PageStore;
pub(super) use coded::CodedCentroids;
pub(super) use rounded::RoundedCentroids;

/// Centroid pages to read before interrupts are let through.
pub(super) const PAGES_BETWEEN_PAUSES: u32 = 256;
/// Making a coded copy takes as long as so many queries save by it.
const CODED_AFTER: u32 = 16;

/// A copy of the centroids, in the order of their lists.
#[derive(Debug)]
pub enum Centroids {
    /// As int8.
    Rounded(RoundedCentroids),
    /// As 1-bit and 4-bit codes, where the rows are, too: a query is ready for them then.
    Coded(CodedCentroids),
}

impl Centroids {
    /// Bytes that the copy of `meta`'s centroids takes.
    pub fn bytes_for(meta: &Meta) -> usize {
        if meta.storage == Storage::Rabitq {
            CodedCentroids::bytes_for(meta)
        } else {
            RoundedCentroids::bytes_for(meta)
        }
    }

    /// So many scans should have gone by before a process makes the copy, which it may not live to need.
    pub fn worth_after(meta: &Meta) -> u32 {
        if meta.storage == Storage::Rabitq {
            CODED_AFTER
        } else {
            0
        }
    }

    /// Reads and rounds them.
    ///
    /// # Errors
    /// `CorruptIndex`, `OutOfMemory`; what the store reports.
    pub fn read<S: PageStore>(store: &S, meta: &Meta) -> Result<Self> {
        Ok(if meta.storage == Storage::Rabitq {
            Self::Coded(CodedCentroids::read(store, meta)?)
        } else {
            Self::Rounded(RoundedCentroids::read(store, meta)?)
        })
    }

    /// How many there are.
    pub fn lists(&self) -> usize {
        match self {
            Self::Rounded(copy) => copy.lists(),
            Self::Coded(copy) => copy.lists(),
        }
    }
}

/// Hands on every centroid, as f32, in the order of the lists.
pub(super) fn for_each<S: PageStore>(
    store: &S,
    meta: &Meta,
    each: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let (dims, lists) = (meta.dims as usize, meta.lists as usize);
    let (mut scratch, mut centroid) = (Vec::new(), Vec::with_capacity(dims));
    let mut run = Run::new(dims * 4, lists, &mut scratch);
    let mut block = meta.centroids_first;
    while run.is_unfinished() {
        if (block - meta.centroids_first) % PAGES_BETWEEN_PAUSES == PAGES_BETWEEN_PAUSES - 1 {
            store.pause()?;
        }
        let page = store.share(block)?;
        page::expect(&page, block, Kind::Centroids)?;
        run.feed(&page[CONTENT_AT..], &mut |rows| {
            for row in rows.chunks_exact(dims * 4) {
                centroid.clear();
                centroid.extend(row.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)));
                each(&centroid)?;
            }
            Ok(())
        })?;
        block += 1;
    }
    Ok(())
}

/// Hands the centroid of one list to `read`, as it lies on the pages.
pub(super) fn with_one<S: PageStore, T>(
    store: &S,
    meta: &Meta,
    list: u32,
    scratch: &mut Vec<u8>,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    let bytes = meta.dims as usize * 4;
    scratch.clear();
    for (block, part) in places(meta, list) {
        let page = store.share(block)?;
        page::expect(&page, block, Kind::Centroids)?;
        if part.len() == bytes {
            return Ok(read(&page[part]));
        }
        scratch.extend_from_slice(&page[part]);
    }
    Ok(read(scratch))
}

/// The parts of the centroid of one list, to be brought nearer to the CPU.
pub(super) fn ahead_of_one<S: PageStore>(store: &S, meta: &Meta, list: u32) -> impl Iterator<Item = Ahead> {
    places(meta, list).map(|(block, part)| store.prefetch(block, part).ahead())
}

/// Where the centroid of one list lies: block and bytes there, of each page in turn.
fn places(meta: &Meta, list: u32) -> impl Iterator<Item = (u32, Range<usize>)> {
    let (first, bytes) = (meta.centroids_first, meta.dims as usize * 4);
    let (mut from, end) = (list as usize * bytes, (list as usize + 1) * bytes);
    std::iter::from_fn(move || {
        if from == end {
            return None;
        }
        let page = u32::try_from(from / RUN_BYTES).expect("centroid pages are within u32");
        let at = CONTENT_AT + from % RUN_BYTES;
        let len = (RUN_BYTES - from % RUN_BYTES).min(end - from);
        from += len;
        Some((first + page, at..at + len))
    })
}
