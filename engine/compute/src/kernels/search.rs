//! The kernel `score`: one query against many rows.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::{KeepWaiting, RowBlock};
use vectorgpu_core::metric::{Score, Storage};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{QUAD, batch_rows, learn, workgroups};
use crate::capabilities::Capabilities;
use crate::memory::buffer::Purpose;
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::record::Extent;
use crate::recording::{End, Recording};
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Sum, Variant, kernel};

static SCORE: Kernel = kernel!("score", "search/score.wgsl");

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// `Params` of score.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScoreParams {
    rows: u32,
    quads: u32,
}

/// Appends to `scores` the score of `query` against every row of `block`.
///
/// The caller has checked that `query` and `block` have the same dimensions and that the rows are whole.
///
/// # Errors
/// `Cancelled`, `OutOfMemory`, `DeviceLost`; `Unsupported` for f16 rows on a device that cannot unpack them.
pub(crate) fn score(
    runtime: &Runtime,
    score: Score,
    query: &[f32],
    block: RowBlock<'_>,
    batch_bytes: usize,
    scores: &mut Vec<f32>,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    if block.storage == Storage::F16 && !runtime.capabilities().f16_rows {
        return Err(Error::new(ErrorKind::Unsupported, "the GPU cannot read f16 rows"));
    }
    let quads = block.dims.div_ceil(QUAD);
    let row_bytes = block.storage.code_bytes(block.dims);
    let stride_bytes = block.storage.code_bytes(quads * QUAD);
    scores.try_reserve(block.rows()).map_err(|error| {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("no memory for {} scores: {error}", block.rows()),
        )
    })?;
    let variant = score_variant(runtime.capabilities(), score, block.storage, quads);
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
        };
        let rows_per_workgroup = WORKGROUP / lanes(runtime.capabilities(), quads);
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

/// Invocations that share a row: enough to read a long row in wide pieces, one for a short row; within a subgroup
/// where those are used.
fn lanes(capabilities: &Capabilities, quads: usize) -> u32 {
    let wanted = match quads {
        0..8 => 1,
        8..64 => 8,
        _ => 32,
    };
    match capabilities.subgroups {
        Some((smallest, _)) => wanted.min(smallest),
        None => wanted,
    }
}

fn score_variant(capabilities: &Capabilities, score: Score, rows: Storage, quads: usize) -> Variant {
    let sum = if capabilities.subgroups.is_some() {
        Sum::Subgroup
    } else {
        Sum::Workgroup
    };
    variant(score, rows, sum, lanes(capabilities, quads))
}

fn variant(score: Score, rows: Storage, sum: Sum, lanes: u32) -> Variant {
    Variant::default()
        .rows(rows)
        .sum(sum)
        .constant("WG", WORKGROUP)
        .constant("LANES", lanes)
        .constant("DOT", u32::from(score == Score::Dot))
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SCORE];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let mut variants = Vec::new();
    for metric in [Score::SquaredL2, Score::Dot] {
        for rows in [Storage::F32, Storage::F16] {
            for sum in [Sum::Workgroup, Sum::Subgroup] {
                variants.extend([1, 8, 32].map(|lanes| (&SCORE, variant(metric, rows, sum, lanes))));
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
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(SCORE, ScoreParams { rows, quads });
    }
}
