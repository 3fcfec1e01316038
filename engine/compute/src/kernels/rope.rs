//! The kernel `rope`: keys turned by their positions and stored in a layer's cache, with values.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::attention::LayerInput;
use super::plan::stride_workgroups;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static ROPE: Kernel = kernel!("rope", "llm/rope.wgsl", [WG]);

/// Invocations of a workgroup, for kernels without workgroup memory.
const WG: Tunable = Tunable {
    name: "WG",
    default: 64,
    candidates: &[32, 64, 128, 256],
};

/// `Params` of rope.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RopeParams {
    row_first: u32,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    blocks_max: u32,
    blocks: u32,
    pairs: u32,
    adjacent: u32,
    positions: u32,
}

impl Step {
    /// Records the storing of the keys and values of `rows`: keys turned by their positions, rounded to f16.
    ///
    /// Numbers that f16 cannot hold become its largest.
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not there, or turns of more numbers than a head has; `Unsupported` on a device that
    /// cannot pack f16; what compiling the kernel reports.
    pub fn rope(&mut self, layer: &LayerInput<'_>, rows: Range<usize>) -> Result<()> {
        let heads = self.check_layer(layer, &rows)?;
        if rows.is_empty() {
            return Ok(());
        }
        let variant = Variant::default().constant("HEAD", as_u32(heads.numbers)?);
        let variant = tuned(&ROPE, self.runtime.capabilities(), variant);
        let invocations = constant(&variant, "WG");
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &ROPE, variant)?;
        let params = RopeParams {
            row_first: as_u32(rows.start)?,
            rows: as_u32(rows.len())?,
            heads: as_u32(heads.queries)?,
            kv_heads: as_u32(heads.keys)?,
            blocks_max: as_u32(layer.sequences.table_blocks())?,
            blocks: as_u32(layer.cache.blocks())?,
            pairs: as_u32(layer.turns.pairs())?,
            adjacent: u32::from(layer.turns.is_adjacent()),
            positions: as_u32(layer.turns.positions())?,
        };
        let octets = as_u32(rows.len() * 2 * heads.keys * heads.numbers / 8)?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, octets, invocations),
            units: as_u64(rows.len() * heads.row_numbers())?,
        };
        let views = layer.views();
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&ROPE];

/// Every pipeline that this family can ask for, on any device, but for the heads' length.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let variant = |&size| Variant::default().constant("WG", size).constant("HEAD", 64);
    WG.candidates.iter().map(|size| (&ROPE, variant(size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            ROPE,
            RopeParams {
                row_first,
                rows,
                heads,
                kv_heads,
                blocks_max,
                blocks,
                pairs,
                adjacent,
                positions
            }
        );
    }
}
