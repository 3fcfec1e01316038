//! What the kernels' calls have in common: quads, batches, pace, and the recording of kernels that go over rows.

use std::ops::Range;
use std::time::Duration;

use bytemuck::Pod;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::metric::Element;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::memory::buffer::Purpose;
use crate::memory::view::View;
use crate::pipeline::Pipeline;
use crate::record::Extent;
use crate::rows::{RowArray, invalid};
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Sum, Tunable, Variant};
use crate::step::Step;
use crate::tuning::{constant, tuned};

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

/// Invocations of a workgroup, for kernels that share rows among `LANES` of them: a multiple of every subgroup size.
pub(crate) const ROW_WG: Tunable = Tunable {
    name: "WG",
    default: 64,
    candidates: &[64, 128, 256],
};

/// Invocations of a workgroup, for kernels that share a tile of many numbers.
pub(crate) const TILE_WG: Tunable = Tunable {
    name: "WG",
    default: 256,
    candidates: &[128, 256, 512],
};

/// Invocations that share a row: enough to read a long row in wide pieces, one for a short row; within a subgroup
/// where those are used.
pub(crate) fn lanes(capabilities: &Capabilities, quads: usize) -> u32 {
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

/// Every number that [`lanes`] can give.
#[cfg(test)]
pub(crate) const LANES: [u32; 3] = [1, 8, 32];

/// How invocations add up on this device.
pub(crate) fn sum(capabilities: &Capabilities) -> Sum {
    if capabilities.subgroups.is_some() {
        Sum::Subgroup
    } else {
        Sum::Workgroup
    }
}

/// A kernel in which `LANES` invocations share a row of `quads`.
pub(crate) fn row_variant(capabilities: &Capabilities, quads: usize) -> Variant {
    Variant::default()
        .sum(sum(capabilities))
        .constant("LANES", lanes(capabilities, quads))
}

/// The variants of `kernel` for every way of adding up, number of lanes and size of workgroup, derived from `base`.
#[cfg(test)]
pub(crate) fn row_variants(kernel: &'static Kernel, base: &Variant) -> Vec<(&'static Kernel, Variant)> {
    let mut variants = Vec::new();
    for sum in [Sum::Workgroup, Sum::Subgroup] {
        for lanes in LANES {
            for &size in ROW_WG.candidates {
                let variant = base.clone().sum(sum).constant("LANES", lanes);
                variants.push((kernel, variant.constant("WG", size)));
            }
        }
    }
    variants
}

/// A kernel that goes over rows, and how much of it there is.
pub(crate) struct RowRun {
    pub(crate) kernel: &'static Kernel,
    pub(crate) variant: Variant,
    pub(crate) rows: usize,
    /// Invocations that work together on one row, or on several.
    pub(crate) invocations: u32,
    /// Rows that they work on at a time.
    pub(crate) together: u32,
    /// Beyond so many workgroups, each takes more rows.
    pub(crate) workgroups_max: u32,
    /// Work of one row, in the unit of the kernel's pace.
    pub(crate) units: usize,
}

impl RowRun {
    /// A run of `kernel`, in a variant of [`row_variant`], over `rows` rows of `units`.
    pub(crate) fn shared(kernel: &'static Kernel, variant: Variant, rows: usize, units: usize) -> Self {
        Self {
            kernel,
            invocations: constant(&variant, "LANES"),
            together: 1,
            workgroups_max: u32::MAX,
            variant,
            rows,
            units,
        }
    }
}

impl Step {
    /// Records `run` in as many ranges of rows as submissions need. `params` gives the parameters for a number of rows,
    /// `views` what the kernel binds for a range of them.
    ///
    /// # Errors
    /// Those of `views`; what compiling the kernel reports.
    pub(crate) fn record_rows<P: Pod>(
        &mut self,
        run: RowRun,
        params: impl Fn(u32) -> P,
        views: impl Fn(Range<usize>) -> Result<Vec<View>>,
    ) -> Result<()> {
        let variant = tuned(run.kernel, self.runtime.capabilities(), run.variant);
        let size = u64::from(constant(&variant, "WG"));
        let most = self.runtime.capabilities().workgroups.min(run.workgroups_max);
        let per_workgroup = size * u64::from(run.together);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, run.kernel, variant)?;
        for range in ranges(&self.runtime, run.kernel.name, run.rows, run.units) {
            let rows = range.len();
            let workgroups = (as_u64(rows)? * u64::from(run.invocations)).div_ceil(per_workgroup);
            let extent = Extent {
                workgroups: [u32::try_from(workgroups).map_or(most, |n| n.min(most)), 1],
                units: as_u64(rows.saturating_mul(run.units))?,
            };
            let params = params(as_u32(rows)?);
            let views = views(range)?;
            let views: Vec<&View> = views.iter().collect();
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// The element of `rows`, which this device can read.
    ///
    /// # Errors
    /// `InvalidArgument` for codes; `Unsupported` for f16 rows on a device that cannot unpack them.
    pub(crate) fn readable(&self, rows: &RowArray) -> Result<Element> {
        let element = rows.element()?;
        if element == Element::F16 && !self.runtime.capabilities().f16_rows {
            return Err(Error::new(ErrorKind::Unsupported, "the GPU cannot read f16 rows"));
        }
        Ok(element)
    }
}

/// Checks that there is one score for each row.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn check_scores(rows: usize, scores: &Array<f32>) -> Result<()> {
    if scores.len() == rows {
        return Ok(());
    }
    Err(invalid(format!("{} scores for {rows} rows", scores.len())))
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
