//! What the kernels' calls have in common: quads, batches, parameters, pace.

use std::time::Duration;

use bytemuck::Pod;
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::memory::buffer::Purpose;
use crate::memory::pool::Pooled;
use crate::memory::staging::Source;
use crate::pipeline::Pipeline;
use crate::recording::Recording;
use crate::runtime::{Runtime, as_u64};

/// Elements of a quad. Rows go to the device padded with zeros to whole quads, so that every load is aligned; the
/// padding changes no sum.
pub(crate) const QUAD: usize = 4;

/// Fewest rows of a batch, if they fit: a tile of the tiled kernels.
pub(crate) const TILE: usize = 64;

/// Uploads a kernel's parameters.
///
/// # Errors
/// As [`Runtime::stage`].
pub(crate) fn stage_params(
    runtime: &Runtime,
    recording: &mut Recording,
    params: &impl Pod,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Pooled> {
    let bytes = bytemuck::bytes_of(params);
    let buffer = runtime.acquire(
        "vectorgpu.params",
        Purpose::Uniform,
        as_u64(bytes.len())?,
        keep_waiting,
    )?;
    runtime.stage(recording, Source::Bytes(bytes), &buffer, 0, keep_waiting)?;
    Ok(buffer)
}

/// Rows of a batch: as many as fit and are affordable, at least one tile if that fits, at least one row.
///
/// The affordable number changes with every measurement, so it is rounded down to a power of two, for buffers of a few
/// sizes that can be re-used.
pub(crate) fn batch_rows(fitting: usize, affordable: usize) -> usize {
    let affordable = 1 << affordable.max(TILE).ilog2();
    fitting.min(affordable).max(1)
}

/// Workgroups for `rows`; kernels stride over what exceeds the device's limit.
pub(crate) fn workgroups(runtime: &Runtime, rows: u32, rows_per_workgroup: u32) -> u32 {
    rows.div_ceil(rows_per_workgroup)
        .min(runtime.context.limits().workgroups)
}

/// Notes how long `units` multiply-adds took.
pub(crate) fn learn(runtime: &Runtime, pipeline: &Pipeline, units: u64, elapsed: Duration) {
    log::trace!(target: "vectorgpu::gpu", "{} took {elapsed:?} for {units} multiply-adds", pipeline.label);
    if pipeline.warm.replace(true) {
        runtime.pace.learn(pipeline.kernel, units, elapsed);
    }
}
