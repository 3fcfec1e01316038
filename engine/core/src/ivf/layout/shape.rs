//! The shape of a group: how many rows it holds, and where each part of a row lies.

use std::ops::Range;

use crate::cpu::LOOKUP_ROWS;
use crate::metric::{Metric, Storage};
use crate::quantize::sketch::SketchFactors;

use super::super::page::{CONTENT_AT, PAGE_SIZE, RUN_BYTES};
use super::{TID_BYTES, TIDS_AT};

/// Most pages of a group: a row of 16,000 f32 needs 8.
pub const MAX_GROUP_PAGES: usize = 8;
/// Most pages of a group with 1-bit codes: many rows' codes are to lie in its first page.
pub const MAX_FILTERED_GROUP_PAGES: usize = 32;
/// Pages that such a group has at most where the 1-bit codes fit its first page: more would waste a list's last group.
const FILTERED_GROUP_PAGES: usize = 22;

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
    /// Those of a sketch, `quantize::sketch::SketchFactors`, and no others.
    pub sketch: bool,
}

impl Factors {
    /// What `metric` over `storage` needs.
    pub const fn of(metric: Metric, storage: Storage) -> Self {
        Self {
            norm_sq: metric.is_spherical() && !matches!(storage, Storage::Sketch),
            residual: matches!(storage, Storage::F16 | Storage::Int8),
            scale: matches!(storage, Storage::Int8),
            code_norm_sq: matches!(storage, Storage::Int8) && !metric.is_spherical(),
            rabitq: matches!(storage, Storage::Rabitq),
            sketch: matches!(storage, Storage::Sketch),
        }
    }

    /// Number of runs.
    pub const fn count(self) -> usize {
        self.norm_sq as usize
            + self.residual as usize
            + self.scale as usize
            + self.code_norm_sq as usize
            + 3 * self.rabitq as usize
            + SketchFactors::RUNS * self.sketch as usize
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
    /// When `dims` is not within what [`Storage::dims_max`] allows.
    pub fn new(metric: Metric, storage: Storage, dims: usize) -> Self {
        assert!((1..=storage.dims_max()).contains(&dims));
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
        best.expect("8 pages hold a row of the most dimensions")
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
    pub(in super::super) const fn run_bytes(&self, rows: usize) -> usize {
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

    /// The pieces of some bytes of the code of slot `slot`.
    pub fn pieces_in(&self, slot: usize, bytes: Range<usize>) -> impl Iterator<Item = Piece> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_DIMS;

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
}
