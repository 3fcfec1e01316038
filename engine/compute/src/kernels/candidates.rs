//! The candidates of many queries (shaders/shared/candidates.wgsl): how they begin, and the choice of the smallest.
//!
//! What comes in between are the kernels of [`super::list_keys`], which add those below each query's limit.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::plan::{ranges, stride_workgroups};
use super::top_k::{FEW_BLOCK, few_max, few_variant};
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;

static CANDIDATES_BEGIN: Kernel = kernel!("candidates_begin", "select/candidates_begin.wgsl");
static TOP_FEW_CANDIDATES: Kernel = kernel!("top_few_candidates", "select/top_few_candidates.wgsl");

/// Most candidates of a query: as many as are chosen from at once.
pub(crate) const CANDIDATES_MAX: usize = FEW_BLOCK;
/// Words that the candidates of a query take.
pub(crate) const CANDIDATE_WORDS: usize = 2 * (CANDIDATES_MAX + 1);

/// `Params` of both kernels.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CandidatesParams {
    k: u32,
    query_first: u32,
    query_end: u32,
}

impl Step {
    /// Records the beginning of `candidates`, `[count, CANDIDATE_WORDS]`, with the `k` entries of each query that `values` and
    /// `indices` hold, `[count, k]`, ascending. The last one's value is the limit of what may be added.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn candidates_begin(
        &mut self,
        (values, indices): (&View, &View),
        (count, k): (usize, usize),
        candidates: &View,
    ) -> Result<()> {
        let views = [values, indices, candidates];
        self.over_queries((&CANDIDATES_BEGIN, Variant::default()), (count, k), k, &views)
    }

    /// Records the choice of the `k` smallest candidates of each of `count` queries: `best_values` and `best_indices`,
    /// `[count, k]`. A query with more candidates than [`CANDIDATES_MAX`] gets none.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn top_few_candidates(
        &mut self,
        candidates: &View,
        (count, k): (usize, usize),
        (best_values, best_indices): (&View, &View),
    ) -> Result<()> {
        let views = [candidates, best_values, best_indices];
        self.over_queries(
            (&TOP_FEW_CANDIDATES, few_variant(k)?),
            (count, k),
            FEW_BLOCK,
            &views,
        )
    }

    /// Records a variant of a kernel over `count` queries, each of `units` of work.
    fn over_queries(
        &mut self,
        (kernel, variant): (&'static Kernel, Variant),
        (count, k): (usize, usize),
        units: usize,
        views: &[&View],
    ) -> Result<()> {
        debug_assert!((1..=few_max(self.runtime.capabilities())).contains(&k));
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, kernel, variant)?;
        for range in ranges(&self.runtime, kernel.name, count, units) {
            let params = CandidatesParams {
                k: as_u32(k)?,
                query_first: as_u32(range.start)?,
                query_end: as_u32(range.end)?,
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len().saturating_mul(units))?,
            };
            self.runtime
                .record(&mut self.recording, &pipeline, &params, views, extent)?;
        }
        Ok(())
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&CANDIDATES_BEGIN, &TOP_FEW_CANDIDATES];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    super::top_k::few_variants(&TOP_FEW_CANDIDATES)
        .chain([(&CANDIDATES_BEGIN, Variant::default())])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        for kernel in KERNELS {
            assert_params!(
                kernel,
                CandidatesParams {
                    k,
                    query_first,
                    query_end
                }
            );
        }
    }
}
