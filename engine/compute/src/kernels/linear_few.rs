//! The kernels `linear_few` and `linear_few_blocks`: one row, prepared by each workgroup for itself, so that a layer is one
//! dispatch.

use vectorgpu_core::Result;

use super::plan::stride_workgroups;
use super::weights::{Call, NARROW, fold, with_format};
use crate::capabilities::Capabilities;
use crate::record::Extent;
use crate::runtime::{Runtime, as_u32};
use crate::shader::{Kernel, Sum, Variant, kernel};
use crate::step::Step;
use crate::weights::{Format, Part};

static LINEAR_FEW: Kernel = kernel!("linear_few", "llm/linear_few.wgsl");
static LINEAR_FEW_BLOCKS: Kernel = kernel!("linear_few_blocks", "llm/linear_few_blocks.wgsl");

/// Invocations of a workgroup, and rows of weights that its lanes share.
const SIZE: (u32, usize) = (256, 2);

/// Invocations that a device has at work at a time, at most: more workgroups would prepare x for too little.
const INVOCATIONS: u32 = 1056 * 256;

/// Units of rows that are short, and in all of a part where there are many of them: lanes would be idle behind their ends.
const SHORT_UNITS: usize = 64;
const MANY_UNITS: usize = 1 << 18;

impl Step {
    /// Records the outputs of every part for the only row of x.
    pub(super) fn few(&mut self, call: &Call<'_>) -> Result<()> {
        for part in call.weights.parts() {
            let shape = Shape::of(self.runtime.capabilities(), part);
            let pipeline = self.runtime.pipelines.pipeline(
                &self.runtime.context,
                kernel_of(part.format),
                variant(shape, part.format),
            )?;
            let extent = Extent {
                workgroups: shape.workgroups(&self.runtime, part.outputs, SIZE)?,
                units: call.units(part, 1)?,
            };
            let x = call.input.x.view();
            let norm = call.input.norm.map_or(x, |norm| norm.weights.view());
            let views = [
                part.view(),
                part.view(),
                x,
                call.bias_view(),
                call.out.view(),
                norm,
            ];
            let params = call.params(part, &(0..1))?;
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }
}

/// The kernel for weights of `format`.
fn kernel_of(format: Format) -> &'static Kernel {
    if format.is_float() {
        &LINEAR_FEW
    } else {
        &LINEAR_FEW_BLOCKS
    }
}

fn variant(shape: Shape, format: Format) -> Variant {
    with_format(Variant::default(), format)
        .sum(shape.sum)
        .constant("LANES", shape.lanes)
        .constant("FOLD", shape.fold)
}

/// How a workgroup shares the rows of weights of a part out. It does not depend on x, so that its rows may come one by one or
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) sum: Sum,
    /// Invocations that add up together.
    pub(super) fold: u32,
    /// Invocations that share two rows.
    pub(super) lanes: u32,
}

impl Shape {
    pub(super) fn of(capabilities: &Capabilities, part: &Part) -> Self {
        let (sum, fold) = fold(capabilities);
        let units = part.layout.units;
        let short = units < SHORT_UNITS && part.outputs.saturating_mul(units) > MANY_UNITS;
        Self {
            sum,
            fold,
            lanes: if short { NARROW } else { fold },
        }
    }

    /// Workgroups of `invocations` for so many rows of weights, of which lanes share `together`.
    pub(super) fn workgroups(
        &self,
        runtime: &Runtime,
        outputs: usize,
        (invocations, together): (u32, usize),
    ) -> Result<[u32; 2]> {
        let groups = as_u32(outputs.div_ceil(together))?;
        let [workgroups, y] = stride_workgroups(runtime, groups, invocations / self.lanes);
        Ok([workgroups.min(INVOCATIONS / invocations), y])
    }

    /// Every one that there is.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        use super::weights::WIDE;

        [Sum::Workgroup, Sum::Subgroup].into_iter().flat_map(|sum| {
            [(WIDE, WIDE), (WIDE, NARROW), (NARROW, NARROW)].map(|(fold, lanes)| Self { sum, fold, lanes })
        })
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR_FEW, &LINEAR_FEW_BLOCKS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::weights::WeightType;

    let formats = WeightType::all().map(WeightType::format);
    formats
        .flat_map(|format| Shape::all().map(move |shape| (kernel_of(format), variant(shape, format))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::weights::assert_layer_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_layer_params(&LINEAR_FEW);
        assert_layer_params(&LINEAR_FEW_BLOCKS);
    }
}
