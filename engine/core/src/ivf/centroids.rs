//! The centroids of an index, rounded to int8, for a process that ranks them for many queries.
//!
//! Reading them from the pages takes a large part of a short scan: their number grows with the rows' square root, and
//! their vectors are not rounded there. The copy tells which lists are certainly among the nearest and which are not;
//! those in between are read from the pages. It is valid as long as the index is not rebuilt: nothing else changes
//! centroids.

use std::ops::Range;

use crate::cpu::Ahead;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Metric;
use crate::quantize::int8;
use crate::quantize::int8_query::{Int8Factors, Int8Query, Int8Runs};

use super::layout::Meta;
use super::page::{self, CONTENT_AT, Kind, RUN_BYTES};
use super::run::Run;
use super::store::PageStore;

/// Centroid pages to read before interrupts are let through.
pub(super) const PAGES_BETWEEN_PAUSES: u32 = 256;

/// Rounded centroids, in the order of their lists.
#[derive(Debug)]
pub struct Centroids {
    dims: usize,
    metric: Metric,
    codes: Vec<u8>,
    scale: Vec<f32>,
    residual: Vec<f32>,
    norm_sq: Vec<f32>,
}

impl Centroids {
    /// Bytes that the copy of `meta`'s centroids takes.
    pub fn bytes_for(meta: &Meta) -> usize {
        meta.lists as usize * (meta.dims as usize + size_of::<Int8Factors>())
    }

    /// Reads and rounds them.
    ///
    /// # Errors
    /// `CorruptIndex`, `OutOfMemory`; what the store reports.
    pub fn read<S: PageStore>(store: &S, meta: &Meta) -> Result<Self> {
        let (dims, lists) = (meta.dims as usize, meta.lists as usize);
        let mut read = Self {
            dims,
            metric: ranking_metric(meta.metric),
            codes: Vec::new(),
            scale: Vec::new(),
            residual: Vec::new(),
            norm_sq: Vec::new(),
        };
        let reserved = read.codes.try_reserve_exact(lists * dims);
        reserved
            .and_then(|()| read.scale.try_reserve_exact(lists))
            .and_then(|()| read.residual.try_reserve_exact(lists))
            .and_then(|()| read.norm_sq.try_reserve_exact(lists))
            .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while reading centroids"))?;
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
                    read.push(&centroid)?;
                }
                Ok(())
            })?;
            block += 1;
        }
        Ok(read)
    }

    fn push(&mut self, centroid: &[f32]) -> Result<()> {
        let start = self.codes.len();
        let scale = int8::encode(centroid, &mut self.codes).map_err(|_| {
            Error::corrupt("a centroid of the index holds no number").with_hint("REINDEX the index.")
        })?;
        let codes = &self.codes[start..];
        let factors = Int8Factors::new(self.metric, centroid, codes, scale);
        self.scale.push(factors.scale);
        self.residual.push(factors.residual);
        self.norm_sq.push(factors.norm_sq);
        Ok(())
    }

    /// How many there are.
    pub fn lists(&self) -> usize {
        self.scale.len()
    }

    /// Bounds of what [`Metric::score`] makes of each centroid and `query`, in the order of the lists: smaller is
    /// nearer, so the dot product counts negatively.
    pub(super) fn score_bounds(
        &self,
        query: &[f32],
        products: &mut Vec<[i32; 2]>,
        bounds: &mut Vec<(f32, f32)>,
    ) {
        let query = Int8Query::new(self.metric, query);
        products.clear();
        products.resize(self.lists(), [0; 2]);
        debug_assert_eq!(self.codes.len(), self.lists() * self.dims);
        query.products(&self.codes, products);
        bounds.clear();
        let runs = Int8Runs {
            scale: &self.scale,
            residual: &self.residual,
            norm_sq: &self.norm_sq,
        };
        query.score_bounds(products, runs, bounds);
    }
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

/// Lists of the spherical metrics are ranked by their inner products.
fn ranking_metric(metric: Metric) -> Metric {
    if metric.is_spherical() {
        Metric::InnerProduct
    } else {
        Metric::L2
    }
}
