//! What encoders such as BERT have beside linear layers: `gelu`, `layer_norm`.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::plan::stride_workgroups;
use super::weights::fold;
use crate::array::Array;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;

static GELU: Kernel = kernel!("gelu", "llm/gelu.wgsl");
static LAYER_NORM: Kernel = kernel!("layer_norm", "llm/layer_norm.wgsl");

/// Invocations of a workgroup of gelu.wgsl.
const GELU_WG: u32 = 256;

/// `Params` of gelu.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GeluParams {
    n: u32,
}

/// `Params` of layer_norm.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NormParams {
    rows: u32,
    dims: u32,
    add: u32,
    epsilon: f32,
}

/// How GELU is computed; models are trained with one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// By the error function.
    Exact,
    /// By the hyperbolic tangent, which comes near it.
    Tanh,
}

/// A layer norm: `(x - mean) / sqrt(variance + epsilon) * scale + shift`, row by row.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[dims]`.
    pub scale: &'a Array<f32>,
    /// `[dims]`.
    pub shift: &'a Array<f32>,
    /// What is added to the variance.
    pub epsilon: f32,
}

impl Gelu {
    /// `FORM` of gelu.wgsl.
    fn code(self) -> u32 {
        match self {
            Self::Exact => 0,
            Self::Tanh => 1,
        }
    }
}

impl Step {
    /// Records `x[i] = GELU(x[i])`, in place; to within 2e-7 of `x` and f32 rounding. NaN stays NaN.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub fn gelu(&mut self, form: Gelu, x: &Array<f32>) -> Result<()> {
        if x.is_empty() {
            return Ok(());
        }
        let variant = Variant::default().constant("FORM", form.code());
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &GELU, variant)?;
        let params = GeluParams { n: as_u32(x.len())? };
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, params.n, GELU_WG),
            units: as_u64(x.len())?,
        };
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &[x.view()], extent)
    }

    /// Records the layer norm of each row of `x`, or of `x + add`: `out`, all `[rows, dims]`. Whatever the other rows are, a row
    /// has the same bits.
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes and when `out` shares its buffer with an input; what compiling the kernel reports.
    pub fn layer_norm(
        &mut self,
        x: &Array<f32>,
        add: Option<&Array<f32>>,
        norm: LayerNorm<'_>,
        out: &Array<f32>,
    ) -> Result<()> {
        let dims = norm.scale.len();
        let same = add.is_none_or(|add| add.len() == x.len()) && out.len() == x.len();
        if dims == 0 || norm.shift.len() != dims || !x.len().is_multiple_of(dims) || !same {
            return Err(invalid(format!(
                "{} numbers are not rows of {dims}, or not those of the result",
                x.len()
            )));
        }
        if x.is_empty() {
            return Ok(());
        }
        let (sum, lanes) = fold(self.runtime.capabilities());
        let variant = Variant::default().sum(sum).constant("FOLD", lanes);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &LAYER_NORM, variant)?;
        let params = NormParams {
            rows: as_u32(x.len() / dims)?,
            dims: as_u32(dims)?,
            add: u32::from(add.is_some()),
            epsilon: norm.epsilon,
        };
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, params.rows, 1),
            units: as_u64(x.len())?,
        };
        let views = [
            x.view(),
            add.unwrap_or(x).view(),
            norm.scale.view(),
            norm.shift.view(),
            out.view(),
        ];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&GELU, &LAYER_NORM];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::shader::Sum;

    let mut variants = Vec::new();
    for form in [Gelu::Exact, Gelu::Tanh] {
        variants.push((&GELU, Variant::default().constant("FORM", form.code())));
    }
    for sum in [Sum::Workgroup, Sum::Subgroup] {
        for lanes in super::weights::LANES {
            variants.push((&LAYER_NORM, Variant::default().sum(sum).constant("FOLD", lanes)));
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
        assert_params!(GELU, GeluParams { n });
        assert_params!(
            LAYER_NORM,
            NormParams {
                rows,
                dims,
                add,
                epsilon
            }
        );
    }
}
