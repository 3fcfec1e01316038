//! The kernels `kmeans_assign` and `kmeans_assign_cooperative` over rows in device memory.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::NearestBy;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::kmeans::{AssignParams, KMEANS_ASSIGN, scale_for};
use super::plan::{ranges, stride_workgroups};
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::rows::{RowArray, RowFormat, invalid};
use crate::runtime::{as_u32, as_u64};
use crate::scaled_rows::ScaledRows;
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;

static KMEANS_ASSIGN_COOPERATIVE: Kernel = kernel!(
    "kmeans_assign_cooperative",
    "search/kmeans_assign_cooperative.wgsl"
);

/// How much faster than other kernels matrix units are at the least: too little in one dispatch leaves them idle.
pub(super) const MATRIX_UNITS: f64 = 16.0;

/// Rows of a workgroup of `kmeans_assign` and of `kmeans_assign_cooperative`.
const TILE: u32 = 64;
const COOPERATIVE_TILE: u32 = 128;

/// `Params` of kmeans_assign_cooperative.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CooperativeParams {
    rows: u32,
    octets: u32,
    list_first: u32,
    list_count: u32,
    list_number: u32,
    carry: u32,
    scale: f32,
}

/// Where the nearest centroid of each row goes.
#[derive(Clone)]
pub struct Assignment {
    /// The number of the nearest list of each row.
    pub labels: Array<u32>,
    /// `norms[list] - scale * dot(row, centroid)` of that list, with `scale` 2 for L2 and 1 for inner product.
    pub best: Array<f32>,
}

impl Step {
    /// Records the search for the nearest of `centroids` for each of `rows`, both of f32.
    ///
    /// `norms` has one number for each centroid: by L2 its squared length, by inner product 0. Sums are in f32. Ties go to
    /// the lower list; a row without any score below `f32::MAX` (NaN, infinity) gets list 0.
    ///
    /// ```
    /// # use vectorgpu_compute::{Assignment, EngineBuilder, RowFormat};
    /// # use vectorgpu_core::backend::NearestBy;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    /// let centroids = engine.upload_rows("lists", RowFormat::F32, 1, &bytes(&[0.0, 10.0]), go_on).unwrap();
    /// let norms = engine.upload("norms", &[0.0_f32, 100.0], go_on).unwrap();
    /// let rows = engine.upload_rows("rows", RowFormat::F32, 1, &bytes(&[7.0, 1.0, 5.0]), go_on).unwrap();
    /// let nearest = Assignment {
    ///     labels: engine.array("labels", 3, go_on).unwrap(),
    ///     best: engine.array("best", 3, go_on).unwrap(),
    /// };
    /// let mut step = engine.step();
    /// step.kmeans_assign(NearestBy::L2, &centroids, &norms, &rows, &nearest).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&nearest.labels, go_on).unwrap(), [1, 0, 0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for shapes or formats that do not fit, or no centroids; what compiling the kernel reports.
    pub fn kmeans_assign(
        &mut self,
        by: NearestBy,
        centroids: &RowArray,
        norms: &Array<f32>,
        rows: &RowArray,
        nearest: &Assignment,
    ) -> Result<()> {
        rows.check(RowFormat::F32, rows.rows(), rows.dims())?;
        centroids.check(RowFormat::F32, centroids.rows(), rows.dims())?;
        let (lists, quads) = (centroids.rows(), as_u32(rows.quads())?);
        check(lists, norms, rows.rows(), nearest)?;
        let list_count = as_u32(lists)?;
        let params = |rows| AssignParams {
            rows,
            quads,
            list_first: 0,
            list_count,
            list_number: 0,
            carry: 0,
            scale: scale_for(by),
        };
        let units = lists.saturating_mul(rows.dims());
        self.record_assign(&KMEANS_ASSIGN, TILE, rows.rows(), units, params, |range| {
            let nearest = nearest.slice(range.clone())?;
            Ok(vec![
                rows.slice(range)?.view().clone(),
                centroids.view().clone(),
                norms.view().clone(),
                nearest.best.view().clone(),
                nearest.labels.view().clone(),
            ])
        })
    }

    /// As [`Step::kmeans_assign`], on matrix units: rows and centroids are multiplied as rounded to f16 after scaling, so
    /// a list may win that is farther by some `2^-10 |row| |centroid|`.
    ///
    /// # Errors
    /// `Unsupported` on a device without cooperative matrices of 16x16x16 f16; as [`Step::kmeans_assign`].
    pub fn kmeans_assign_cooperative(
        &mut self,
        by: NearestBy,
        centroids: &ScaledRows,
        norms: &Array<f32>,
        rows: &ScaledRows,
        nearest: &Assignment,
    ) -> Result<()> {
        if !self.runtime.capabilities().cooperative_matrix {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the GPU has no cooperative matrices of 16x16x16 f16",
            ));
        }
        if centroids.dims() != rows.dims() {
            return Err(invalid(format!(
                "centroids of {} dimensions for rows of {}",
                centroids.dims(),
                rows.dims()
            )));
        }
        let (lists, octets) = (centroids.rows(), as_u32(rows.octets())?);
        check(lists, norms, rows.rows(), nearest)?;
        let list_count = as_u32(lists)?;
        let params = |rows| CooperativeParams {
            rows,
            octets,
            list_first: 0,
            list_count,
            list_number: 0,
            carry: 0,
            scale: scale_for(by),
        };
        let kernel = &KMEANS_ASSIGN_COOPERATIVE;
        self.runtime.pace.expect(kernel.name, MATRIX_UNITS);
        let units = lists.saturating_mul(rows.dims());
        self.record_assign(kernel, COOPERATIVE_TILE, rows.rows(), units, params, |range| {
            let (rows, nearest) = (rows.slice(range.clone())?, nearest.slice(range)?);
            Ok(vec![
                rows.codes().view().clone(),
                centroids.codes().view().clone(),
                norms.view().clone(),
                rows.factors().view().clone(),
                centroids.factors().view().clone(),
                nearest.best.view().clone(),
                nearest.labels.view().clone(),
            ])
        })
    }

    /// Records `kernel` over ranges of `rows`, each row of `units`, in workgroups of `tile` rows.
    fn record_assign<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        tile: u32,
        rows: usize,
        units: usize,
        params: impl Fn(u32) -> P,
        views: impl Fn(Range<usize>) -> Result<Vec<View>>,
    ) -> Result<()> {
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, kernel, Variant::default())?;
        for range in ranges(&self.runtime, kernel.name, rows, units) {
            let count = as_u32(range.len())?;
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, count, tile),
                units: as_u64(range.len().saturating_mul(units))?,
            };
            let views = views(range)?;
            let views: Vec<&View> = views.iter().collect();
            self.runtime
                .record(&mut self.recording, &pipeline, &params(count), &views, extent)?;
        }
        Ok(())
    }
}

impl Assignment {
    /// The part of the rows of `range`, sharing this one's memory.
    ///
    /// # Errors
    /// As [`Array::slice`].
    pub fn slice(&self, range: Range<usize>) -> Result<Self> {
        Ok(Self {
            labels: self.labels.slice(range.clone())?,
            best: self.best.slice(range)?,
        })
    }
}

fn check(lists: usize, norms: &Array<f32>, rows: usize, nearest: &Assignment) -> Result<()> {
    if lists == 0 || norms.len() != lists || nearest.labels.len() != rows || nearest.best.len() != rows {
        return Err(invalid(format!(
            "{lists} lists with {} norms, {rows} rows with {} labels and {} scores do not fit",
            norms.len(),
            nearest.labels.len(),
            nearest.best.len()
        )));
    }
    Ok(())
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&KMEANS_ASSIGN_COOPERATIVE];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    vec![(&KMEANS_ASSIGN_COOPERATIVE, Variant::default())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            KMEANS_ASSIGN_COOPERATIVE,
            CooperativeParams {
                rows,
                octets,
                list_first,
                list_count,
                list_number,
                carry,
                scale,
            }
        );
    }
}
