//! The kernels `linear_rows` and `linear_round`, which bring rows of x into the form that others multiply.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::plan::{QUAD, stride_workgroups};
use super::weights::{Call, fold};
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Sum, Variant, kernel};
use crate::step::Step;

static LINEAR_ROWS: Kernel = kernel!("linear_rows", "llm/linear_rows.wgsl");
static LINEAR_ROUND: Kernel = kernel!("linear_round", "llm/linear_round.wgsl");

/// `Params` of linear_rows.wgsl and linear_round.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RowsParams {
    rows: u32,
    quads: u32,
    norm: u32,
    epsilon: f32,
}

/// Labels of memory for what x becomes, and for its factors.
pub(super) const PREPARED: &str = "vectorgpu.linear.x";
pub(super) const PREPARED_FACTORS: &str = "vectorgpu.linear.factors";

/// What x becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparation {
    /// Itself, normed if there is a norm.
    Normed,
    /// The same as f16, with a factor for each row.
    Halves,
    /// Two bytes an element, with a scale and sums for each unit.
    Rounded,
}

impl Preparation {
    fn kernel(self) -> &'static Kernel {
        match self {
            Self::Normed | Self::Halves => &LINEAR_ROWS,
            Self::Rounded => &LINEAR_ROUND,
        }
    }

    fn variant(self, sum: Sum, fold: u32) -> Variant {
        let variant = Variant::default().sum(sum).constant("FOLD", fold);
        match self {
            Self::Normed => variant.constant("HALVES", 0),
            Self::Halves => variant.constant("HALVES", 1),
            Self::Rounded => variant,
        }
    }
}

impl Step {
    /// Records the preparation of all rows of x: what becomes of them, and the factors.
    pub(super) fn prepare(
        &mut self,
        call: &Call<'_>,
        preparation: Preparation,
        [rows, factors]: &[View; 2],
    ) -> Result<()> {
        let (sum, lanes) = fold(self.runtime.capabilities());
        let pipeline = self.runtime.pipelines.pipeline(
            &self.runtime.context,
            preparation.kernel(),
            preparation.variant(sum, lanes),
        )?;
        let x = call.input.x;
        let params = RowsParams {
            rows: as_u32(call.rows)?,
            quads: as_u32(call.weights.inputs() / QUAD)?,
            norm: u32::from(call.input.norm.is_some()),
            epsilon: call.input.norm.map_or(0.0, |norm| norm.epsilon),
        };
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, params.rows, 1),
            units: as_u64(x.len())?,
        };
        let norm = call.input.norm.map_or(x, |norm| norm.weights);
        let views = [x.view(), norm.view(), rows, factors];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR_ROWS, &LINEAR_ROUND];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use super::weights::LANES;

    let mut variants = Vec::new();
    for preparation in [Preparation::Normed, Preparation::Halves, Preparation::Rounded] {
        for sum in [Sum::Workgroup, Sum::Subgroup] {
            variants.extend(LANES.map(|fold| (preparation.kernel(), preparation.variant(sum, fold))));
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        for kernel in [&LINEAR_ROWS, &LINEAR_ROUND] {
            assert_params!(
                kernel,
                RowsParams {
                    rows,
                    quads,
                    norm,
                    epsilon
                }
            );
        }
    }
}
