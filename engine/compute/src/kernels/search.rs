//! The kernels `score` and `score_subgroup`: one query against many rows.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::{KeepWaiting, RowBlock};
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{QUAD, ROW_WG, RowRun, batch_rows, check_scores, learn, row_variant, workgroups};
use crate::adapter::Vendor;
use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::memory::buffer::Purpose;
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::record::Extent;
use crate::recording::{End, Recording};
use crate::rows::{RowArray, RowFormat};
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static SCORE: Kernel = kernel!("score", "search/score.wgsl", [ROW_WG]);
static SCORE_SUBGROUP: Kernel = kernel!("score_subgroup", "search/score_subgroup.wgsl", [WIDE_WG]);

/// Invocations of a workgroup of `score_subgroup`.
const WIDE_WG: Tunable = Tunable {
    name: "WG",
    default: 256,
    candidates: &[64, 128, 256],
};
/// More workgroups than a device can hold at once, so that the last ones to run even out; fewer than rows, so that each
/// is worth its start.
const WIDE_WORKGROUPS: u32 = 8448;

/// `Params` of score.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScoreParams {
    rows: u32,
    quads: u32,
    query_norm: f32,
}

/// `Params` of score_subgroup.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WideParams {
    rows: u32,
    quads: u32,
}

/// How `score_subgroup` reads: invocations that share rows, rows they share, and quads of a row that each has under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WideShape {
    lanes: u32,
    rows: u32,
    steps: u32,
}

/// The number that [`Step::score`] computes for a query `q` and a row `x`, in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowScore {
    /// `sum((q_i - x_i)^2)`.
    SquaredL2,
    /// `sum(q_i * x_i)`.
    Dot,
    /// `1 - sum(q_i * x_i) / (query_norm * sqrt(sum(x_i^2)))`, the fraction clamped to `[-1, 1]`.
    Cosine {
        /// `|q|`; 1 for a normalised query.
        query_norm: f32,
    },
    /// `sum(|q_i - x_i|)`.
    L1,
}

impl RowScore {
    /// `METRIC` of score.wgsl.
    fn code(self) -> u32 {
        match self {
            Self::SquaredL2 => 0,
            Self::Dot => 1,
            Self::Cosine { .. } => 2,
            Self::L1 => 3,
        }
    }

    fn query_norm(self) -> f32 {
        match self {
            Self::Cosine { query_norm } => query_norm,
            Self::SquaredL2 | Self::Dot | Self::L1 => 0.0,
        }
    }
}

impl From<Score> for RowScore {
    fn from(score: Score) -> Self {
        match score {
            Score::SquaredL2 => Self::SquaredL2,
            Score::Dot => Self::Dot,
            Score::L1 => Self::L1,
        }
    }
}

impl Step {
    /// Records the score of `query`, one row of f32, against every row of `rows`, of f32 or f16: `scores[row]`.
    ///
    /// Sums are in f32, in an order of the device's choice. NaN and infinity follow IEEE 754; subnormals may count as
    /// zero. A cosine distance is NaN where the product of the norms is not a positive f32, as for a zero vector, and
    /// where `|x|^2` overflows f32 or underflows to 0.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat, RowScore};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    /// let query = engine.upload_rows("query", RowFormat::F32, 2, &bytes(&[3.0, 4.0]), go_on).unwrap();
    /// let rows = engine.upload_rows("rows", RowFormat::F32, 2, &bytes(&[6.0, 8.0, -4.0, 3.0]), go_on).unwrap();
    /// let scores = engine.array("scores", 2, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.score(RowScore::Cosine { query_norm: 5.0 }, &query, &rows, &scores).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&scores, go_on).unwrap(), [0.0, 1.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes or formats; `Unsupported` for f16 rows on a device that cannot unpack them;
    /// what compiling the kernel reports.
    pub fn score(
        &mut self,
        score: RowScore,
        query: &RowArray,
        rows: &RowArray,
        scores: &Array<f32>,
    ) -> Result<()> {
        let element = self.readable(rows)?;
        query.check(RowFormat::F32, 1, rows.dims())?;
        check_scores(rows.rows(), scores)?;
        let quads = as_u32(rows.quads())?;
        let views = |range: Range<usize>| {
            let scores = scores.slice(range.clone())?;
            Ok(vec![
                rows.slice(range)?.view().clone(),
                query.view().clone(),
                scores.view().clone(),
            ])
        };
        if let Some(shape) = wide_shape(self.runtime.capabilities(), score, element, rows.quads()) {
            let run = RowRun {
                kernel: &SCORE_SUBGROUP,
                variant: wide_variant(score, element, shape),
                rows: rows.rows(),
                invocations: shape.lanes,
                together: shape.rows,
                workgroups_max: WIDE_WORKGROUPS,
                units: rows.dims(),
            };
            return self.record_rows(run, |rows| WideParams { rows, quads }, views);
        }
        let variant = score_variant(self.runtime.capabilities(), score, element, rows.quads());
        let run = RowRun::shared(&SCORE, variant, rows.rows(), rows.dims());
        let params = |rows| ScoreParams {
            rows,
            quads,
            query_norm: score.query_norm(),
        };
        self.record_rows(run, params, views)
    }
}

/// Appends to `scores` the score of `query` against every row of `block`.
///
/// The caller has checked that `query` and `block` have the same dimensions and that the rows are whole.
///
/// # Errors
/// `Cancelled`, `OutOfMemory`, `DeviceLost`; `Unsupported` for f16 rows on a device that cannot unpack them.
pub(crate) fn score(
    runtime: &Runtime,
    score: RowScore,
    query: &[f32],
    block: RowBlock<'_>,
    batch_bytes: usize,
    scores: &mut Vec<f32>,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    if block.element == Element::F16 && !runtime.capabilities().f16_rows {
        return Err(Error::new(ErrorKind::Unsupported, "the GPU cannot read f16 rows"));
    }
    let quads = block.dims.div_ceil(QUAD);
    let row_bytes = block.element.code_bytes(block.dims);
    let stride_bytes = block.element.code_bytes(quads * QUAD);
    scores.try_reserve(block.rows()).map_err(|error| {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("no memory for {} scores: {error}", block.rows()),
        )
    })?;
    let variant = tuned(
        &SCORE,
        runtime.capabilities(),
        score_variant(runtime.capabilities(), score, block.element, quads),
    );
    let rows_per_workgroup = constant(&variant, "WG") / constant(&variant, "LANES");
    let pipeline = runtime.pipelines.pipeline(&runtime.context, &SCORE, variant)?;
    let mut recording = Recording::default();
    let query_bytes = as_u64(quads * QUAD * size_of::<f32>())?;
    let query_block = runtime.acquire(
        "vectorgpu.score.query",
        Purpose::Storage,
        query_bytes,
        keep_waiting,
    )?;
    let query_view = View::front(&query_block, query_bytes)?;
    let source = Source::rows(bytemuck::cast_slice(query), query.len() * 4, quads * QUAD * 4);
    runtime.stage(
        &mut recording,
        source,
        End::View(query_view.clone()),
        keep_waiting,
    )?;
    let units_max = as_usize(runtime.pace.units(SCORE.name))?;
    let batch_rows = batch_rows(batch_bytes / stride_bytes, units_max / block.dims);
    for codes in block.codes.chunks(batch_rows.saturating_mul(row_bytes)) {
        runtime.proceed(keep_waiting)?;
        let rows = codes.len() / row_bytes;
        let rows_view = acquire(runtime, "vectorgpu.score.rows", rows * stride_bytes, keep_waiting)?;
        let scores_view = acquire(
            runtime,
            "vectorgpu.score.scores",
            rows * size_of::<f32>(),
            keep_waiting,
        )?;
        let source = Source::rows(codes, row_bytes, stride_bytes);
        runtime.stage(&mut recording, source, End::View(rows_view.clone()), keep_waiting)?;
        let params = ScoreParams {
            rows: as_u32(rows)?,
            quads: as_u32(quads)?,
            query_norm: score.query_norm(),
        };
        let units = as_u64(rows * block.dims)?;
        let extent = Extent {
            workgroups: [workgroups(runtime, params.rows, rows_per_workgroup), 1],
            units,
        };
        let views = [&rows_view, &query_view, &scores_view];
        runtime.record(&mut recording, &pipeline, &params, &views, extent)?;
        let recorded = std::mem::take(&mut recording);
        let elapsed = runtime.run_and_read(recorded, &scores_view, keep_waiting, &mut |bytes| {
            let (words, _) = bytes.as_chunks::<4>();
            scores.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        })?;
        learn(runtime, &pipeline, units, elapsed);
    }
    Ok(())
}

/// A transient view of `bytes` for kernels.
fn acquire(
    runtime: &Runtime,
    label: &'static str,
    bytes: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<View> {
    let bytes = as_u64(bytes)?;
    let block = runtime.acquire(label, Purpose::Storage, bytes, keep_waiting)?;
    Ok(View::front(&block, bytes)?)
}

fn score_variant(capabilities: &Capabilities, score: RowScore, rows: Element, quads: usize) -> Variant {
    row_variant(capabilities, quads)
        .rows(rows)
        .constant("METRIC", score.code())
}

/// The shape in which `score_subgroup` reads rows of `quads`; nothing where it cannot or would not be faster.
///
/// As many lanes as a row has quads to keep busy, then as many loads a lane as cover the row, then rows until some 12
/// loads are under way in each lane: that many cover the latency of a large GPU's memory.
fn wide_shape(
    capabilities: &Capabilities,
    score: RowScore,
    element: Element,
    quads: usize,
) -> Option<WideShape> {
    let (subgroup, _) = capabilities.subgroups?;
    if matches!(score, RowScore::Cosine { .. }) || quads < 8 {
        return None;
    }
    let quads = u32::try_from(quads).ok()?;
    // Quads of f16 are half as wide, so half as many lanes fill a row as well.
    let filled = match element {
        Element::F32 => quads,
        Element::F16 => (quads / 2).max(1),
    };
    let lanes = subgroup.min(1 << filled.ilog2());
    if capabilities.vendor == Vendor::Software {
        // A software driver gains nothing from loads in advance and takes seconds to compile them.
        return Some(WideShape {
            lanes,
            rows: 1,
            steps: 2,
        });
    }
    let steps = quads.div_ceil(lanes).min(12);
    let rows = match 16 / steps {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 4,
    };
    Some(WideShape {
        lanes,
        rows: rows.min(lanes),
        steps,
    })
}

fn wide_variant(score: RowScore, element: Element, shape: WideShape) -> Variant {
    Variant::default()
        .rows(element)
        .constant("METRIC", score.code())
        .constant("LANES", shape.lanes)
        .constant("ROWS", shape.rows)
        .constant("STEPS", shape.steps)
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SCORE, &SCORE_SUBGROUP];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let mut variants = Vec::new();
    for metric in 0..4 {
        for rows in [Element::F32, Element::F16] {
            let base = Variant::default().rows(rows).constant("METRIC", metric);
            variants.extend(super::plan::row_variants(&SCORE, &base));
        }
    }
    for score in [RowScore::SquaredL2, RowScore::Dot, RowScore::L1] {
        for element in [Element::F32, Element::F16] {
            for (lanes, rows, steps) in [
                (32, 2, 6),
                (32, 1, 12),
                (16, 4, 2),
                (8, 4, 4),
                (8, 1, 2),
                (1, 1, 2),
            ] {
                let shape = WideShape { lanes, rows, steps };
                for &size in WIDE_WG.candidates {
                    let variant = wide_variant(score, element, shape).constant("WG", size);
                    variants.push((&SCORE_SUBGROUP, variant));
                }
            }
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    fn shape(subgroup: u32, vendor: Vendor, element: Element, dims: usize) -> Option<(u32, u32, u32)> {
        let mut capabilities = Capabilities::of_nothing();
        capabilities.subgroups = Some((subgroup, subgroup));
        capabilities.vendor = vendor;
        wide_shape(&capabilities, RowScore::Dot, element, dims.div_ceil(4))
            .map(|shape| (shape.lanes, shape.rows, shape.steps))
    }

    #[test]
    fn wide_reads_have_the_shapes_that_were_measured_best() {
        let nvidia = |element, dims| shape(32, Vendor::Nvidia, element, dims);
        assert_eq!(nvidia(Element::F32, 768), Some((32, 2, 6)));
        assert_eq!(nvidia(Element::F16, 1536), Some((32, 1, 12)));
        assert_eq!(nvidia(Element::F32, 100), Some((16, 4, 2)));
        assert_eq!(nvidia(Element::F16, 100), Some((8, 4, 4)));
        assert_eq!(nvidia(Element::F32, 16_000), Some((32, 1, 12)));
        assert_eq!(nvidia(Element::F32, 28), None);
        assert_eq!(shape(8, Vendor::Software, Element::F32, 768), Some((8, 1, 2)));
    }

    #[test]
    fn wide_reads_stay_within_what_the_kernel_holds() {
        for subgroup in [4, 8, 16, 32, 64] {
            for vendor in [Vendor::Amd, Vendor::Software] {
                for element in [Element::F32, Element::F16] {
                    for dims in 1..2000 {
                        if let Some((lanes, rows, steps)) = shape(subgroup, vendor, element, dims) {
                            assert!(lanes.is_power_of_two() && lanes <= subgroup && rows <= lanes);
                            assert!(rows * steps <= 32, "{dims}: {rows} x {steps}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            SCORE,
            ScoreParams {
                rows,
                quads,
                query_norm
            }
        );
        assert_params!(SCORE_SUBGROUP, WideParams { rows, quads });
    }
}
