//! A copy of the centroids as 1-bit and 4-bit codes, of their differences from their mean.
//!
//! A scan has turned its query for such codes of the rows already, so ranking by them costs no more than reading a few
//! groups of a list.

use crate::cpu::{Ahead, BoundKind, BoundTerms, LOOKUP_ROWS};
use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Metric;
use crate::quantize::rabitq::{self, RabitqEncoder, RabitqQuery, RabitqRuns};

use super::super::layout::Meta;
use super::super::store::PageStore;
use super::for_each;

/// Coded centroids.
#[derive(Debug)]
pub struct CodedCentroids {
    lists: usize,
    metric: Metric,
    mean: Vec<f32>,
    /// 1-bit codes in blocks, as `Kernels::lookup_block` takes them.
    codes: Vec<u8>,
    code_bytes: usize,
    /// 4-bit codes, with their heads.
    fine: Vec<u8>,
    fine_bytes: usize,
    base: Vec<f32>,
    step: Vec<f32>,
    error: Vec<f32>,
    norm_sq: Vec<f32>,
}

impl CodedCentroids {
    pub(super) fn bytes_for(meta: &Meta) -> usize {
        let dims = meta.dims as usize;
        let each = rabitq::code_bytes(dims) + rabitq::fine::bytes(dims) + 4 * size_of::<f32>();
        (meta.lists as usize).next_multiple_of(LOOKUP_ROWS) * each + 4 * dims
    }

    pub(super) fn read<S: PageStore>(store: &S, meta: &Meta) -> Result<Self> {
        let (dims, lists) = (meta.dims as usize, meta.lists as usize);
        let (code_bytes, fine_bytes) = (rabitq::code_bytes(dims), rabitq::fine::bytes(dims));
        let mut read = Self {
            lists,
            metric: meta.metric,
            mean: mean(store, meta)?,
            codes: Vec::new(),
            code_bytes,
            fine: Vec::new(),
            fine_bytes,
            base: Vec::new(),
            step: Vec::new(),
            error: Vec::new(),
            norm_sq: Vec::new(),
        };
        let blocks = lists.next_multiple_of(LOOKUP_ROWS) * code_bytes;
        let mut reserved = read.codes.try_reserve_exact(blocks);
        reserved = reserved.and_then(|()| read.fine.try_reserve_exact(lists * fine_bytes));
        for run in [&mut read.base, &mut read.step, &mut read.error, &mut read.norm_sq] {
            reserved = reserved.and_then(|()| run.try_reserve_exact(lists));
        }
        reserved.map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while reading centroids"))?;
        read.codes.resize(blocks, 0);
        let mut encoder = RabitqEncoder::new(meta.metric, dims, meta.seed);
        let mut code = Vec::new();
        for_each(store, meta, &mut |centroid| {
            code.clear();
            let factors = encoder.encode(0, centroid, 0, &read.mean, &mut code, &mut read.fine)?;
            let row = read.base.len();
            let block = row / LOOKUP_ROWS * LOOKUP_ROWS * code_bytes;
            for (k, byte) in code.iter().enumerate() {
                read.codes[block + k * LOOKUP_ROWS + row % LOOKUP_ROWS] = *byte;
            }
            read.base.push(factors.base);
            read.step.push(factors.step);
            read.error.push(factors.error);
            read.norm_sq.push(distance::norm_squared(centroid));
            Ok(())
        })?;
        Ok(read)
    }

    pub(super) fn lists(&self) -> usize {
        self.lists
    }

    /// What a query's bounds have in common: lower ones of what [`Metric::score`] makes of a centroid and the query,
    /// smaller is nearer, so the dot product counts negatively.
    pub(in super::super) fn terms(&self, query: &RabitqQuery) -> BoundTerms {
        BoundTerms {
            kind: if self.metric.is_spherical() {
                BoundKind::Product
            } else {
                BoundKind::Plain
            },
            ..query.terms(query.place(&self.mean))
        }
    }

    /// Bounds by the 1-bit codes of all, in the order of the lists.
    pub(in super::super) fn bounds(&self, query: &RabitqQuery, terms: &BoundTerms, out: &mut Vec<f32>) {
        let norm_sq: &[f32] = if self.metric.is_spherical() {
            &self.norm_sq
        } else {
            &[]
        };
        let runs = RabitqRuns {
            base: &self.base,
            step: &self.step,
            error: &self.error,
            norm_sq,
        };
        out.clear();
        let blocks = self.codes.chunks_exact(LOOKUP_ROWS * self.code_bytes);
        for (block, first) in blocks.zip((0..self.lists).step_by(LOOKUP_ROWS)) {
            let mut bounds = [0.0; LOOKUP_ROWS];
            query.near_rows(terms, block, runs, first, f32::INFINITY, &mut bounds, Ahead::NONE);
            out.extend_from_slice(&bounds[..LOOKUP_ROWS.min(self.lists - first)]);
        }
    }

    /// Where the 4-bit code of one lies, to be asked for before it is read.
    pub(in super::super) fn fine_ahead(&self, list: u32) -> Ahead {
        let start = list as usize * self.fine_bytes;
        Ahead::new(self.fine.as_ptr().wrapping_add(start), self.fine_bytes)
    }

    /// The closer bound by the 4-bit code of one.
    pub(in super::super) fn fine_bound(&self, query: &RabitqQuery, terms: &BoundTerms, list: u32) -> f32 {
        let bound = query.fine_bound(terms, self.fine_code(list));
        bound.unwrap_or(f32::NEG_INFINITY)
    }

    /// The same, and what the score is at most.
    pub(in super::super) fn fine_bounds(
        &self,
        query: &RabitqQuery,
        terms: &BoundTerms,
        list: u32,
    ) -> (f32, f32) {
        let bounds = query.fine_bounds(terms, self.fine_code(list));
        bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY))
    }

    fn fine_code(&self, list: u32) -> &[u8] {
        &self.fine[list as usize * self.fine_bytes..][..self.fine_bytes]
    }
}

/// The mean of the centroids.
#[expect(clippy::cast_possible_truncation, reason = "any point near it will do")]
fn mean<S: PageStore>(store: &S, meta: &Meta) -> Result<Vec<f32>> {
    let mut sums = vec![0.0f64; meta.dims as usize];
    for_each(store, meta, &mut |centroid| {
        sums.iter_mut()
            .zip(centroid)
            .for_each(|(sum, x)| *sum += f64::from(*x));
        Ok(())
    })?;
    let mean = sums.iter().map(|sum| (sum / f64::from(meta.lists)) as f32);
    // What is no number would make all codes useless.
    Ok(mean.map(|x| if x.is_finite() { x } else { 0.0 }).collect())
}
