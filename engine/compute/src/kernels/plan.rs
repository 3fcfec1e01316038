//! What the kernels' calls have in common: quads, batches, pace.

use std::ops::Range;
use std::time::Duration;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::capabilities::Capabilities;
use crate::memory::buffer::Purpose;
use crate::memory::view::View;
use crate::pipeline::Pipeline;
use crate::runtime::{Runtime, as_u64, as_usize};
use crate::shader::Sum;

/// Elements of a quad. Rows go to the device padded with zeros to whole quads, so that every load is aligned; the
/// padding changes no sum.
pub(crate) const QUAD: usize = 4;

/// Fewest rows of a batch, if they fit: a tile of the tiled kernels.
pub(crate) const TILE: usize = 64;

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
        .min(runtime.capabilities().workgroups)
}

/// As [`workgroups`], in the two dimensions of a dispatch.
pub(crate) fn stride_workgroups(runtime: &Runtime, items: u32, items_per_workgroup: u32) -> [u32; 2] {
    [workgroups(runtime, items, items_per_workgroup).max(1), 1]
}

/// Items that start a range: 64 items of whole words start at a multiple of every device's binding alignment.
const RANGE_STEP: usize = 64;

/// Cuts `items` into ranges that each fit one submission, where an item is `units` of work for `kernel`. Ranges start at
/// multiples of 64 items.
pub(crate) fn ranges(
    runtime: &Runtime,
    kernel: &'static str,
    items: usize,
    units: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let affordable = as_usize(runtime.pace.units(kernel)).unwrap_or(usize::MAX) / units.max(1);
    let most = (affordable / RANGE_STEP * RANGE_STEP).max(RANGE_STEP);
    (0..items)
        .step_by(most)
        .map(move |start| start..items.min(start.saturating_add(most)))
}

/// Memory for what one kernel of a step writes and a later one reads; its contents are unspecified. It is used again
/// once the step has run.
///
/// # Errors
/// `LimitExceeded`, `OutOfMemory`, `Cancelled` or `DeviceLost`.
pub(crate) fn scratch(
    runtime: &Runtime,
    label: &'static str,
    bytes: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<View> {
    let bytes = as_u64(bytes)?;
    let block = runtime.acquire(label, Purpose::Storage, bytes, keep_waiting)?;
    Ok(View::front(&block, bytes)?)
}

/// How a workgroup of `invocations` works together: with subgroup operations where its subgroups are all full.
pub(crate) fn together(capabilities: &Capabilities, invocations: u32) -> Sum {
    match capabilities.subgroups {
        Some((smallest, largest)) if smallest >= 4 && invocations.is_multiple_of(largest) => Sum::Subgroup,
        _ => Sum::Workgroup,
    }
}

/// Notes how long `units` multiply-adds took.
pub(crate) fn learn(runtime: &Runtime, pipeline: &Pipeline, units: u64, elapsed: Duration) {
    log::trace!(target: "vectorgpu::gpu", "{} took {elapsed:?} for {units} multiply-adds", pipeline.label);
    if pipeline.warm.replace(true) {
        runtime.pace.learn(pipeline.kernel, units, elapsed);
    }
}
