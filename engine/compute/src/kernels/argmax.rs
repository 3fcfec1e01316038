//! The kernel `argmax`: the largest or smallest of many numbers, and where it is.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{TILE_WG, scratch, together, workgroups};
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_usize};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static ARGMAX: Kernel = kernel!("argmax", "select/argmax.wgsl", [TILE_WG]);

/// Numbers that an invocation of the first pass looks at, as long as there are enough for [`WINNERS_MAX`] workgroups.
const ITEMS: u32 = 16;
/// Most workgroups of the first pass: enough to fill a large GPU, few enough for one workgroup to compare.
const WINNERS_MAX: u32 = 1024;

/// `Params` of argmax.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ArgmaxParams {
    n: u32,
    paired: u32,
}

/// A number and its place, as [`Step::argmax`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ValueAt {
    /// The number.
    pub value: f32,
    /// Its index.
    pub index: u32,
}

impl Step {
    /// Records the search for the largest of `values`, `[n]`: one [`ValueAt`] in `found`, an array of length 1.
    ///
    /// Exact. Ties go to the lower index; 0.0 and -0.0 are equal and come out as 0.0; subnormals count. NaN is passed
    /// over; where all are NaN, the result is (NaN, 0).
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let values = engine.upload("values", &[2.0_f32, f32::NAN, 7.0, 7.0], go_on).unwrap();
    /// let found = engine.array("found", 1, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.argmax(&values, &found, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// let largest = engine.download(&found, go_on).unwrap()[0];
    /// assert_eq!((largest.value, largest.index), (7.0, 2));
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for no values or a result that is not one pair; `OutOfMemory` or `Cancelled` while making
    /// room for partial results; what compiling the kernel reports.
    pub fn argmax(
        &mut self,
        values: &Array<f32>,
        found: &Array<ValueAt>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.extreme(values, false, found, keep_waiting)
    }

    /// As [`Step::argmax`], for the smallest.
    ///
    /// # Errors
    /// As [`Step::argmax`].
    pub fn argmin(
        &mut self,
        values: &Array<f32>,
        found: &Array<ValueAt>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.extreme(values, true, found, keep_waiting)
    }

    fn extreme(
        &mut self,
        values: &Array<f32>,
        minimum: bool,
        found: &Array<ValueAt>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if values.is_empty() || found.len() != 1 {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "cannot find the extreme of {} numbers as {} pairs",
                    values.len(),
                    found.len()
                ),
            ));
        }
        let variant = tuned(&ARGMAX, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let variant = variant
            .sum(together(self.runtime.capabilities(), invocations))
            .constant("MINIMUM", u32::from(minimum));
        let n = as_u32(values.len())?;
        let first = workgroups(&self.runtime, n, invocations * ITEMS).min(WINNERS_MAX);
        if first == 1 {
            let params = ArgmaxParams { n, paired: 0 };
            return self.record_argmax(variant, params, values.view(), found.view(), 1);
        }
        let partial_bytes = as_usize(first.into())? * size_of::<ValueAt>();
        let partial = scratch(&self.runtime, "vectorgpu.argmax", partial_bytes, keep_waiting)?;
        let params = ArgmaxParams { n, paired: 0 };
        self.record_argmax(variant.clone(), params, values.view(), &partial, first)?;
        let params = ArgmaxParams { n: first, paired: 1 };
        self.record_argmax(variant, params, &partial, found.view(), 1)
    }

    fn record_argmax(
        &mut self,
        variant: Variant,
        params: ArgmaxParams,
        candidates: &View,
        winners: &View,
        workgroups: u32,
    ) -> Result<()> {
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &ARGMAX, variant)?;
        let extent = Extent {
            workgroups: [workgroups, 1],
            units: params.n.into(),
        };
        let views = [candidates, winners];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&ARGMAX];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::shader::Sum;
    let mut variants = Vec::new();
    for &size in TILE_WG.candidates {
        for sum in [Sum::Workgroup, Sum::Subgroup] {
            let of = |minimum| {
                Variant::default()
                    .sum(sum)
                    .constant("WG", size)
                    .constant("MINIMUM", minimum)
            };
            variants.extend([0, 1].map(|minimum| (&ARGMAX, of(minimum))));
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(ARGMAX, ArgmaxParams { n, paired });
    }
}
