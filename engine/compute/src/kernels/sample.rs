//! The kernels that choose tokens: `likeliest`, and `sample_candidates` and `sample_draw`. What they choose stays on the device,
//! where the next step's `embed` finds it.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::plan::{TILE_WG, scratch, stride_workgroups, together};
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static LIKELIEST: Kernel = kernel!("likeliest", "llm/likeliest.wgsl", [TILE_WG]);
static SAMPLE_CANDIDATES: Kernel = kernel!("sample_candidates", "llm/sample_candidates.wgsl");
static SAMPLE_DRAW: Kernel = kernel!("sample_draw", "llm/sample_draw.wgsl");

/// Logits that a workgroup of `sample_candidates` looks at, and candidates that one of `sample_draw` does.
const BLOCK: usize = 4096;
/// Most tokens to draw among.
const K_MAX: usize = 64;
/// Logits that an invocation of the first pass of `likeliest` looks at, as long as there are enough for so many parts.
const ITEMS: usize = 4;
const PARTS_MAX: usize = 64;

/// `Params` of likeliest.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LikeliestParams {
    rows: u32,
    n: u32,
    parts: u32,
    paired: u32,
}

/// `Params` of sample_candidates.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CandidatesParams {
    rows: u32,
    n: u32,
    k: u32,
}

/// `Params` of sample_draw.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DrawParams {
    rows: u32,
    n: u32,
}

/// How the token of a row is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Choice {
    /// Among so many of the likeliest; 1 takes the likeliest.
    pub k: u32,
    /// What logits are multiplied with.
    pub inverse_temperature: f32,
    /// A random number in `[0, 1)`.
    pub random: f32,
    /// Zero.
    pub reserved: u32,
}

impl Step {
    /// Most tokens that [`Step::sample`] can draw among, of `vocabulary`; 0 where there are too many tokens.
    #[must_use]
    pub fn sample_max(vocabulary: usize) -> usize {
        (BLOCK / vocabulary.div_ceil(BLOCK).max(1)).min(K_MAX)
    }

    /// Records the choice of the likeliest token of each row of `logits`, `[rows, n]`, into `tokens`, `[rows]`.
    ///
    /// Exact. Ties go to the lower token; NaN and minus infinity are passed over; a row of nothing else gives `u32::MAX`.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let logits = engine.upload("logits", &[1.0_f32, 3.0, 3.0, f32::NAN, -1.0, -2.0], go_on).unwrap();
    /// let tokens = engine.array("tokens", 2, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.likeliest(&logits, &tokens, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&tokens, go_on).unwrap(), [1, 1]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not whole; `OutOfMemory` or `Cancelled` while making room for partial results; what
    /// compiling the kernel reports.
    pub fn likeliest(
        &mut self,
        logits: &Array<f32>,
        tokens: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (rows, n) = rows_of(logits, tokens)?;
        let variant = tuned(&LIKELIEST, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let variant = variant.sum(together(self.runtime.capabilities(), invocations));
        let together = crate::runtime::as_usize(invocations.into())? * ITEMS;
        let parts = n.div_ceil(together).min(PARTS_MAX);
        let winners = scratch(
            &self.runtime,
            "vectorgpu.likeliest",
            rows * parts * 8,
            keep_waiting,
        )?;
        let mut params = LikeliestParams {
            rows: as_u32(rows)?,
            n: as_u32(n)?,
            parts: as_u32(parts)?,
            paired: 0,
        };
        self.record_likeliest(variant.clone(), params, logits.view(), &winners)?;
        params.n = params.parts;
        params.parts = 1;
        params.paired = 1;
        self.record_likeliest(variant, params, &winners, tokens.view())
    }

    fn record_likeliest(
        &mut self,
        variant: Variant,
        params: LikeliestParams,
        candidates: &View,
        winners: &View,
    ) -> Result<()> {
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &LIKELIEST, variant)?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, params.rows.saturating_mul(params.parts), 1),
            units: u64::from(params.rows) * u64::from(params.n),
        };
        let views = [candidates, winners];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }

    /// Records the drawing of a token of each row of `logits`, `[rows, n]`, into `tokens`, `[rows]`, among the likeliest of the row
    /// by their probabilities, as `choices`, `[rows]`, says. `k` is the largest of those, at most [`Step::sample_max`].
    ///
    /// The likeliest come first, ties by the lower token; the first is drawn whose probability, with those before it, exceeds the random
    /// number. NaN and minus infinity are passed over; a row of nothing else gives `u32::MAX`.
    ///
    /// ```
    /// # use vectorgpu_compute::{Choice, EngineBuilder};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let logits = engine.upload("logits", &[0.0_f32, 9.0, 9.0, 1.0], go_on).unwrap();
    /// let choice = Choice { k: 2, inverse_temperature: 1.0, random: 0.7, reserved: 0 };
    /// let choices = engine.upload("choices", &[choice], go_on).unwrap();
    /// let tokens = engine.array("tokens", 1, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.sample(&logits, 2, &choices, &tokens, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&tokens, go_on).unwrap(), [2]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not whole, or another `k`; `OutOfMemory` or `Cancelled` while making room for candidates;
    /// what compiling the kernels reports.
    pub fn sample(
        &mut self,
        logits: &Array<f32>,
        k: usize,
        choices: &Array<Choice>,
        tokens: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (rows, n) = rows_of(logits, tokens)?;
        if !(1..=Self::sample_max(n)).contains(&k) || choices.len() != rows {
            return Err(invalid(format!(
                "cannot draw among {k} of {n} tokens by {} choices for {rows} rows",
                choices.len()
            )));
        }
        let blocks = n.div_ceil(BLOCK);
        let bytes = rows * blocks * k * 8;
        let candidates = scratch(&self.runtime, "vectorgpu.sample", bytes, keep_waiting)?;
        let params = CandidatesParams {
            rows: as_u32(rows)?,
            n: as_u32(n)?,
            k: as_u32(k)?,
        };
        let pipeline =
            self.runtime
                .pipelines
                .pipeline(&self.runtime.context, &SAMPLE_CANDIDATES, Variant::default())?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, as_u32(rows * blocks)?, 1),
            units: as_u64(rows * blocks * BLOCK)?,
        };
        let views = [logits.view(), &candidates];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        let params = DrawParams {
            rows: as_u32(rows)?,
            n: as_u32(blocks * k)?,
        };
        let pipeline =
            self.runtime
                .pipelines
                .pipeline(&self.runtime.context, &SAMPLE_DRAW, Variant::default())?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, as_u32(rows)?, 1),
            units: as_u64(rows * BLOCK)?,
        };
        let views = [&candidates, choices.view(), tokens.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// Rows of logits, and their length.
fn rows_of(logits: &Array<f32>, tokens: &Array<u32>) -> Result<(usize, usize)> {
    let rows = tokens.len();
    if rows == 0 || logits.is_empty() || !logits.len().is_multiple_of(rows) {
        return Err(invalid(format!("{} logits for {rows} tokens", logits.len())));
    }
    Ok((rows, logits.len() / rows))
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LIKELIEST, &SAMPLE_CANDIDATES, &SAMPLE_DRAW];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::shader::Sum;
    let mut variants = vec![
        (&SAMPLE_CANDIDATES, Variant::default()),
        (&SAMPLE_DRAW, Variant::default()),
    ];
    for &size in TILE_WG.candidates {
        for sum in [Sum::Workgroup, Sum::Subgroup] {
            variants.push((&LIKELIEST, Variant::default().sum(sum).constant("WG", size)));
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
        assert_params!(
            LIKELIEST,
            LikeliestParams {
                rows,
                n,
                parts,
                paired
            }
        );
        assert_params!(SAMPLE_CANDIDATES, CandidatesParams { rows, n, k });
        assert_params!(SAMPLE_DRAW, DrawParams { rows, n });
    }

    #[test]
    fn candidates_of_a_row_fit_one_workgroup() {
        for vocabulary in [1, 100, 4096, 4097, 49_152, 152_064, 262_144, 300_000, 1 << 24] {
            let k = Step::sample_max(vocabulary);
            assert!(k <= K_MAX && k * vocabulary.div_ceil(BLOCK) <= BLOCK);
        }
        assert_eq!(Step::sample_max(152_064), 64);
    }
}
