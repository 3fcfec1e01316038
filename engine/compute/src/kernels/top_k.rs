//! The kernels `top_k` and, for few, `top_few`: the smallest of many values with their positions.
//!
//! A pass keeps the k smallest of each block of candidates; passes follow until one block is left.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::plan::{ranges, stride_workgroups};
use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::memory::view::View;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;

static TOP_K: Kernel = kernel!("top_k", "select/top_k.wgsl");
static TOP_FEW: Kernel = kernel!("top_few", "select/top_few.wgsl");
static TOP_FEW_SPANS: Kernel = kernel!("top_few_spans", "select/top_few_spans.wgsl");

/// Candidates that a workgroup sorts at once.
const BLOCK: usize = 2048;
/// Candidates that a workgroup looks at once for few results, and most results of that.
pub(crate) const FEW_BLOCK: usize = 4096;
pub(crate) const FEW_MAX: usize = 64;
/// The same for spans and candidates on devices whose workgroups share enough memory: what is left of a block, 16 entries for each
/// that is wanted, has to fit.
const FEW_MOST: [usize; 2] = [256, 128];
/// Bytes of an entry, and of what else such a workgroup shares.
const ENTRY_BYTES: usize = 8;
const OTHER_BYTES: usize = 64;
/// Most results.
const K_MAX: usize = 1024;

/// `Params` of top_k.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TopKParams {
    count: u32,
    k: u32,
    first: u32,
    position: u32,
}

/// Values of which the smallest are chosen.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Span {
    pub(crate) start: u32,
    /// At most [`FEW_BLOCK`].
    pub(crate) count: u32,
    /// The index of the first one.
    pub(crate) index: u32,
    pub(crate) reserved: u32,
}

/// `Params` of top_few_spans.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SpansParams {
    k: u32,
    first: u32,
    span_first: u32,
    span_end: u32,
}

/// What a pass chooses from.
struct Candidates {
    count: usize,
    /// At least one element, for a run to bind.
    values: Array<f32>,
    /// None while the index of a candidate is its position.
    indices: Option<Array<u32>>,
}

impl Step {
    /// Records the search for the `k` smallest of `values`, `[n]`: `best_values` and `best_indices`, both `[k]`, in
    /// ascending order, the indices counted from 0.
    ///
    /// -0 counts as 0 and comes out as 0, subnormals count as they are, NaN comes last, and ties go to the lower index.
    /// Places beyond n hold NaN and index `u32::MAX`. Takes memory for `k` entries of every 2,048 values at the most until the step
    /// has run; `keep_waiting` is asked while that has to be waited for.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let values = engine.upload("values", &[3.0_f32, -1.0, 2.0, -1.0], go_on).unwrap();
    /// let best_values = engine.array("best_values", 3, go_on).unwrap();
    /// let best_indices = engine.array("best_indices", 3, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.top_k(&values, 3, &best_values, &best_indices, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&best_values, go_on).unwrap(), [-1.0, -1.0, 2.0]);
    /// assert_eq!(engine.download(&best_indices, go_on).unwrap(), [1, 3, 2]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` unless k is 1 to 1,024 and both results have k places in buffers of their own;
    /// `LimitExceeded` for more values than u32 counts; `OutOfMemory`, `Cancelled`, `DeviceLost`; what compiling the
    /// kernel reports.
    pub fn top_k(
        &mut self,
        values: &Array<f32>,
        k: usize,
        best_values: &Array<f32>,
        best_indices: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if !(1..=K_MAX).contains(&k) {
            return Err(invalid(format!("{k} results are not between 1 and {K_MAX}")));
        }
        if best_values.len() != k || best_indices.len() != k {
            return Err(invalid(format!(
                "{} values and {} indices for {k} results",
                best_values.len(),
                best_indices.len()
            )));
        }
        as_u32(values.len())?;
        let mut candidates = Candidates {
            count: values.len(),
            values: if values.is_empty() {
                self.scratch(1, keep_waiting)?
            } else {
                values.clone()
            },
            indices: None,
        };
        let block = if k <= FEW_MAX { FEW_BLOCK } else { BLOCK };
        while candidates.count > block {
            let count = candidates.count.div_ceil(block) * k;
            let values = self.scratch(count, keep_waiting)?;
            let indices = self.scratch(count, keep_waiting)?;
            self.top_k_pass(&candidates, k, &values, &indices)?;
            candidates = Candidates {
                count,
                values,
                indices: Some(indices),
            };
        }
        self.top_k_pass(&candidates, k, best_values, best_indices)
    }

    /// Records the search for the `k` smallest (at most [`few_max`]) of each of `count` spans of `values`; an entry's index is
    /// the one of `indices`, or follows from its place in the span, where infinite values are no entries. Results are
    /// `[count, k]`.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn top_few_spans(
        &mut self,
        (values, indices): (&View, Option<&View>),
        (spans, count): (&View, usize),
        k: usize,
        (best_values, best_indices): (&View, &View),
    ) -> Result<()> {
        let pipeline =
            self.runtime
                .pipelines
                .pipeline(&self.runtime.context, &TOP_FEW_SPANS, few_variant(k)?)?;
        for range in ranges(&self.runtime, TOP_FEW_SPANS.name, count, FEW_BLOCK) {
            let params = SpansParams {
                k: as_u32(k)?,
                first: u32::from(indices.is_none()),
                span_first: as_u32(range.start)?,
                span_end: as_u32(range.end)?,
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len().saturating_mul(FEW_BLOCK))?,
            };
            // Bound in their place and not read.
            let views = [
                values,
                indices.unwrap_or(values),
                spans,
                best_values,
                best_indices,
            ];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// Records the search for the `k` smallest of each block of `candidates`.
    fn top_k_pass(
        &mut self,
        candidates: &Candidates,
        k: usize,
        best_values: &Array<f32>,
        best_indices: &Array<u32>,
    ) -> Result<()> {
        let kept = k.next_power_of_two().max(2);
        let (kernel, block, variant, units) = if k <= FEW_MAX {
            (&TOP_FEW, FEW_BLOCK, Variant::default(), FEW_BLOCK)
        } else {
            let variant = Variant::default().constant("KEPT", as_u32(kept)?);
            (&TOP_K, BLOCK, variant, block_units(kept))
        };
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, kernel, variant)?;
        let blocks = candidates.count.div_ceil(block).max(1);
        for range in ranges(&self.runtime, kernel.name, blocks, units) {
            let start = range.start * block;
            let count = candidates.count.min(range.end * block) - start;
            let bound = start..start + count.max(1);
            let values = candidates.values.slice(bound.clone())?;
            let indices = match &candidates.indices {
                Some(indices) => indices.slice(bound)?,
                // Bound in their place and not read.
                None => values.words(),
            };
            let results = range.start * k..range.end * k;
            let best_values = best_values.slice(results.clone())?;
            let best_indices = best_indices.slice(results)?;
            let params = TopKParams {
                count: as_u32(count)?,
                k: as_u32(k)?,
                first: u32::from(candidates.indices.is_none()),
                position: as_u32(start)?,
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len().saturating_mul(units))?,
            };
            let views = [
                values.view(),
                indices.view(),
                best_values.view(),
                best_indices.view(),
            ];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// Room for `len` entries until the step has run.
    fn scratch<T: Pod>(&self, len: usize, keep_waiting: &mut KeepWaiting<'_>) -> Result<Array<T>> {
        self.runtime.roomy_array("vectorgpu.top_k", len, keep_waiting)
    }
}

/// Most results of [`Step::top_few_spans`] and of `Step::top_few_candidates` on this device.
pub(crate) fn few_max(capabilities: &Capabilities) -> usize {
    let shared = usize::try_from(capabilities.workgroup_bytes).unwrap_or(usize::MAX);
    let fits = |k: &usize| kept_of_few(*k) * ENTRY_BYTES + OTHER_BYTES <= shared;
    FEW_MOST.into_iter().find(fits).unwrap_or(FEW_MAX)
}

/// Entries that may be left of a block when `k` are wanted.
fn kept_of_few(k: usize) -> usize {
    16 * k.next_power_of_two().max(FEW_MAX)
}

/// The variant of those kernels for `k` results.
pub(crate) fn few_variant(k: usize) -> Result<Variant> {
    Ok(Variant::default().constant("KEPT", as_u32(kept_of_few(k))?))
}

/// Work of one block, in exchanges: half the entries in each step of the sort and of the first merge; further merges
/// halve the entries.
fn block_units(kept: usize) -> usize {
    let rounds = usize::try_from(kept.ilog2()).unwrap_or(0);
    BLOCK / 2 * (rounds * (rounds + 1) / 2 + 2 * (rounds + 1))
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&TOP_K, &TOP_FEW, &TOP_FEW_SPANS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let few = std::iter::once((&TOP_FEW, Variant::default())).chain(few_variants(&TOP_FEW_SPANS));
    let many = FEW_MAX.ilog2() + 1..=K_MAX.ilog2();
    many.map(|power| (&TOP_K, Variant::default().constant("KEPT", 1 << power)))
        .chain(few)
        .collect()
}

/// Every variant of `kernel`, of which [`few_variant`] is the one to take.
#[cfg(test)]
pub(crate) fn few_variants(kernel: &'static Kernel) -> impl Iterator<Item = (&'static Kernel, Variant)> {
    [FEW_MAX]
        .into_iter()
        .chain(FEW_MOST)
        .map(move |k| (kernel, few_variant(k).expect("small")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            TOP_FEW_SPANS,
            SpansParams {
                k,
                first,
                span_first,
                span_end
            }
        );
        for kernel in [&TOP_K, &TOP_FEW] {
            assert_params!(
                kernel,
                TopKParams {
                    count,
                    k,
                    first,
                    position
                }
            );
        }
    }
}
