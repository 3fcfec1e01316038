//! Where everything lies: the shape of a group, the metapage, the fields of a group's first page.
//!
//! A *group* is a few neighbouring pages that hold as many rows as fit: TIDs, then each factor as its own run, then the
//! 1-bit codes where there are such, in blocks of 16 rows that hold each byte of all of them side by side, then the
//! codes. Both go on over the further pages, so that a row of any size fits and wide loads see long runs. All groups
//! of an index have the same shape, so a freed group fits any list.

use std::ops::Range;

use crate::cpu::LOOKUP_ROWS;
use crate::error::{Error, Result};
use crate::limits::{MAX_DIMS, MAX_LISTS};
use crate::metric::{Metric, Storage};

use super::page::{self, CONTENT_AT, Kind, NO_BLOCK, PAGE_SIZE, RUN_BYTES};

/// `VGIV`, the first word of the metapage.
pub const MAGIC: u32 = 0x5649_4756;
/// Version of the whole format.
pub const FORMAT_VERSION: u32 = 1;
/// Where a group's TIDs start in its first page.
pub const TIDS_AT: usize = CONTENT_AT + 64;
/// Bytes of a TID: heap block u32, offset u16.
pub const TID_BYTES: usize = 6;
/// Head-block numbers in a directory page.
pub const DIRECTORY_ENTRIES: usize = RUN_BYTES / 4;
/// Most pages of a group: a row of 16,000 f32 needs 8.
pub const MAX_GROUP_PAGES: usize = 8;
/// Most pages of a group with 1-bit codes: many rows' codes are to lie in its first page.
pub const MAX_FILTERED_GROUP_PAGES: usize = 32;
/// Pages that such a group has at most where the 1-bit codes fit its first page: more would waste a list's last group.
const FILTERED_GROUP_PAGES: usize = 22;

const COUNT_AT: usize = CONTENT_AT;
const DEAD_AT: usize = COUNT_AT + 2;
const NEXT_AT: usize = DEAD_AT + 2;
const VERSION_AT: usize = NEXT_AT + 4;
const EPOCH_AT: usize = VERSION_AT + 8;
const TAIL_AT: usize = EPOCH_AT + 8;
const GROUPS_AT: usize = TAIL_AT + 4;
const ROWS_AT: usize = GROUPS_AT + 4;
const _: () = assert!(ROWS_AT + 8 <= TIDS_AT);

/// A heap row's place: `block << 16 | offset`. Offset 0 is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub u64);

impl Tid {
    /// A slot without a row.
    pub const TOMBSTONE: Self = Self(0);

    /// Packs a heap block and offset.
    pub const fn new(block: u32, offset: u16) -> Self {
        Self((block as u64) << 16 | offset as u64)
    }

    /// Heap block.
    #[expect(clippy::cast_possible_truncation, reason = "made from a u32 block")]
    pub const fn block(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Offset in the heap block, from 1.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 16 bits are what is asked for"
    )]
    pub const fn offset(self) -> u16 {
        self.0 as u16
    }

    /// Whether the slot holds no row.
    pub const fn is_tombstone(self) -> bool {
        self.offset() == 0
    }
}

/// What is stored with a row besides its code, each as a run of f32, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factors {
    /// `|x|^2` as the dot kernel computes it; for inner product and cosine.
    pub norm_sq: bool,
    /// Upper bound of the code's rounding error; for lossy storage.
    pub residual: bool,
    /// What a code is multiplied with; for int8.
    pub scale: bool,
    /// `|x'|^2` of what the code stands for; for int8 and L2.
    pub code_norm_sq: bool,
    /// The three factors of a 1-bit code, `quantize::rabitq::RabitqFactors`.
    pub rabitq: bool,
}

impl Factors {
    /// What `metric` over `storage` needs.
    pub const fn of(metric: Metric, storage: Storage) -> Self {
        Self {
            norm_sq: metric.is_spherical(),
            residual: matches!(storage, Storage::F16 | Storage::Int8),
            scale: matches!(storage, Storage::Int8),
            code_norm_sq: matches!(storage, Storage::Int8) && !metric.is_spherical(),
            rabitq: matches!(storage, Storage::Rabitq),
        }
    }

    /// Number of runs.
    pub const fn count(self) -> usize {
        self.norm_sq as usize
            + self.residual as usize
            + self.scale as usize
            + self.code_norm_sq as usize
            + 3 * self.rabitq as usize
    }

    /// The runs of the factors of 1-bit codes: base, step, error.
    pub const fn rabitq_runs(self) -> [usize; 3] {
        let first = self.norm_sq as usize;
        [first, first + 1, first + 2]
    }

    /// Whether run `run` may hold negative numbers.
    pub const fn is_signed(self, run: usize) -> bool {
        self.rabitq && run == self.rabitq_runs()[0]
    }
}

/// The shape of every group of an index; follows from metric, storage and dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How a row is encoded.
    pub storage: Storage,
    /// Dimensions of a row.
    pub dims: usize,
    /// Bytes of a row's code.
    pub code_bytes: usize,
    /// Bytes of a row's 1-bit code, or 0.
    pub filter_bytes: usize,
    /// Bytes of a row's 4-bit code, with which its code begins, or 0.
    pub fine_bytes: usize,
    /// What else is stored with a row.
    pub factors: Factors,
    /// Rows of a full group.
    pub rows: usize,
    /// Pages of a group.
    pub pages: usize,
    /// Where the factor runs start in the first page.
    pub factors_at: usize,
    /// Where the 1-bit codes, or else the codes, start in the first page.
    pub codes_at: usize,
}

impl Shape {
    /// Picks the fewest pages whose unused share is small, else the least wasteful number; with 1-bit codes whole
    /// blocks of them, as many as the first page holds and the pages allow.
    ///
    /// # Panics
    /// When `dims` is not within 1..=16,000.
    pub fn new(metric: Metric, storage: Storage, dims: usize) -> Self {
        assert!((1..=MAX_DIMS).contains(&dims));
        let factors = Factors::of(metric, storage);
        if storage.filter_bytes(dims) > 0 {
            return Self::with_filter(storage, dims, factors);
        }
        let waste = |shape: &Self| {
            let used = shape.rows * (shape.code_bytes + TID_BYTES + 4 * factors.count());
            1000 - used * 1000 / (shape.pages * PAGE_SIZE)
        };
        let candidates =
            (1..=MAX_GROUP_PAGES).filter_map(|pages| Self::with_pages(storage, dims, factors, pages));
        let mut best: Option<Self> = None;
        for shape in candidates {
            if waste(&shape) <= 60 {
                return shape;
            }
            if best.as_ref().is_none_or(|best| waste(&shape) < waste(best)) {
                best = Some(shape);
            }
        }
        best.expect("8 pages hold a row of 16,000 dimensions")
    }

    fn with_pages(storage: Storage, dims: usize, factors: Factors, pages: usize) -> Option<Self> {
        let total = PAGE_SIZE - TIDS_AT + (pages - 1) * RUN_BYTES;
        let most = total / (storage.code_bytes(dims) + TID_BYTES + 4 * factors.count());
        (1..=most)
            .rev()
            .map(|rows| Self::with_rows(storage, dims, factors, rows))
            .find(|shape| shape.fits(pages))
            .map(|shape| Self { pages, ..shape })
    }

    /// The most whole blocks whose 1-bit codes fit the first page, if that makes a group that is not too long; else as
    /// many rows as fit the longest group.
    fn with_filter(storage: Storage, dims: usize, factors: Factors) -> Self {
        let with_rows = |rows| Self::with_rows(storage, dims, factors, rows);
        let most = MAX_FILTERED_GROUP_PAGES * PAGE_SIZE / storage.code_bytes(dims);
        let blocks = (1..=most / LOOKUP_ROWS).map(|blocks| with_rows(blocks * LOOKUP_ROWS));
        let whole = blocks
            .take_while(|shape| {
                shape.codes_at + shape.filter_run_bytes() <= PAGE_SIZE && shape.fits(FILTERED_GROUP_PAGES)
            })
            .last();
        let shape = whole.unwrap_or_else(|| {
            (1..=most)
                .rev()
                .map(with_rows)
                .find(|shape| shape.fits(MAX_FILTERED_GROUP_PAGES))
                .expect("32 pages hold rows of 16,000 dimensions")
        });
        let pages = (1..)
            .find(|pages| shape.fits(*pages))
            .expect("it fits the most pages");
        Self { pages, ..shape }
    }

    /// A group of `rows` rows, whose pages are to be counted.
    fn with_rows(storage: Storage, dims: usize, factors: Factors, rows: usize) -> Self {
        let factors_at = (TIDS_AT + rows * TID_BYTES).next_multiple_of(4);
        Self {
            storage,
            dims,
            code_bytes: storage.code_bytes(dims),
            filter_bytes: storage.filter_bytes(dims),
            fine_bytes: storage.fine_bytes(dims),
            factors,
            rows,
            pages: 0,
            factors_at,
            codes_at: (factors_at + rows * 4 * factors.count()).next_multiple_of(32),
        }
    }

    fn fits(&self, pages: usize) -> bool {
        self.codes_at <= PAGE_SIZE
            && self.run_bytes(self.rows) <= PAGE_SIZE - self.codes_at + (pages - 1) * RUN_BYTES
    }

    /// Bytes of the 1-bit codes of all rows.
    pub const fn filter_run_bytes(&self) -> usize {
        self.rows.next_multiple_of(LOOKUP_ROWS) * self.filter_bytes
    }

    /// Bytes of a group's first page that every scan of it reads.
    pub const fn scanned_bytes(&self) -> usize {
        let end = self.codes_at + self.filter_run_bytes();
        if self.filter_bytes > 0 && end < PAGE_SIZE {
            end
        } else {
            PAGE_SIZE
        }
    }

    /// Bytes of the 1-bit codes of all rows and the codes of the first `rows`.
    pub(super) const fn run_bytes(&self, rows: usize) -> usize {
        self.filter_run_bytes() + rows * self.code_bytes
    }

    /// Pages of a group, as block arithmetic needs it.
    pub fn group_blocks(&self) -> u32 {
        u32::try_from(self.pages).expect("at most 32")
    }

    /// Where the codes of page `index` of a group start.
    pub const fn code_start(&self, index: usize) -> usize {
        if index == 0 { self.codes_at } else { CONTENT_AT }
    }

    /// Where byte `at` of the run of 1-bit codes and codes lies: page index, offset there.
    const fn place(&self, at: usize) -> (usize, usize) {
        let first = PAGE_SIZE - self.codes_at;
        if at < first {
            (0, self.codes_at + at)
        } else {
            (
                1 + (at - first) / RUN_BYTES,
                CONTENT_AT + (at - first) % RUN_BYTES,
            )
        }
    }

    /// The pieces in which slot `slot` lies: page index, byte range there, byte range of the code.
    pub fn pieces(&self, slot: usize) -> impl Iterator<Item = Piece> {
        self.pieces_in(slot, 0..self.code_bytes)
    }

    /// The pieces of the 4-bit code of slot `slot`, as [`Self::pieces`] gives them.
    pub fn fine_pieces(&self, slot: usize) -> impl Iterator<Item = Piece> {
        self.pieces_in(slot, 0..self.fine_bytes)
    }

    /// The pieces of the vector behind the 4-bit code of slot `slot`, as [`Self::pieces`] gives them.
    pub fn vector_pieces(&self, slot: usize) -> impl Iterator<Item = Piece> {
        self.pieces_in(slot, self.fine_bytes..self.code_bytes)
    }

    fn pieces_in(&self, slot: usize, bytes: Range<usize>) -> impl Iterator<Item = Piece> {
        let (shape, start) = (*self, self.run_bytes(slot));
        let (mut from, end) = (start + bytes.start, start + bytes.end);
        std::iter::from_fn(move || {
            if from == end {
                return None;
            }
            let (page, at) = shape.place(from);
            let len = (PAGE_SIZE - at).min(end - from);
            let code_at = from - start;
            from += len;
            Some(Piece {
                page,
                at,
                code_at,
                len,
            })
        })
    }

    /// Where each byte of the 1-bit code of slot `slot` lies: page index, offset there.
    pub fn filter_places(&self, slot: usize) -> impl Iterator<Item = (usize, usize)> {
        let block = slot / LOOKUP_ROWS * LOOKUP_ROWS * self.filter_bytes;
        (0..self.filter_bytes).map(move |byte| self.place(block + byte * LOOKUP_ROWS + slot % LOOKUP_ROWS))
    }

    /// Pages of a group over which the codes of its first `rows` slots go.
    pub const fn pages_for(&self, rows: usize) -> usize {
        let behind_first = self.run_bytes(rows).saturating_sub(PAGE_SIZE - self.codes_at);
        1 + behind_first.div_ceil(RUN_BYTES)
    }

    /// Where factor run `run` starts in the first page.
    pub const fn factor_run_at(&self, run: usize) -> usize {
        self.factors_at + run * self.rows * 4
    }

    /// Factor run `run` of the first `rows` slots, where the machine can read it in place.
    pub fn factor_run<'a>(&self, page: &'a [u8], run: usize, rows: usize) -> Option<&'a [f32]> {
        let start = self.factor_run_at(run);
        bytemuck::try_cast_slice(page.get(start..start + rows * 4)?).ok()
    }

    /// Groups that hold `rows` rows.
    pub fn groups_for(&self, rows: u64) -> u64 {
        rows.div_ceil(self.rows as u64)
    }
}

/// A part of a row's code that lies in one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Page of the group, from 0.
    pub page: usize,
    /// Offset in the page.
    pub at: usize,
    /// Offset in the code.
    pub code_at: usize,
    /// Bytes.
    pub len: usize,
}

/// Slots in use in a group, tombstones included.
pub fn count(page: &[u8]) -> usize {
    usize::from(page::u16_at(page, COUNT_AT))
}

/// Writes [`count`].
pub fn set_count(page: &mut [u8], count: usize) {
    page::put_u16(
        page,
        COUNT_AT,
        u16::try_from(count).expect("a group holds fewer than 65,536 rows"),
    );
}

/// Tombstones in a group.
pub fn dead(page: &[u8]) -> usize {
    usize::from(page::u16_at(page, DEAD_AT))
}

/// Writes [`dead`].
pub fn set_dead(page: &mut [u8], dead: usize) {
    page::put_u16(
        page,
        DEAD_AT,
        u16::try_from(dead).expect("a group holds fewer than 65,536 rows"),
    );
}

/// The list's next group, or the next free group.
pub fn next(page: &[u8]) -> u32 {
    page::u32_at(page, NEXT_AT)
}

/// Writes [`next`].
pub fn set_next(page: &mut [u8], block: u32) {
    page::put_u32(page, NEXT_AT, block);
}

/// The TID in slot `slot`.
pub fn tid(page: &[u8], slot: usize) -> Tid {
    let at = TIDS_AT + slot * TID_BYTES;
    Tid::new(page::u32_at(page, at), page::u16_at(page, at + 4))
}

/// Writes [`tid`].
pub fn set_tid(page: &mut [u8], slot: usize, tid: Tid) {
    let at = TIDS_AT + slot * TID_BYTES;
    page::put_u32(page, at, tid.block());
    page::put_u16(page, at + 4, tid.offset());
}

/// The f32 of slot `slot` in factor run `run`.
pub fn factor(page: &[u8], shape: &Shape, run: usize, slot: usize) -> f32 {
    f32::from_bits(page::u32_at(page, shape.factor_run_at(run) + slot * 4))
}

/// Factor run `run` of the first `rows` slots where it lies, or a copy of it where the page is not aligned.
pub(super) fn factor_run_or_copy<'a>(
    page: &'a [u8],
    shape: &Shape,
    run: usize,
    rows: usize,
    copy: &'a mut Vec<f32>,
) -> &'a [f32] {
    if let Some(run) = shape.factor_run(page, run, rows) {
        return run;
    }
    copy.clear();
    copy.extend((0..rows).map(|slot| factor(page, shape, run, slot)));
    copy
}

/// Writes [`factor`].
pub fn set_factor(page: &mut [u8], shape: &Shape, run: usize, slot: usize, value: f32) {
    page::put_u32(page, shape.factor_run_at(run) + slot * 4, value.to_bits());
}

/// What a list's head page says of the whole list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListHead {
    /// Raised by every change of the list.
    pub version: u64,
    /// Raised by every change that is not an append.
    pub epoch: u64,
    /// Last group.
    pub tail: u32,
    /// Number of groups.
    pub groups: u32,
    /// Rows, tombstones not counted.
    pub rows: u64,
}

impl ListHead {
    /// Reads the head of a list.
    pub fn read(page: &[u8]) -> Self {
        Self {
            version: page::u64_at(page, VERSION_AT),
            epoch: page::u64_at(page, EPOCH_AT),
            tail: page::u32_at(page, TAIL_AT),
            groups: page::u32_at(page, GROUPS_AT),
            rows: page::u64_at(page, ROWS_AT),
        }
    }

    /// Writes the head of a list.
    pub fn write(&self, page: &mut [u8]) {
        page::put_u64(page, VERSION_AT, self.version);
        page::put_u64(page, EPOCH_AT, self.epoch);
        page::put_u32(page, TAIL_AT, self.tail);
        page::put_u32(page, GROUPS_AT, self.groups);
        page::put_u64(page, ROWS_AT, self.rows);
    }
}

/// Checks a group's first page, reached by a pointer from list `list`.
///
/// # Errors
/// `CorruptIndex`.
pub fn check_group(page: &[u8], block: u32, list: u32, shape: &Shape) -> Result<()> {
    page::expect(page, block, Kind::Group)?;
    if page::owner(page) != list {
        return Err(Error::corrupt(format!(
            "block {block} of the index belongs to list {}, not to list {list}",
            page::owner(page)
        ))
        .with_hint("REINDEX the index."));
    }
    if count(page) > shape.rows || dead(page) > count(page) {
        return Err(Error::corrupt(format!(
            "block {block} of the index has {} rows, {} of them dead, where {} fit",
            count(page),
            dead(page),
            shape.rows
        ))
        .with_hint("REINDEX the index."));
    }
    Ok(())
}

/// The metapage, block 0. All but the free list is fixed when the index is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The operator the index orders by.
    pub metric: Metric,
    /// How rows are encoded.
    pub storage: Storage,
    /// Dimensions of every row.
    pub dims: u32,
    /// Number of lists and of centroids.
    pub lists: u32,
    /// First page of centroids.
    pub centroids_first: u32,
    /// First page of the directory.
    pub directory_first: u32,
    /// First block of the groups' area.
    pub groups_first: u32,
    /// Pages of a group.
    pub group_pages: u32,
    /// First free group, or `NO_BLOCK`.
    pub free_head: u32,
    /// Free groups.
    pub free_groups: u32,
    /// Rows when the index was built.
    pub built_rows: u64,
    /// Seed of sampling and k-means.
    pub seed: u64,
}

const META_MAGIC_AT: usize = CONTENT_AT;
const META_FORMAT_AT: usize = META_MAGIC_AT + 4;
const META_METRIC_AT: usize = META_FORMAT_AT + 4;
const META_STORAGE_AT: usize = META_METRIC_AT + 1;
const META_GROUP_PAGES_AT: usize = META_STORAGE_AT + 1;
const META_DIMS_AT: usize = META_GROUP_PAGES_AT + 2;
const META_LISTS_AT: usize = META_DIMS_AT + 4;
const META_GROUP_ROWS_AT: usize = META_LISTS_AT + 4;
const META_CENTROIDS_AT: usize = META_GROUP_ROWS_AT + 4;
const META_DIRECTORY_AT: usize = META_CENTROIDS_AT + 4;
const META_GROUPS_AT: usize = META_DIRECTORY_AT + 4;
const META_FREE_HEAD_AT: usize = META_GROUPS_AT + 4;
const META_FREE_GROUPS_AT: usize = META_FREE_HEAD_AT + 4;
const META_BUILT_ROWS_AT: usize = META_FREE_GROUPS_AT + 4;
const META_SEED_AT: usize = META_BUILT_ROWS_AT + 8;
const META_END: usize = META_SEED_AT + 8;

impl Meta {
    /// Lays out an index: centroids from block 1, then the directory, then the groups.
    pub fn plan(metric: Metric, storage: Storage, dims: u32, lists: u32, built_rows: u64, seed: u64) -> Self {
        let centroid_pages = (u64::from(lists) * u64::from(dims) * 4).div_ceil(RUN_BYTES as u64);
        let directory_pages = (lists as usize).div_ceil(DIRECTORY_ENTRIES);
        let centroid_pages =
            u32::try_from(centroid_pages).expect("32,768 lists of 16,000 dims take 257,004 pages");
        let directory_pages = u32::try_from(directory_pages).expect("at most 17 pages");
        let directory_first = 1 + centroid_pages;
        let shape = Shape::new(metric, storage, dims as usize);
        Self {
            metric,
            storage,
            dims,
            lists,
            centroids_first: 1,
            directory_first,
            groups_first: directory_first + directory_pages,
            group_pages: shape.group_blocks(),
            free_head: NO_BLOCK,
            free_groups: 0,
            built_rows,
            seed,
        }
    }

    /// The shape of the index's groups.
    pub fn shape(&self) -> Shape {
        Shape::new(self.metric, self.storage, self.dims as usize)
    }

    /// Writes a fresh metapage.
    pub fn format(&self, page: &mut [u8]) {
        page::format(page, Kind::Meta, 0, META_END);
        let shape = self.shape();
        page::put_u32(page, META_MAGIC_AT, MAGIC);
        page::put_u32(page, META_FORMAT_AT, FORMAT_VERSION);
        page[META_METRIC_AT] = self.metric.code();
        page[META_STORAGE_AT] = self.storage.code();
        page::put_u16(
            page,
            META_GROUP_PAGES_AT,
            u16::try_from(self.group_pages).expect("at most 32"),
        );
        page::put_u32(page, META_DIMS_AT, self.dims);
        page::put_u32(page, META_LISTS_AT, self.lists);
        page::put_u32(
            page,
            META_GROUP_ROWS_AT,
            u32::try_from(shape.rows).expect("fewer than 8192"),
        );
        page::put_u32(page, META_CENTROIDS_AT, self.centroids_first);
        page::put_u32(page, META_DIRECTORY_AT, self.directory_first);
        page::put_u32(page, META_GROUPS_AT, self.groups_first);
        page::put_u64(page, META_BUILT_ROWS_AT, self.built_rows);
        page::put_u64(page, META_SEED_AT, self.seed);
        self.write_free_list(page);
    }

    /// Writes the only part that changes after the build.
    pub fn write_free_list(&self, page: &mut [u8]) {
        page::put_u32(page, META_FREE_HEAD_AT, self.free_head);
        page::put_u32(page, META_FREE_GROUPS_AT, self.free_groups);
    }

    /// Reads and checks the metapage.
    ///
    /// # Errors
    /// `CorruptIndex` for anything that this version cannot have written.
    pub fn read(page: &[u8]) -> Result<Self> {
        page::expect(page, 0, Kind::Meta)?;
        let corrupt = |what: String| Err(Error::corrupt(what).with_hint("REINDEX the index."));
        if page::u32_at(page, META_MAGIC_AT) != MAGIC {
            return corrupt("the index's metapage does not begin with its magic number".into());
        }
        let format = page::u32_at(page, META_FORMAT_AT);
        if format != FORMAT_VERSION {
            return corrupt(format!(
                "the index has format version {format}; this release reads {FORMAT_VERSION}"
            ));
        }
        let (dims, lists) = (
            page::u32_at(page, META_DIMS_AT),
            page::u32_at(page, META_LISTS_AT),
        );
        if !(1..=MAX_DIMS).contains(&(dims as usize)) || !(1..=MAX_LISTS).contains(&lists) {
            return corrupt(format!(
                "the index's metapage says {dims} dimensions and {lists} lists"
            ));
        }
        let meta = Self {
            metric: Metric::from_code(page[META_METRIC_AT])?,
            storage: Storage::from_code(page[META_STORAGE_AT])?,
            dims,
            lists,
            centroids_first: page::u32_at(page, META_CENTROIDS_AT),
            directory_first: page::u32_at(page, META_DIRECTORY_AT),
            groups_first: page::u32_at(page, META_GROUPS_AT),
            group_pages: u32::from(page::u16_at(page, META_GROUP_PAGES_AT)),
            free_head: page::u32_at(page, META_FREE_HEAD_AT),
            free_groups: page::u32_at(page, META_FREE_GROUPS_AT),
            built_rows: page::u64_at(page, META_BUILT_ROWS_AT),
            seed: page::u64_at(page, META_SEED_AT),
        };
        let planned = Self::plan(meta.metric, meta.storage, dims, lists, meta.built_rows, meta.seed);
        let fixed = Self {
            free_head: NO_BLOCK,
            free_groups: 0,
            ..meta
        };
        let same_rows = page::u32_at(page, META_GROUP_ROWS_AT) as usize == meta.shape().rows;
        if planned != fixed || !same_rows {
            return corrupt("the index's metapage contradicts itself".into());
        }
        Ok(meta)
    }

    /// Checks that `block` can be the first page of a group in an index of `blocks` pages.
    ///
    /// # Errors
    /// `CorruptIndex`.
    pub fn check_group_block(&self, block: u32, blocks: u32) -> Result<()> {
        let end = block.checked_add(self.group_pages);
        if block >= self.groups_first && end.is_some_and(|end| end <= blocks) {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "the index points to block {block}, where no group can start"
        ))
        .with_hint("REINDEX the index."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a loop over thousands of shapes, all safe code")]
    fn every_dimension_has_a_shape_whose_rows_fit_and_whose_pieces_cover_the_code() {
        for dims in (1..=MAX_DIMS).step_by(7).chain([784, 768, 1536, MAX_DIMS]) {
            for storage in [Storage::F32, Storage::F16] {
                for metric in [Metric::L2, Metric::Cosine] {
                    let shape = Shape::new(metric, storage, dims);
                    assert!(shape.rows >= 1 && shape.pages <= MAX_GROUP_PAGES);
                    for slot in [0, shape.rows / 2, shape.rows - 1] {
                        let pieces: Vec<Piece> = shape.pieces(slot).collect();
                        assert_eq!(
                            pieces.iter().map(|piece| piece.len).sum::<usize>(),
                            shape.code_bytes
                        );
                        let last = pieces.last().expect("a code has bytes");
                        assert!(last.page < shape.pages && last.at + last.len <= PAGE_SIZE);
                    }
                }
            }
        }
    }

    #[test]
    fn common_dimensions_waste_little() {
        for (dims, storage) in [
            (784, Storage::F32),
            (784, Storage::F16),
            (1536, Storage::F32),
            (768, Storage::F16),
        ] {
            let shape = Shape::new(Metric::L2, storage, dims);
            let used = shape.rows * (shape.code_bytes + TID_BYTES);
            assert!(
                used * 100 >= shape.pages * PAGE_SIZE * 93,
                "{dims} {storage:?}: {shape:?}"
            );
        }
    }

    #[test]
    fn metapage_round_trips_and_rejects_changed_bytes() {
        let meta = Meta::plan(Metric::Cosine, Storage::F16, 100, 1200, 7, 42);
        let mut page = vec![0; PAGE_SIZE];
        meta.format(&mut page);
        assert_eq!(Meta::read(&page), Ok(meta));
        for at in META_MAGIC_AT..META_FREE_HEAD_AT {
            let mut bad = page.clone();
            bad[at] ^= 0x40;
            assert!(Meta::read(&bad).is_err(), "byte {at}");
        }
    }
}
