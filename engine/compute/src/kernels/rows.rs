//! Kernels over rows of plain numbers: `softmax`, `take_rows`.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::plan::stride_workgroups;
use crate::array::Array;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static SOFTMAX: Kernel = kernel!("softmax", "llm/softmax.wgsl");
static TAKE_ROWS: Kernel = kernel!("take_rows", "llm/take_rows.wgsl", [WG]);

/// Invocations of a workgroup, for kernels without workgroup memory.
const WG: Tunable = Tunable {
    name: "WG",
    default: 64,
    candidates: &[32, 64, 128, 256],
};

/// `Params` of softmax.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SoftmaxParams {
    rows: u32,
    n: u32,
    scale: f32,
}

/// `Params` of take_rows.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TakeRowsParams {
    rows: u32,
    width: u32,
}

impl Step {
    /// Records `shares[r, i] = exp(scale * scores[r, i]) / sum_j exp(scale * scores[r, j])` for rows of `n` scores, into another array
    /// of the same length.
    ///
    /// In f32, relative to the row's largest, so nothing overflows. NaN makes its row NaN.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let scores = engine.upload("scores", &[1000.0_f32, 1000.0, 0.0, 0.0], go_on).unwrap();
    /// let shares = engine.array("shares", 4, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.softmax(&scores, 2, 1.0, &shares).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&shares, go_on).unwrap(), [0.5; 4]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not whole or other lengths; what compiling the kernel reports.
    pub fn softmax(&mut self, scores: &Array<f32>, n: usize, scale: f32, shares: &Array<f32>) -> Result<()> {
        if n == 0 || !scores.len().is_multiple_of(n) || shares.len() != scores.len() {
            return Err(invalid(format!(
                "{} shares of {} scores in rows of {n}",
                shares.len(),
                scores.len()
            )));
        }
        let rows = scores.len() / n;
        if rows == 0 {
            return Ok(());
        }
        let pipeline =
            self.runtime
                .pipelines
                .pipeline(&self.runtime.context, &SOFTMAX, Variant::default())?;
        let params = SoftmaxParams {
            rows: as_u32(rows)?,
            n: as_u32(n)?,
            scale,
        };
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, params.rows, 1),
            units: as_u64(scores.len())?,
        };
        let views = [scores.view(), shares.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }

    /// Records the copying of the rows `chosen` of `source`, rows of `width` numbers, to the front of `taken`. A row that is not there
    /// gives zeros.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let source = engine.upload("source", &[1.0_f32, 2.0, 3.0, 4.0], go_on).unwrap();
    /// let chosen = engine.upload("chosen", &[1_u32, 7], go_on).unwrap();
    /// let taken = engine.array("taken", 4, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.take_rows(&source, 2, &chosen, &taken).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&taken, go_on).unwrap(), [3.0, 4.0, 0.0, 0.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not whole, or a result that is too short; what compiling the kernel reports.
    pub fn take_rows(
        &mut self,
        source: &Array<f32>,
        width: usize,
        chosen: &Array<u32>,
        taken: &Array<f32>,
    ) -> Result<()> {
        if width == 0
            || !source.len().is_multiple_of(width)
            || taken.len() < chosen.len().saturating_mul(width)
        {
            return Err(invalid(format!(
                "{} of {} numbers in rows of {width} do not fit {}",
                chosen.len(),
                source.len(),
                taken.len()
            )));
        }
        if chosen.is_empty() {
            return Ok(());
        }
        let variant = tuned(&TAKE_ROWS, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &TAKE_ROWS, variant)?;
        let params = TakeRowsParams {
            rows: as_u32(chosen.len())?,
            width: as_u32(width)?,
        };
        let numbers = chosen.len() * width;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, as_u32(numbers)?, invocations),
            units: as_u64(numbers)?,
        };
        let views = [source.view(), chosen.view(), taken.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SOFTMAX, &TAKE_ROWS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let take_rows = |&size| (&TAKE_ROWS, Variant::default().constant("WG", size));
    let mut variants: Vec<(&'static Kernel, Variant)> = WG.candidates.iter().map(take_rows).collect();
    variants.push((&SOFTMAX, Variant::default()));
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(SOFTMAX, SoftmaxParams { rows, n, scale });
        assert_params!(TAKE_ROWS, TakeRowsParams { rows, width });
    }
}
