//! The kernels for many rows, in tiles: `linear_many` multiplies with scalars; `linear_many_cooperative` on matrix units where the
//! device has them, after `linear_halves` has unpacked some thousand rows of weights for it. Unpacking them tile by tile would
//! take as long for each 128 rows of x.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::assign::MATRIX_UNITS;
use super::linear_rows::{PREPARED, PREPARED_FACTORS, Preparation};
use super::plan::{QUAD, ranges, stride_workgroups};
use super::weights::{Call, planes, with_format};
use crate::adapter::DeviceKind;
use crate::capabilities::Capabilities;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::weights::{Part, UNIT, WeightType};

static LINEAR_MANY: Kernel = kernel!("linear_many", "llm/linear_many.wgsl");
static LINEAR_MANY_COOPERATIVE: Kernel =
    kernel!("linear_many_cooperative", "llm/linear_many_cooperative.wgsl");

static LINEAR_HALVES: Kernel = kernel!("linear_halves", "llm/linear_halves.wgsl");

/// Rows and outputs of a tile of both kernels.
const TILE: usize = 128;

/// Rows from which on tiles are faster than going over the weights once for each eight of them.
const MANY_ROWS: usize = 33;

/// Most inputs that software Vulkan multiplies in tiles: see `SOFTWARE_DEPTH` in linear.rs. Longer rows go the way of few.
const SOFTWARE_INPUTS: usize = 512;

/// What a workgroup of linear_many_cooperative.wgsl shares: two slabs of 10 KiB and four strips of 1 KiB.
const COOPERATIVE_BYTES: u32 = 24 << 10;

/// Weights that are unpacked at a time: with 4,096 outputs or more of them, 512 rows of x make a tile for every multiprocessor
/// of a large GPU.
const HALVES_MAX: usize = 64 << 20;

/// Invocations of a workgroup of linear_halves.wgsl.
const HALVES_WG: u32 = 256;

/// `Params` of linear_halves.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HalvesParams {
    outputs: u32,
    units: u32,
    first: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
}

/// How many rows are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    /// In f32.
    Scalar,
    /// In f16 on matrix units, with f32 sums.
    Cooperative,
}

impl Many {
    /// How the device multiplies as many rows as `call` has; `None` for few.
    pub(super) fn of(capabilities: &Capabilities, call: &Call<'_>) -> Option<Self> {
        let software = capabilities.kind == DeviceKind::Software;
        if call.rows < MANY_ROWS || software && call.weights.inputs() > SOFTWARE_INPUTS {
            return None;
        }
        let units = capabilities.cooperative_matrix && !software;
        if units && capabilities.workgroup_bytes >= COOPERATIVE_BYTES {
            return Some(Self::Cooperative);
        }
        Some(Self::Scalar)
    }

    fn kernel(self) -> &'static Kernel {
        match self {
            Self::Scalar => &LINEAR_MANY,
            Self::Cooperative => &LINEAR_MANY_COOPERATIVE,
        }
    }

    /// What x has to become.
    fn preparation(self) -> Preparation {
        match self {
            Self::Scalar => Preparation::Normed,
            Self::Cooperative => Preparation::Halves,
        }
    }

    /// Bytes of an element of x.
    fn element_bytes(self) -> usize {
        match self {
            Self::Scalar => 4,
            Self::Cooperative => 2,
        }
    }
}

impl Step {
    /// Records `call` in tiles.
    pub(super) fn many(
        &mut self,
        call: &Call<'_>,
        way: Many,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let inputs = call.weights.inputs();
        let bytes = (call.rows * inputs).saturating_mul(way.element_bytes());
        let codes = self.between(PREPARED, bytes, keep_waiting)?;
        let factors = self.between(PREPARED_FACTORS, call.rows * size_of::<f32>(), keep_waiting)?;
        let x = [codes, factors];
        self.prepare(call, way.preparation(), &x)?;
        if way == Many::Cooperative {
            self.runtime.pace.expect(way.kernel().name, MATRIX_UNITS);
        }
        for part in call.weights.parts() {
            let unpacked = way == Many::Cooperative && part.format != WeightType::F16.format();
            let most = match unpacked {
                true => (HALVES_MAX / inputs / TILE).max(1) * TILE,
                false => part.outputs,
            };
            for first in (0..part.outputs).step_by(most) {
                let outputs = first..part.outputs.min(first + most);
                let halves = match unpacked {
                    true => Some(self.halves(part, &outputs, keep_waiting)?),
                    false => None,
                };
                let work = outputs.len().saturating_mul(inputs);
                for rows in ranges(&self.runtime, way.kernel().name, call.rows, work) {
                    self.many_run(call, way, (part, &outputs), halves.as_ref(), &x, rows)?;
                }
            }
        }
        Ok(())
    }

    /// Records the unpacking of some rows of weights.
    fn halves(
        &mut self,
        part: &Part,
        outputs: &Range<usize>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<View> {
        let elements = outputs.len() * part.layout.units * UNIT;
        let halves = self.between("vectorgpu.linear.weights", elements * 2, keep_waiting)?;
        let pipeline = self.runtime.pipelines.pipeline(
            &self.runtime.context,
            &LINEAR_HALVES,
            with_format(Variant::default(), part.format),
        )?;
        let [_, high_at, factors_at, supers_at] = planes(part)?;
        let params = HalvesParams {
            outputs: as_u32(outputs.len())?,
            units: as_u32(part.layout.units)?,
            first: as_u32(outputs.start)?,
            high_at,
            factors_at,
            supers_at,
        };
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, as_u32(elements / QUAD)?, HALVES_WG),
            units: as_u64(elements)?,
        };
        let views = [part.view(), part.view(), &halves];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        Ok(halves)
    }

    fn many_run(
        &mut self,
        call: &Call<'_>,
        way: Many,
        (part, outputs): (&Part, &Range<usize>),
        halves: Option<&View>,
        [codes, factors]: &[View; 2],
        rows: Range<usize>,
    ) -> Result<()> {
        let variant = match way {
            Many::Scalar => with_format(Variant::default(), part.format),
            Many::Cooperative => Variant::default(),
        };
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, way.kernel(), variant)?;
        let tiles = rows.len().div_ceil(TILE) * outputs.len().div_ceil(TILE);
        let work = rows.len().saturating_mul(outputs.len());
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, as_u32(tiles)?, 1),
            units: as_u64(work.saturating_mul(call.weights.inputs()))?,
        };
        let mut params = call.params(part, &rows)?;
        params.outputs = as_u32(outputs.len())?;
        params.first += as_u32(outputs.start)?;
        let (bias, out) = (call.bias_view(), call.out.view());
        let views = match way {
            Many::Scalar => vec![part.view(), part.view(), codes, bias, out, factors],
            Many::Cooperative => {
                let weights = halves.unwrap_or(part.view());
                let views = [weights, codes, factors, bias, out];
                return self
                    .runtime
                    .record(&mut self.recording, &pipeline, &params, &views, extent);
            }
        };
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR_MANY, &LINEAR_HALVES, &LINEAR_MANY_COOPERATIVE];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let mut variants = vec![(&LINEAR_MANY_COOPERATIVE, Variant::default())];
    for format in WeightType::all().map(WeightType::format) {
        let variant = with_format(Variant::default(), format);
        variants.extend([(&LINEAR_MANY, variant.clone()), (&LINEAR_HALVES, variant)]);
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::weights::assert_layer_params;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_layer_params(&LINEAR_MANY);
        assert_layer_params(&LINEAR_MANY_COOPERATIVE);
        assert_params!(
            LINEAR_HALVES,
            HalvesParams {
                outputs,
                units,
                first,
                high_at,
                factors_at,
                supers_at
            }
        );
    }
}
