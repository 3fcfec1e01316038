//! Kernels that score codes: `score_int8`, `score_bits`.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::plan::{ROW_WG, RowRun, check_scores, row_variant};
use crate::array::Array;
use crate::rows::{Int8Rows, RowArray, RowFormat};
use crate::runtime::as_u32;
use crate::shader::{Kernel, kernel};
use crate::step::Step;

static SCORE_INT8: Kernel = kernel!("score_int8", "search/score_int8.wgsl", [ROW_WG]);
static SCORE_BITS: Kernel = kernel!("score_bits", "search/score_bits.wgsl", [ROW_WG]);

/// `Params` of score_int8.wgsl and score_bits.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CodeParams {
    rows: u32,
    quads: u32,
}

/// The number that [`Step::score_int8`] computes for the vectors that two rows of codes stand for, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Int8Score {
    /// `sum((q_i - x_i)^2)`.
    SquaredL2,
    /// `sum(q_i * x_i)`.
    Dot,
}

/// The number that [`Step::score_bits`] counts for two rows of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitScore {
    /// Bits that differ.
    Hamming,
    /// Bits that are set in both.
    AndCount,
}

impl Step {
    /// Records the score of `query`, one row, against every row of `rows`: `scores[row]`, of the vectors that the codes
    /// stand for.
    ///
    /// Sums are exact integers; `Dot` is their sum times the query's scale times the row's, each rounded to f32, and
    /// `SquaredL2`, never negative, is 0 for equal codes and scales. A scale of NaN gives NaN; products of scales beyond
    /// f32 give infinity or NaN.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, Int8Rows, Int8Score, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let mut int8 = |codes: &[u8], scales: &[f32]| {
    ///     let codes = engine.upload_rows("codes", RowFormat::Int8, 2, codes, &mut || true).unwrap();
    ///     Int8Rows::new(codes, engine.upload("scales", scales, &mut || true).unwrap()).unwrap()
    /// };
    /// let query = int8(&[10, 20], &[0.5]);
    /// let rows = int8(&[1, 2, 3, 4], &[1.0, 2.0]);
    /// let scores = engine.array("scores", 2, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.score_int8(Int8Score::Dot, &query, &rows, &scores).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&scores, go_on).unwrap(), [25.0, 110.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes; what compiling the kernel reports.
    pub fn score_int8(
        &mut self,
        score: Int8Score,
        query: &Int8Rows,
        rows: &Int8Rows,
        scores: &Array<f32>,
    ) -> Result<()> {
        let codes = rows.codes();
        query.codes().check(RowFormat::Int8, 1, codes.dims())?;
        check_scores(codes.rows(), scores)?;
        let run = self.code_run(&SCORE_INT8, int8_metric(score), codes);
        let quads = as_u32(codes.quads())?;
        self.record_rows(
            run,
            |rows| CodeParams { rows, quads },
            |range| {
                let scores = scores.slice(range.clone())?;
                let rows = rows.slice(range)?;
                Ok(vec![
                    rows.codes().view().clone(),
                    rows.scales().view().clone(),
                    query.codes().view().clone(),
                    query.scales().view().clone(),
                    scores.view().clone(),
                ])
            },
        )
    }

    /// Records how the bits of `query`, one row, compare with those of every row of `rows`: `scores[row]`, a count,
    /// exact in f32.
    ///
    /// ```
    /// # use vectorgpu_compute::{BitScore, EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let query = engine.upload_rows("query", RowFormat::Bits, 4, &[0b1001, 0, 0, 0], go_on).unwrap();
    /// let rows = engine.upload_rows("rows", RowFormat::Bits, 4, &[0b1111, 0, 0, 0], go_on).unwrap();
    /// let scores = engine.array("scores", 1, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.score_bits(BitScore::Hamming, &query, &rows, &scores).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&scores, go_on).unwrap(), [2.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes or formats; what compiling the kernel reports.
    pub fn score_bits(
        &mut self,
        score: BitScore,
        query: &RowArray,
        rows: &RowArray,
        scores: &Array<f32>,
    ) -> Result<()> {
        rows.check(RowFormat::Bits, rows.rows(), rows.dims())?;
        query.check(RowFormat::Bits, 1, rows.dims())?;
        check_scores(rows.rows(), scores)?;
        let run = self.code_run(&SCORE_BITS, bits_metric(score), rows);
        let quads = as_u32(rows.quads())?;
        self.record_rows(
            run,
            |rows| CodeParams { rows, quads },
            |range| {
                let scores = scores.slice(range.clone())?;
                Ok(vec![
                    rows.slice(range)?.view().clone(),
                    query.view().clone(),
                    scores.view().clone(),
                ])
            },
        )
    }

    fn code_run(&self, kernel: &'static Kernel, metric: u32, codes: &RowArray) -> RowRun {
        let variant = row_variant(self.runtime.capabilities(), codes.quads()).constant("METRIC", metric);
        RowRun::shared(kernel, variant, codes.rows(), codes.row_words())
    }
}

/// `METRIC` of score_int8.wgsl.
fn int8_metric(score: Int8Score) -> u32 {
    match score {
        Int8Score::SquaredL2 => 0,
        Int8Score::Dot => 1,
    }
}

/// `METRIC` of score_bits.wgsl.
fn bits_metric(score: BitScore) -> u32 {
    match score {
        BitScore::Hamming => 0,
        BitScore::AndCount => 1,
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SCORE_INT8, &SCORE_BITS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, crate::shader::Variant)> {
    let mut variants = Vec::new();
    for kernel in [&SCORE_INT8, &SCORE_BITS] {
        for metric in 0..2 {
            let base = crate::shader::Variant::default().constant("METRIC", metric);
            variants.extend(super::plan::row_variants(kernel, &base));
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
        assert_params!(SCORE_INT8, CodeParams { rows, quads });
        assert_params!(SCORE_BITS, CodeParams { rows, quads });
    }
}
