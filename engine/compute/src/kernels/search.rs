//! The kernel `score`: one query against many rows.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::{KeepWaiting, RowBlock};
use vectorgpu_core::metric::{Score, Storage};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{QUAD, batch_rows, learn, stage_params, workgroups};
use crate::memory::buffer::Purpose;
use crate::memory::staging::Source;
use crate::pipeline::Variant;
use crate::recording::Recording;
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::shader::SCORE;

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
    if block.storage == Storage::F16 && !runtime.context.limits().f16_rows {
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
    let pipeline = runtime.pipelines.pipeline(
        &runtime.context,
        &SCORE,
        score_variant(score, block.storage, quads),
    )?;
    let mut recording = Recording::default();
    let query_bytes = as_u64(quads * QUAD * size_of::<f32>())?;
    let query_buffer = runtime.acquire(
        "vectorgpu.score.query",
        Purpose::Storage,
        query_bytes,
        keep_waiting,
    )?;
    let source = Source::rows(bytemuck::cast_slice(query), query.len() * 4, quads * QUAD * 4);
    runtime.stage(&mut recording, source, &query_buffer, 0, keep_waiting)?;
    let units_max = as_usize(runtime.pace.units(SCORE.name))?;
    let batch_rows = batch_rows(batch_bytes / stride_bytes, units_max / block.dims);
    for codes in block.codes.chunks(batch_rows.saturating_mul(row_bytes)) {
        runtime.proceed(keep_waiting)?;
        let rows = codes.len() / row_bytes;
        let rows_bytes = as_u64(rows * stride_bytes)?;
        let scores_bytes = as_u64(rows * size_of::<f32>())?;
        let rows_buffer =
            runtime.acquire("vectorgpu.score.rows", Purpose::Storage, rows_bytes, keep_waiting)?;
        let scores_buffer = runtime.acquire(
            "vectorgpu.score.scores",
            Purpose::Storage,
            scores_bytes,
            keep_waiting,
        )?;
        let params = ScoreParams {
            rows: as_u32(rows)?,
            quads: as_u32(quads)?,
        };
        let params_buffer = stage_params(runtime, &mut recording, &params, keep_waiting)?;
        let source = Source::rows(codes, row_bytes, stride_bytes);
        runtime.stage(&mut recording, source, &rows_buffer, 0, keep_waiting)?;
        let bindings = [
            (&*params_buffer, as_u64(size_of_val(&params))?),
            (&*rows_buffer, rows_bytes),
            (&*query_buffer, query_bytes),
            (&*scores_buffer, scores_bytes),
        ];
        let rows_per_workgroup = WORKGROUP / lanes(quads);
        recording.dispatch(
            &pipeline,
            &bindings,
            workgroups(runtime, params.rows, rows_per_workgroup),
        );
        let recorded = std::mem::take(&mut recording);
        let elapsed =
            runtime.run_and_read(recorded, &scores_buffer, scores_bytes, keep_waiting, |bytes| {
                scores.extend_from_slice(bytemuck::cast_slice(bytes));
            })?;
        learn(runtime, &pipeline, as_u64(rows * block.dims)?, elapsed);
    }
    Ok(())
}

/// Invocations that share a row: enough to read a long row in wide pieces, one for a short row.
fn lanes(quads: usize) -> u32 {
    match quads {
        0..8 => 1,
        8..64 => 8,
        _ => 32,
    }
}

fn score_variant(score: Score, rows: Storage, quads: usize) -> Variant {
    let dot = u32::from(score == Score::Dot);
    Variant {
        rows,
        constants: vec![("WG", WORKGROUP), ("LANES", lanes(quads)), ("DOT", dot)],
    }
}

/// Every pipeline that [`score`] can ask for.
#[cfg(test)]
pub(crate) fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    for metric in [Score::SquaredL2, Score::Dot] {
        for rows in [Storage::F32, Storage::F16] {
            variants.extend([1, 8, 64].map(|quads| score_variant(metric, rows, quads)));
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use crate::shader::params_layout;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        let expected = [
            ("rows", offset_of!(ScoreParams, rows)),
            ("quads", offset_of!(ScoreParams, quads)),
        ];
        for rows in [Storage::F32, Storage::F16] {
            let layout = params_layout(&SCORE, rows);
            assert_eq!(layout, expected.map(|(name, offset)| (name.to_owned(), offset)));
        }
    }
}
