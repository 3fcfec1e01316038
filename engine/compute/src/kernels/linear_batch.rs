//! The kernels for some rows: `linear_round` prepares x for quantised weights (`linear_rows` norms it for others), then
//! `linear_batch` and `linear_batch_blocks` go over the weights once for each eight rows. A row gets the bits that it gets alone.

use std::ops::Range;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::linear_few::Shape;
use super::linear_rows::{PREPARED, PREPARED_FACTORS, Preparation};
use super::weights::{Call, with_format};
use crate::memory::view::View;
use crate::record::Extent;
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::weights::{Format, Part, UNIT};

static LINEAR_BATCH: Kernel = kernel!("linear_batch", "llm/linear_batch.wgsl");
static LINEAR_BATCH_BLOCKS: Kernel = kernel!("linear_batch_blocks", "llm/linear_batch_blocks.wgsl");

/// The numbers of rows that there are kernels for.
const ROWS: [u32; 3] = [2, 4, 8];

/// Invocations of a workgroup, and rows of weights that its lanes share: for quantised weights, and for others.
const SIZE_BLOCKS: (u32, usize) = (256, 2);
const SIZE: (u32, usize) = (64, 4);

/// Most rows of a run.
const ROWS_MAX: usize = 8;

/// Bytes of a unit of rounded x, and of its factors.
const ROUNDED_BYTES: [usize; 2] = [64, 16];

/// Labels of memory for x after its norm.
const NORMED: &str = "vectorgpu.linear.normed";
const NORMED_FACTORS: &str = "vectorgpu.linear.normed_factors";

impl Step {
    /// Records the outputs of every part, eight rows at a time.
    pub(super) fn batch(&mut self, call: &Call<'_>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let parts = call.weights.parts();
        let units = call.rows * (call.weights.inputs() / UNIT);
        let mut rounded = None;
        if parts.iter().any(|part| !part.format.is_float()) {
            let words = self.between(PREPARED, units * ROUNDED_BYTES[0], keep_waiting)?;
            let factors = self.between(PREPARED_FACTORS, units * ROUNDED_BYTES[1], keep_waiting)?;
            rounded = Some([words, factors]);
        }
        let mut normed = None;
        if call.input.norm.is_some() && parts.iter().any(|part| part.format.is_float()) {
            let rows = self.between(NORMED, units * UNIT * size_of::<f32>(), keep_waiting)?;
            let factors = self.between(NORMED_FACTORS, call.rows * size_of::<f32>(), keep_waiting)?;
            normed = Some([rows, factors]);
        }
        if let Some(views) = &rounded {
            self.prepare(call, Preparation::Rounded, views)?;
        }
        if let Some(views) = &normed {
            self.prepare(call, Preparation::Normed, views)?;
        }
        let x = normed.as_ref().map_or(call.input.x.view(), |[x, _]| x);
        for part in parts {
            for start in (0..call.rows).step_by(ROWS_MAX) {
                let rows = start..call.rows.min(start + ROWS_MAX);
                let rounded = rounded.as_ref().filter(|_| !part.format.is_float());
                self.batch_run(call, part, x, rounded, rows)?;
            }
        }
        Ok(())
    }

    fn batch_run(
        &mut self,
        call: &Call<'_>,
        part: &Part,
        x: &View,
        rounded: Option<&[View; 2]>,
        rows: Range<usize>,
    ) -> Result<()> {
        let shape = Shape::of(self.runtime.capabilities(), part);
        let of_rows = ROWS.into_iter().find(|&most| most as usize >= rows.len());
        let pipeline = self.runtime.pipelines.pipeline(
            &self.runtime.context,
            kernel_of(part.format),
            variant(shape, part.format, of_rows.unwrap_or(ROWS[2])),
        )?;
        let size = if part.format.is_float() { SIZE } else { SIZE_BLOCKS };
        let extent = Extent {
            workgroups: shape.workgroups(&self.runtime, part.outputs, size)?,
            units: call.units(part, rows.len())?,
        };
        let params = call.params(part, &rows)?;
        let (bias, out) = (call.bias_view(), call.out.view());
        let mut views = vec![part.view(), part.view(), x, bias, out];
        if let Some([words, factors]) = rounded {
            views[2] = words;
            views.push(factors);
        }
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernel for weights of `format`.
fn kernel_of(format: Format) -> &'static Kernel {
    if format.is_float() {
        &LINEAR_BATCH
    } else {
        &LINEAR_BATCH_BLOCKS
    }
}

fn variant(shape: Shape, format: Format, rows: u32) -> Variant {
    with_format(Variant::default(), format)
        .sum(shape.sum)
        .constant("LANES", shape.lanes)
        .constant("ROWS", rows)
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR_BATCH, &LINEAR_BATCH_BLOCKS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::weights::WeightType;

    let mut variants = Vec::new();
    for format in WeightType::all().map(WeightType::format) {
        for shape in Shape::all() {
            variants.extend(ROWS.map(|rows| (kernel_of(format), variant(shape, format, rows))));
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::weights::assert_layer_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_layer_params(&LINEAR_BATCH);
        assert_layer_params(&LINEAR_BATCH_BLOCKS);
    }
}
