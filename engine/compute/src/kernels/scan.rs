//! The kernels `scan` and `scan_add`: sums of all numbers before each, over any number of blocks.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::plan::{TILE_WG, scratch, stride_workgroups, together};
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_usize};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static SCAN: Kernel = kernel!("scan", "select/scan.wgsl", [TILE_WG]);
static SCAN_ADD: Kernel = kernel!("scan_add", "select/scan_add.wgsl");

/// Numbers of an invocation of scan.wgsl.
const ITEMS: u32 = 8;
/// Invocations of a workgroup of scan_add.wgsl.
const ADD_WORKGROUP: u32 = 256;

/// `Params` of scan.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScanParams {
    n: u32,
}

/// `Params` of scan_add.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScanAddParams {
    n: u32,
    block: u32,
}

impl Step {
    /// Records `values[i] = values[0] + ... + values[i - 1]`, in place; sums wrap around. No values: nothing to do.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let values = engine.array("values", 4, go_on).unwrap();
    /// engine.write(&values, &[3_u32, 1, 4, 1], go_on).unwrap();
    /// let mut step = engine.step();
    /// step.scan(&values, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&values, go_on).unwrap(), [0, 3, 4, 8]);
    /// ```
    ///
    /// # Errors
    /// `OutOfMemory` or `Cancelled` while making room for the blocks' sums; what compiling the kernels reports.
    pub fn scan(&mut self, values: &Array<u32>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.record_scan(values.view(), as_u32(values.len())?, keep_waiting)
    }

    /// As [`Step::scan`], for the `n` numbers of `values`; `n` is at least 1.
    pub(super) fn record_scan(
        &mut self,
        values: &View,
        n: u32,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let variant = tuned(&SCAN, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let variant = variant.sum(together(self.runtime.capabilities(), invocations));
        let block = invocations * ITEMS;
        let blocks = n.div_ceil(block);
        let sums_bytes = as_usize(blocks.into())? * size_of::<u32>();
        let sums = scratch(&self.runtime, "vectorgpu.scan", sums_bytes, keep_waiting)?;
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SCAN, variant)?;
        let extent = |per_workgroup| Extent {
            workgroups: stride_workgroups(&self.runtime, n, per_workgroup),
            units: n.into(),
        };
        let (scan_extent, add_extent) = (extent(block), extent(ADD_WORKGROUP * ITEMS));
        let views = [values, &sums];
        self.runtime.record(
            &mut self.recording,
            &pipeline,
            &ScanParams { n },
            &views,
            scan_extent,
        )?;
        if blocks == 1 {
            return Ok(());
        }
        self.record_scan(&sums, blocks, keep_waiting)?;
        let variant = Variant::default().constant("WG", ADD_WORKGROUP);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SCAN_ADD, variant)?;
        let params = ScanAddParams { n, block };
        let views = [&sums, values];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, add_extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SCAN, &SCAN_ADD];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::shader::Sum;
    let of = |sum: Sum, size: u32| Variant::default().sum(sum).constant("WG", size);
    let scans = TILE_WG
        .candidates
        .iter()
        .flat_map(|&size| [Sum::Workgroup, Sum::Subgroup].map(|sum| (&SCAN, of(sum, size))));
    scans
        .chain([(&SCAN_ADD, of(Sum::Workgroup, ADD_WORKGROUP))])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(SCAN, ScanParams { n });
        assert_params!(SCAN_ADD, ScanAddParams { n, block });
    }
}
