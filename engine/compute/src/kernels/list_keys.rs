//! The kernels that score many queries against rows of lists: `list_keys`, and on matrix units `list_keys_cooperative`, which
//! takes the queries as f16 codes.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::metric::Metric;

use super::assign::MATRIX_UNITS;
use super::lists::metric_code;
use super::plan::ranges;
use crate::adapter::DeviceKind;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{Runtime, as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;

static LIST_KEYS: Kernel = kernel!("list_keys", "search/list_keys.wgsl");
static LIST_KEYS_COOPERATIVE: Kernel = kernel!("list_keys_cooperative", "search/list_keys_cooperative.wgsl");

/// Rows and queries of a block.
pub(crate) const BLOCK: usize = 128;
/// What a workgroup of list_keys_cooperative.wgsl shares: two slabs of 10 KiB and four strips of 1 KiB.
const COOPERATIVE_BYTES: u32 = 24 << 10;
/// Most octets that a run of `list_keys` on the CPU may go through. Mesa's llvmpipe leaves a loop, silently, when an
/// invocation has gone through 65,535 turns of all its loops (`LP_MAX_TGSI_LOOP_ITERATIONS`); an octet takes some 700.
const SOFTWARE_DEPTH: usize = 64;

/// A tile and the queries that are scored against it.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct KeyBlock {
    pub(crate) tile: u32,
    /// The first of them in the map, and how many, at most [`BLOCK`].
    pub(crate) queries_at: u32,
    pub(crate) queries: u32,
    /// Where the key of the first query and row goes, and how much farther that of the next query.
    pub(crate) keys_at: u32,
    pub(crate) step: u32,
    pub(crate) reserved: [u32; 3],
}

/// What many queries are scored against, but for the segment.
pub(crate) struct ListKeys<'a> {
    pub(crate) metric: Metric,
    pub(crate) octets: usize,
    pub(crate) tiles: &'a View,
    /// Their elements in f32, or their f16 codes, each padded with zeros to whole octets.
    pub(crate) queries: &'a View,
    /// Whether it is the codes; see [`scores_query_codes`].
    pub(crate) are_codes: bool,
    /// Their records of list_key.wgsl, as the queries' own or as those of the codes.
    pub(crate) heads: &'a View,
    pub(crate) map: &'a View,
    pub(crate) blocks: &'a View,
    /// Whether keys go to `candidates`, where they are below the query's limit, and not to `keys`.
    pub(crate) below: bool,
    /// With `below`, room for as many sums where queries are no codes, else not touched.
    pub(crate) keys: &'a View,
    /// As `super::candidates` has them; without `below` not touched.
    pub(crate) candidates: &'a View,
}

/// Whether this device scores codes of queries, on its matrix units.
pub(crate) fn scores_query_codes(runtime: &Runtime) -> bool {
    let capabilities = runtime.capabilities();
    capabilities.cooperative_matrix
        && capabilities.kind != DeviceKind::Software
        && capabilities.workgroup_bytes >= COOPERATIVE_BYTES
}

/// `Params` of list_keys.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct KeysParams {
    block_first: u32,
    block_end: u32,
    octets: u32,
    octet_first: u32,
    octet_end: u32,
}

/// `Params` of list_keys_cooperative.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CooperativeParams {
    block_first: u32,
    block_end: u32,
    octets: u32,
}

impl Step {
    /// Records the keys of the blocks in `range`, whose tiles lie in the segment `rows` (its buffer, whole).
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn list_keys(&mut self, call: &ListKeys<'_>, rows: &View, range: Range<usize>) -> Result<()> {
        if call.are_codes {
            return self.list_keys_cooperative(call, rows, range);
        }
        let software = self.runtime.capabilities().kind == DeviceKind::Software;
        let deepest = if software { SOFTWARE_DEPTH } else { call.octets };
        for octet_first in (0..call.octets).step_by(deepest) {
            let depth = deepest.min(call.octets - octet_first);
            let params = |blocks: Range<u32>| {
                Ok(KeysParams {
                    block_first: blocks.start,
                    block_end: blocks.end,
                    octets: as_u32(call.octets)?,
                    octet_first: as_u32(octet_first)?,
                    octet_end: as_u32(octet_first + depth)?,
                })
            };
            self.record_keys(&LIST_KEYS, call, rows, range.clone(), depth, params)?;
        }
        Ok(())
    }

    /// The same on matrix units.
    fn list_keys_cooperative(&mut self, call: &ListKeys<'_>, rows: &View, range: Range<usize>) -> Result<()> {
        let kernel = &LIST_KEYS_COOPERATIVE;
        self.runtime.pace.expect(kernel.name, MATRIX_UNITS);
        self.record_keys(kernel, call, rows, range, call.octets, |blocks| {
            Ok(CooperativeParams {
                block_first: blocks.start,
                block_end: blocks.end,
                octets: as_u32(call.octets)?,
            })
        })
    }

    /// Records `kernel` over parts of the blocks in `range`, each of `depth` octets.
    fn record_keys<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        call: &ListKeys<'_>,
        rows: &View,
        range: Range<usize>,
        depth: usize,
        params: impl Fn(Range<u32>) -> Result<P>,
    ) -> Result<()> {
        let variant = keys_variant(call.metric, call.below);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, kernel, variant)?;
        let units = BLOCK * BLOCK * 8 * depth;
        for part in ranges(&self.runtime, kernel.name, range.len(), units) {
            let blocks = as_u32(range.start + part.start)?..as_u32(range.start + part.end)?;
            let extent = Extent {
                workgroups: [as_u32(part.len())?.min(self.runtime.capabilities().workgroups), 1],
                units: as_u64(part.len().saturating_mul(units))?,
            };
            let views = [
                rows,
                call.tiles,
                call.queries,
                call.heads,
                call.map,
                call.blocks,
                call.keys,
                call.candidates,
            ];
            self.runtime
                .record(&mut self.recording, &pipeline, &params(blocks)?, &views, extent)?;
        }
        Ok(())
    }
}

fn keys_variant(metric: Metric, below: bool) -> Variant {
    Variant::default()
        .constant("METRIC", metric_code(metric))
        .constant("BELOW", u32::from(below))
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LIST_KEYS, &LIST_KEYS_COOPERATIVE];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let metrics = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
    let kernels = [&LIST_KEYS, &LIST_KEYS_COOPERATIVE];
    let ways = metrics
        .into_iter()
        .flat_map(|metric| [(metric, false), (metric, true)]);
    let variants = ways.map(|(metric, below)| keys_variant(metric, below));
    let of_kernel = |variant: Variant| kernels.map(|kernel| (kernel, variant.clone()));
    variants.flat_map(of_kernel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(
            LIST_KEYS,
            KeysParams {
                block_first,
                block_end,
                octets,
                octet_first,
                octet_end,
            }
        );
        assert_params!(
            LIST_KEYS_COOPERATIVE,
            CooperativeParams {
                block_first,
                block_end,
                octets,
            }
        );
    }
}
