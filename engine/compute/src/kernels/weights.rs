//! Linear layers of language models: products of rows of numbers with weights of any type (`linear`, `gated`), and rows of
//! weights by number (`embed`).
//!
//! One row goes through `linear_few.rs`, some rows through `linear_batch.rs`, and each has the same bits whatever the other rows
//! are, or whether there are any. Many rows go through `linear_many.rs`, where it is the same among themselves.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::linear_many::Many;
use super::plan::{QUAD, stride_workgroups};
use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::memory::view::View;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Sum, Variant, kernel};
use crate::step::Step;
use crate::weights::{Format, GatedWeights, Gating, LinearWeights, Part};

static EMBED: Kernel = kernel!("embed", "llm/embed.wgsl");

/// Invocations that add up together: most of them, and fewest.
pub(super) const WIDE: u32 = 32;
pub(super) const NARROW: u32 = 8;

/// Every number of invocations that add up together.
#[cfg(test)]
pub(crate) const LANES: [u32; 2] = [WIDE, NARROW];

/// Invocations of a workgroup of `embed`.
const EMBED_WG: u32 = 64;

/// `Params` of every kernel of a linear layer.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct LayerParams {
    rows: u32,
    row_first: u32,
    pub(super) outputs: u32,
    units: u32,
    pub(super) first: u32,
    stride: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
    mode: u32,
    epsilon: f32,
}

/// `Params` of embed.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EmbedParams {
    rows: u32,
    outputs: u32,
    units: u32,
    first: u32,
    all: u32,
    high_at: u32,
    factors_at: u32,
    supers_at: u32,
}

/// Division of each row by the root of its mean square, as Llama has it: `x[i] / sqrt(mean(x^2) + epsilon) * weights[i]`.
#[derive(Clone, Copy)]
pub struct RmsNorm<'a> {
    /// `[inputs]`.
    pub weights: &'a Array<f32>,
    /// What is added to the mean.
    pub epsilon: f32,
}

/// What goes into a linear layer.
#[derive(Clone, Copy)]
pub struct LinearInput<'a> {
    /// `[rows, inputs]`, row-major.
    pub x: &'a Array<f32>,
    /// Done to each row before it is multiplied.
    pub norm: Option<RmsNorm<'a>>,
}

/// What becomes of what is in the result already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is overwritten.
    Written,
    /// It is added to.
    Added,
}

/// `mode` of the shaders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Write,
    Add,
    /// Even rows are gates of the odd ones behind them.
    Pairs,
    /// The result holds the gates.
    Gate,
}

impl Mode {
    /// Its code, with what else is done.
    fn code(self, norm: bool, bias: bool) -> u32 {
        let kind = match self {
            Self::Write => 0,
            Self::Add => 1,
            Self::Pairs => 2,
            Self::Gate => 3,
        };
        kind | u32::from(norm) << 2 | u32::from(bias) << 3
    }
}

/// A layer to be recorded.
pub(super) struct Call<'a> {
    pub(super) input: LinearInput<'a>,
    pub(super) rows: usize,
    pub(super) weights: &'a LinearWeights,
    pub(super) out: &'a Array<f32>,
    /// Numbers of a row of `out`.
    pub(super) stride: usize,
    pub(super) mode: Mode,
}

impl Call<'_> {
    /// Parameters for the outputs of `part` and these rows of x.
    pub(super) fn params(&self, part: &Part, rows: &Range<usize>) -> Result<LayerParams> {
        let [_, high_at, factors_at, supers_at] = planes(part)?;
        let (norm, bias) = (self.input.norm, self.weights.bias());
        Ok(LayerParams {
            rows: as_u32(rows.len())?,
            row_first: as_u32(rows.start)?,
            outputs: as_u32(part.outputs)?,
            units: as_u32(part.layout.units)?,
            first: as_u32(part.first)?,
            stride: as_u32(self.stride)?,
            high_at,
            factors_at,
            supers_at,
            mode: self.mode.code(norm.is_some(), bias.is_some()),
            epsilon: norm.map_or(0.0, |norm| norm.epsilon),
        })
    }

    /// Multiply-adds of the outputs of `part` for `rows` rows.
    pub(super) fn units(&self, part: &Part, rows: usize) -> Result<u64> {
        as_u64(
            rows.saturating_mul(part.outputs)
                .saturating_mul(self.weights.inputs()),
        )
    }

    /// The bias; where there is none it is not read either, but something has to be bound.
    pub(super) fn bias_view(&self) -> &View {
        self.weights.bias().map_or(self.input.x.view(), Array::view)
    }
}

impl Step {
    /// Records a linear layer: `out[row, o] = sum(x[row, i] * weights[o, i]) + bias[o]`, or adds that to `out`. `out` is
    /// `[rows, outputs]` row-major. Does nothing for no rows.
    ///
    /// Sums are in f32, in an order that does not depend on the other rows; quantised weights are multiplied with numbers of
    /// some 16 bits, which each 32 elements of x are rounded to. The same device gives the same bits for the same inputs.
    /// An infinite x gives NaN; for quantised weights, what NaN gives is not specified.
    /// More than 32 rows may be multiplied on matrix units, where the device has them: then x, with a power of two for each row,
    /// and weights are rounded to f16, and a weight beyond 65,504 is infinite.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, LinearInput, Outcome, WeightRows, WeightType};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let bytes: Vec<u8> = [0.5_f32; 64].iter().flat_map(|x| x.to_le_bytes()).collect();
    /// let rows = WeightRows { weight_type: WeightType::F32, outputs: 2, bytes: &bytes };
    /// let weights = engine.upload_weights("weights", 32, &[rows], go_on).unwrap();
    /// let x = engine.upload("x", &[0.25_f32; 32], go_on).unwrap();
    /// let out = engine.array("out", 2, go_on).unwrap();
    /// let mut step = engine.step();
    /// let input = LinearInput { x: &x, norm: None };
    /// step.linear(&weights, input, &out, Outcome::Written, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&out, go_on).unwrap(), [4.0, 4.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes and when `out` shares its buffer with an input; `OutOfMemory` or `Cancelled` while
    /// making room for what lies between kernels; what compiling the kernels reports.
    pub fn linear(
        &mut self,
        weights: &LinearWeights,
        input: LinearInput<'_>,
        out: &Array<f32>,
        outcome: Outcome,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let mode = match outcome {
            Outcome::Written => Mode::Write,
            Outcome::Added => Mode::Add,
        };
        let rows = rows_of(&input, weights.inputs(), out, weights.outputs())?;
        let call = Call {
            input,
            rows,
            weights,
            out,
            stride: weights.outputs(),
            mode,
        };
        self.record_linear(&call, keep_waiting)
    }

    /// Records a gated layer: `out[row, o] = SiLU(sum(x[row, i] * gate[o, i])) * sum(x[row, i] * up[o, i])`, where
    /// `SiLU(g) = g / (1 + exp(-g))`. `out` is `[rows, outputs]`; otherwise as [`Step::linear`].
    ///
    /// # Errors
    /// As [`Step::linear`].
    pub fn gated(
        &mut self,
        weights: &GatedWeights,
        input: LinearInput<'_>,
        out: &Array<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let rows = rows_of(&input, weights.inputs(), out, weights.outputs())?;
        let call = |weights, mode, stride| Call {
            input,
            rows,
            weights,
            out,
            stride,
            mode,
        };
        match &weights.kind {
            Gating::Paired(both) => {
                self.record_linear(&call(both, Mode::Pairs, weights.outputs()), keep_waiting)
            }
            Gating::Apart(gate, up) => {
                self.record_linear(&call(gate, Mode::Write, weights.outputs()), keep_waiting)?;
                self.record_linear(&call(up, Mode::Gate, weights.outputs()), keep_waiting)
            }
        }
    }

    /// Records `out[t] = weights[tokens[t]]`, rows of weights as numbers. `out` is `[tokens, inputs]`; a token that is no
    /// row gets zeros.
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes and when `out` shares its buffer with an input; what compiling the kernel reports.
    pub fn embed(&mut self, weights: &LinearWeights, tokens: &Array<u32>, out: &Array<f32>) -> Result<()> {
        if tokens.len().checked_mul(weights.inputs()) != Some(out.len()) {
            return Err(invalid(format!(
                "{} numbers are not {} rows of {}",
                out.len(),
                tokens.len(),
                weights.inputs()
            )));
        }
        if tokens.is_empty() {
            return Ok(());
        }
        for part in weights.parts() {
            let variant = with_format(Variant::default(), part.format);
            let pipeline = self
                .runtime
                .pipelines
                .pipeline(&self.runtime.context, &EMBED, variant)?;
            let [_, high_at, factors_at, supers_at] = planes(part)?;
            let params = EmbedParams {
                rows: as_u32(tokens.len())?,
                outputs: as_u32(part.outputs)?,
                units: as_u32(part.layout.units)?,
                first: as_u32(part.first)?,
                all: as_u32(weights.outputs())?,
                high_at,
                factors_at,
                supers_at,
            };
            let quads = as_u32(out.len() / QUAD)?;
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, quads, EMBED_WG),
                units: as_u64(out.len())?,
            };
            let views = [part.view(), part.view(), tokens.view(), out.view()];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    fn record_linear(&mut self, call: &Call<'_>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if let Some(way) = Many::of(self.runtime.capabilities(), call) {
            return self.many(call, way, keep_waiting);
        }
        match call.rows {
            0 => Ok(()),
            1 => self.few(call),
            _ => self.batch(call, keep_waiting),
        }
    }
}

/// How neighbouring invocations of a workgroup of 64 or a multiple of that fold numbers, and how many of them at most.
pub(super) fn fold(capabilities: &Capabilities) -> (Sum, u32) {
    match capabilities.subgroups {
        Some((smallest, largest)) if smallest >= WIDE && largest <= 64 => (Sum::Subgroup, WIDE),
        // Eight invocations round a unit of x together.
        Some((smallest, largest)) if smallest >= NARROW && largest <= 64 => (Sum::Subgroup, NARROW),
        _ => (Sum::Workgroup, WIDE),
    }
}

/// Where the planes of `part` start, in words.
pub(super) fn planes(part: &Part) -> Result<[u32; 4]> {
    let mut starts = [0; 4];
    for (start, (bytes, _)) in starts.iter_mut().zip(part.layout.planes) {
        *start = as_u32(bytes / size_of::<u32>())?;
    }
    Ok(starts)
}

/// `variant` for weights of `format`.
pub(super) fn with_format(variant: Variant, format: Format) -> Variant {
    variant
        .constant("BITS", format.bits)
        .constant("FACTORS", format.factors)
        .constant("OFFSET", format.offset)
}

/// The number of rows of `input`, which with `out` fits a layer.
///
/// # Errors
/// `InvalidArgument`.
fn rows_of(input: &LinearInput<'_>, inputs: usize, out: &Array<f32>, outputs: usize) -> Result<usize> {
    let rows = input.x.len() / inputs;
    if rows * inputs != input.x.len() || rows.checked_mul(outputs) != Some(out.len()) {
        return Err(invalid(format!(
            "a layer from {inputs} to {outputs} does not make {} numbers of {}",
            out.len(),
            input.x.len()
        )));
    }
    if let Some(norm) = input.norm.filter(|norm| norm.weights.len() != inputs) {
        return Err(invalid(format!(
            "{} weights of a norm for {inputs} numbers",
            norm.weights.len()
        )));
    }
    Ok(rows)
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&EMBED];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let formats = crate::weights::WeightType::all().map(crate::weights::WeightType::format);
    formats
        .map(|format| (&EMBED, with_format(Variant::default(), format)))
        .collect()
}

/// Checks that a kernel of a linear layer has the parameters of all of them.
#[cfg(test)]
pub(super) fn assert_layer_params(kernel: &Kernel) {
    crate::shader::assert_params!(
        kernel,
        LayerParams {
            rows,
            row_first,
            outputs,
            units,
            first,
            stride,
            high_at,
            factors_at,
            supers_at,
            mode,
            epsilon
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            EMBED,
            EmbedParams {
                rows,
                outputs,
                units,
                first,
                all,
                high_at,
                factors_at,
                supers_at
            }
        );
    }
}
