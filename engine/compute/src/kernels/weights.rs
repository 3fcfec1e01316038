//! Linear layers of language models: products of rows of numbers with weights of any type (`linear`, `gated`), and rows of
//! weights by number (`embed`).
//!
//! Up to eight rows go through `linear_few` or, for quantised weights, `linear_few_blocks`, which read the weights once; each
//! row's results have the same bits whatever the other rows are.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::plan::stride_workgroups;
use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::memory::view::View;
use crate::pipeline::Pipeline;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Sum, Variant, kernel};
use crate::step::Step;
use crate::weights::{Format, GatedWeights, Gating, LinearWeights, Part};

static LINEAR_FEW: Kernel = kernel!("linear_few", "llm/linear_few.wgsl");
static LINEAR_FEW_BLOCKS: Kernel = kernel!("linear_few_blocks", "llm/linear_few_blocks.wgsl");
static EMBED: Kernel = kernel!("embed", "llm/embed.wgsl");

/// Most rows of a run of the kernels for few rows, and the numbers of rows that they come for.
const FEW_ROWS: [usize; 4] = [1, 2, 4, 8];

/// Units of all rows of x together that a workgroup holds at a time: those of quantised weights, rounded, and others.
const HELD_UNITS: [usize; 2] = [128, 64];

/// What a workgroup holds of eight rows, of 32 units each, with what else it needs.
const EIGHT_ROWS_BYTES: u32 = 24 << 10;

/// Invocations that share rows of weights: where rows are long or few, and where they are short and many.
const WIDE: u32 = 32;
const NARROW: u32 = 8;

/// Invocations that a device has at work at a time, at most: more workgroups would prepare x for too little.
const INVOCATIONS: u32 = 1056 * 256;

/// Invocations of a workgroup of `embed`.
const EMBED_WG: u32 = 64;

/// `Params` of linear_few.wgsl and linear_few_blocks.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FewParams {
    rows: u32,
    row_first: u32,
    outputs: u32,
    units: u32,
    first: u32,
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
enum Mode {
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
struct Call<'a> {
    input: LinearInput<'a>,
    rows: usize,
    weights: &'a LinearWeights,
    out: &'a Array<f32>,
    /// Numbers of a row of `out`.
    stride: usize,
    mode: Mode,
}

impl Step {
    /// Records a linear layer: `out[row, o] = sum(x[row, i] * weights[o, i]) + bias[o]`, or adds that to `out`. `out` is
    /// `[rows, outputs]` row-major. Does nothing for no rows.
    ///
    /// Sums are in f32, in an order that does not depend on the other rows; quantised weights are multiplied with numbers of
    /// some 16 bits, which each 32 elements of x are rounded to. The same device gives the same bits for the same inputs.
    /// An infinite x gives NaN; for quantised weights, what NaN gives is not specified.
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
            let octets = as_u32(out.len() / 8)?;
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, octets, EMBED_WG),
                units: as_u64(out.len())?,
            };
            let views = [part.view(), part.view(), tokens.view(), out.view()];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    fn record_linear(&mut self, call: &Call<'_>, _keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        for part in call.weights.parts() {
            self.few(call, part)?;
        }
        Ok(())
    }

    /// Records the outputs of `part`, eight rows of x at a time.
    fn few(&mut self, call: &Call<'_>, part: &Part) -> Result<()> {
        let capabilities = self.runtime.capabilities();
        let shape = FewShape::of(capabilities, part);
        let most = if capabilities.workgroup_bytes < EIGHT_ROWS_BYTES {
            4
        } else {
            8
        };
        for row_first in (0..call.rows).step_by(most) {
            let rows = most.min(call.rows - row_first);
            let kernel = if part.format.is_float() {
                &LINEAR_FEW
            } else {
                &LINEAR_FEW_BLOCKS
            };
            let variant = shape.variant(part.format, rows);
            let pipeline = self
                .runtime
                .pipelines
                .pipeline(&self.runtime.context, kernel, variant)?;
            self.few_run(call, part, &pipeline, &shape, row_first..row_first + rows)?;
        }
        Ok(())
    }

    fn few_run(
        &mut self,
        call: &Call<'_>,
        part: &Part,
        pipeline: &Rc<Pipeline>,
        shape: &FewShape,
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        let [_, high_at, factors_at, supers_at] = planes(part)?;
        let (norm, bias) = (call.input.norm, call.weights.bias());
        let params = FewParams {
            rows: as_u32(rows.len())?,
            row_first: as_u32(rows.start)?,
            outputs: as_u32(part.outputs)?,
            units: as_u32(part.layout.units)?,
            first: as_u32(part.first)?,
            stride: as_u32(call.stride)?,
            high_at,
            factors_at,
            supers_at,
            mode: call.mode.code(norm.is_some(), bias.is_some()),
            epsilon: norm.map_or(0.0, |norm| norm.epsilon),
        };
        let work = (rows.len() * part.outputs).saturating_mul(call.weights.inputs());
        let extent = Extent {
            workgroups: [shape.workgroups(&self.runtime, part.outputs)?, 1],
            units: as_u64(work)?,
        };
        let views = views(call, part);
        self.runtime
            .record(&mut self.recording, pipeline, &params, &views, extent)
    }
}

/// How the kernels for few rows share the weights of a part out; it does not depend on x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FewShape {
    sum: Sum,
    invocations: u32,
    lanes: u32,
}

impl FewShape {
    fn of(capabilities: &Capabilities, part: &Part) -> Self {
        let units = part.layout.units;
        let short = units < 64 && part.outputs.saturating_mul(units) > 1 << 18;
        let smallest = capabilities.subgroups.map(|(smallest, _)| smallest);
        // Eight invocations round a unit of x together.
        let sum = match capabilities.subgroups {
            Some((smallest, largest)) if smallest >= NARROW && largest <= 64 => Sum::Subgroup,
            _ => Sum::Workgroup,
        };
        let lanes = if short || sum == Sum::Subgroup && smallest.is_some_and(|smallest| smallest < WIDE) {
            NARROW
        } else {
            WIDE
        };
        let many = part.outputs.div_ceil(2).saturating_mul(lanes as usize) >= 264 * 256;
        Self {
            sum,
            invocations: if many { 256 } else { 64 },
            lanes,
        }
    }

    fn variant(&self, format: Format, rows: usize) -> Variant {
        let of_rows = FEW_ROWS.into_iter().find(|&most| most >= rows).unwrap_or(8);
        let held = HELD_UNITS[usize::from(format.is_float())] / of_rows;
        // All lanes have something to do.
        let least = if format.is_float() {
            self.lanes / 4
        } else {
            self.lanes
        };
        let chunk = u32::try_from(held).unwrap_or(1).max(least);
        with_format(Variant::default(), format)
            .sum(self.sum)
            .constant("WG", self.invocations)
            .constant("LANES", self.lanes)
            .constant("ROWS", u32::try_from(of_rows).unwrap_or(8))
            .constant("CHUNK", chunk)
    }

    fn workgroups(&self, runtime: &crate::runtime::Runtime, outputs: usize) -> Result<u32> {
        let groups = as_u32(outputs.div_ceil(2))?.div_ceil(self.invocations / self.lanes);
        Ok(stride_workgroups(runtime, groups, 1)[0].min(INVOCATIONS / self.invocations))
    }
}

/// What the kernels for few rows bind.
fn views<'a>(call: &Call<'a>, part: &'a Part) -> [&'a View; 6] {
    let x = call.input.x.view();
    // What is not asked for is not read either, but something has to be bound.
    let norm = call.input.norm.map_or(x, |norm| norm.weights.view());
    let bias = call.weights.bias().map_or(x, Array::view);
    [part.view(), part.view(), x, norm, bias, call.out.view()]
}

/// Where the planes of `part` start, in words.
fn planes(part: &Part) -> Result<[u32; 4]> {
    let mut starts = [0; 4];
    for (start, (bytes, _)) in starts.iter_mut().zip(part.layout.planes) {
        *start = as_u32(bytes / size_of::<u32>())?;
    }
    Ok(starts)
}

/// `variant` for weights of `format`.
fn with_format(variant: Variant, format: Format) -> Variant {
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
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR_FEW, &LINEAR_FEW_BLOCKS, &EMBED];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::weights::WeightType;

    let mut variants = Vec::new();
    for format in WeightType::all().map(WeightType::format) {
        variants.push((&EMBED, with_format(Variant::default(), format)));
        let kernel = if format.is_float() {
            &LINEAR_FEW
        } else {
            &LINEAR_FEW_BLOCKS
        };
        for sum in [Sum::Workgroup, Sum::Subgroup] {
            for (lanes, invocations) in [(WIDE, 64), (WIDE, 256), (NARROW, 64), (NARROW, 256)] {
                let shape = FewShape {
                    sum,
                    invocations,
                    lanes,
                };
                variants.extend(FEW_ROWS.map(|rows| (kernel, shape.variant(format, rows))));
            }
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
        for kernel in [&LINEAR_FEW, &LINEAR_FEW_BLOCKS] {
            assert_params!(
                kernel,
                FewParams {
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
