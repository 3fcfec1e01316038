//! The metapage.

use crate::error::{Error, Result};
use crate::limits::{MAX_LISTS, MAX_SPARSE_DIMS};
use crate::metric::{Metric, Storage};
use crate::quantize::sketch::projection_dims;

use super::super::page::{self, CONTENT_AT, Kind, NO_BLOCK, RUN_BYTES};
use super::{DIRECTORY_ENTRIES, Shape};

/// `VGIV`, the first word of the metapage.
pub const MAGIC: u32 = 0x5649_4756;
/// Version of the whole format.
pub const FORMAT_VERSION: u32 = 2;
/// The metapage, block 0. All but the free list is fixed when the index is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The operator the index orders by.
    pub metric: Metric,
    /// How rows are encoded.
    pub storage: Storage,
    /// Dimensions of every row as lists are found by it: of a sparse vector those of its projection.
    pub dims: u32,
    /// Dimensions of the column's values.
    pub value_dims: u32,
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
const META_VALUE_DIMS_AT: usize = META_SEED_AT + 8;
const META_END: usize = META_VALUE_DIMS_AT + 4;

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
            value_dims: dims,
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

    /// The same for rows that are projections of vectors of `value_dims` dimensions.
    ///
    /// # Panics
    /// When their projections have other dimensions.
    #[must_use]
    pub fn of_projections(self, value_dims: u32) -> Self {
        assert_eq!(
            projection_dims(value_dims as usize),
            self.dims as usize,
            "dimensions of the projection"
        );
        Self { value_dims, ..self }
    }

    /// Whether products of rows tell how far they are: what searches of copies on a device, and of many queries at once, rest on.
    pub const fn has_products(&self) -> bool {
        self.metric.has_products() && !matches!(self.storage, Storage::Sketch)
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
        if self.storage == Storage::Sketch {
            page::put_u32(page, META_VALUE_DIMS_AT, self.value_dims);
        }
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
        let storage = Storage::from_code(page[META_STORAGE_AT])?;
        if !(1..=storage.dims_max()).contains(&(dims as usize)) || !(1..=MAX_LISTS).contains(&lists) {
            return corrupt(format!(
                "the index's metapage says {dims} dimensions and {lists} lists"
            ));
        }
        let value_dims = match storage {
            Storage::Sketch => page::u32_at(page, META_VALUE_DIMS_AT),
            _ => dims,
        };
        let is_projection = storage != Storage::Sketch
            || (value_dims as usize <= MAX_SPARSE_DIMS
                && projection_dims(value_dims as usize) == dims as usize);
        let meta = Self {
            metric: Metric::from_code(page[META_METRIC_AT])?,
            storage,
            dims,
            value_dims,
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
        if !meta.metric.allows(meta.storage) || !is_projection {
            return corrupt("the index's metapage contradicts itself".into());
        }
        let planned = Self::plan(meta.metric, meta.storage, dims, lists, meta.built_rows, meta.seed);
        let fixed = Self {
            free_head: NO_BLOCK,
            free_groups: 0,
            value_dims: dims,
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
    use super::super::super::page::PAGE_SIZE;
    use super::*;

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
