//! A copy of the centroids as int8.

use crate::error::{Error, ErrorKind, Result};
use crate::metric::Metric;
use crate::quantize::int8;
use crate::quantize::int8_query::{Int8Factors, Int8Query, Int8Runs};

use super::super::layout::Meta;
use super::super::store::PageStore;
use super::for_each;

/// Centroids rounded to int8.
#[derive(Debug)]
pub struct RoundedCentroids {
    dims: usize,
    metric: Metric,
    codes: Vec<u8>,
    scale: Vec<f32>,
    residual: Vec<f32>,
    norm_sq: Vec<f32>,
}

impl RoundedCentroids {
    pub(super) fn bytes_for(meta: &Meta) -> usize {
        meta.lists as usize * (meta.dims as usize + size_of::<Int8Factors>())
    }

    pub(super) fn read<S: PageStore>(store: &S, meta: &Meta) -> Result<Self> {
        let (dims, lists) = (meta.dims as usize, meta.lists as usize);
        let mut read = Self {
            dims,
            metric: meta.metric.of_lists(),
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
        for_each(store, meta, &mut |centroid| read.push(centroid))?;
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

    pub(super) fn lists(&self) -> usize {
        self.scale.len()
    }

    /// Bounds of what [`Metric::score`] makes of each centroid and `query`, in the order of the lists: smaller is
    /// nearer, so the dot product counts negatively.
    pub(in super::super) fn score_bounds(
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
