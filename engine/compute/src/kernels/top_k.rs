//! The kernels `top_k` and, for few, `top_few`: the smallest of many values with their positions.
//!
//! A pass keeps the k smallest of each block of candidates; passes follow until one block is left. `top_few_each` does without
//! passes: a subgroup reads all values of a query, of which there have to be many.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

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
static TOP_FEW_EACH: Kernel = kernel!("top_few_each", "select/top_few_each.wgsl");

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

/// `Params` of top_few_each.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EachParams {
    k: u32,
    query_first: u32,
    query_end: u32,
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

    /// Records the search for the `k` smallest of `values` of each of `count` queries, on a device that [`chooses_each`] so many:
    /// those of a query lie in the spans up to its one of `ends`, from that of the query before on. Infinite values are no entries.
    /// Results are `[count, k]`; `each` is about how many values a query has.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn top_few_each(
        &mut self,
        (values, spans, ends): (&View, &View, &View),
        (count, each): (usize, usize),
        k: usize,
        (best_values, best_indices): (&View, &View),
    ) -> Result<()> {
        let lanes = lanes_of_each(self.runtime.capabilities())
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "subgroups of one size are needed"))?;
        let pipeline = self.runtime.pipelines.pipeline(
            &self.runtime.context,
            &TOP_FEW_EACH,
            Variant::default().constant("LANES", lanes),
        )?;
        for range in ranges(&self.runtime, TOP_FEW_EACH.name, count, each) {
            let params = EachParams {
                k: as_u32(k)?,
                query_first: as_u32(range.start)?,
                query_end: as_u32(range.end)?,
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, EACH_WG / lanes),
                units: as_u64(range.len().saturating_mul(each))?,
            };
            let views = [values, spans, ends, best_values, best_indices];
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

/// Invocations of a workgroup of `top_few_each`: as many queries as it has subgroups.
const EACH_WG: u32 = 64;
/// Fewest queries of [`Step::top_few_each`]: about as many subgroups as a large device runs at once on a quarter of its cores. One
/// reads a query's values one after the other, which takes long where few do.
const EACH_QUERIES_MIN: usize = 512;
/// Most lanes that its masks of one word hold.
const EACH_LANES_MAX: u32 = 32;

/// Whether [`Step::top_few_each`] is the one to choose `k` values for each of so many queries.
pub(crate) fn chooses_each(capabilities: &Capabilities, queries: usize, k: usize) -> bool {
    queries >= EACH_QUERIES_MIN && lanes_of_each(capabilities).is_some_and(|lanes| k <= lanes as usize)
}

/// The size of all subgroups, if they have one.
fn lanes_of_each(capabilities: &Capabilities) -> Option<u32> {
    let (smallest, largest) = capabilities.subgroups?;
    (smallest == largest && smallest <= EACH_LANES_MAX && EACH_WG.is_multiple_of(smallest))
        .then_some(smallest)
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
pub(crate) const KERNELS: &[&Kernel] = &[&TOP_K, &TOP_FEW, &TOP_FEW_SPANS, &TOP_FEW_EACH];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let few = std::iter::once((&TOP_FEW, Variant::default())).chain(few_variants(&TOP_FEW_SPANS));
    let each = [4, 8, 16, 32].map(|lanes| (&TOP_FEW_EACH, Variant::default().constant("LANES", lanes)));
    let many = FEW_MAX.ilog2() + 1..=K_MAX.ilog2();
    many.map(|power| (&TOP_K, Variant::default().constant("KEPT", 1 << power)))
        .chain(few)
        .chain(each)
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
    use crate::builder::EngineBuilder;
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
        assert_params!(
            TOP_FEW_EACH,
            EachParams {
                k,
                query_first,
                query_end
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

    /// Values among which ties, infinite ones and NaN are common.
    fn values(len: usize) -> Vec<f32> {
        let mut state = 77_u64;
        let mut value = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            match state >> 40 & 15 {
                0 => f32::INFINITY,
                1 => f32::NAN,
                2 => -0.0,
                _ => f32::from(i16::try_from(state >> 56).expect("a byte")) - 100.0,
            }
        };
        (0..len).map(|_| value()).collect()
    }

    /// Spans of lengths from nothing to more than is loaded at once, with what belongs to no query in between; and how many there are
    /// up to each query.
    fn spans_of_queries() -> (Vec<Span>, Vec<u32>) {
        let mut spans: Vec<Span> = Vec::new();
        let mut ends = Vec::new();
        let mut start = 0;
        for query in 0..150_u32 {
            for piece in 0..query % 5 {
                let count = [0, 1, 7, 64, 257, 300][((query + piece) % 6) as usize];
                spans.push(Span {
                    start,
                    count,
                    // As from lists in any order.
                    index: 1_000_000 - start,
                    reserved: 0,
                });
                start += count + 3;
            }
            ends.push(as_u32(spans.len()).expect("few"));
        }
        assert!(start < 40_000);
        (spans, ends)
    }

    /// The `k` smallest of the values of some spans, with their indices.
    fn smallest(values: &[f32], spans: &[Span], k: usize) -> Vec<(f32, u32)> {
        let of_span = |span: &Span| {
            let from = span.start as usize;
            let values = values[from..from + span.count as usize].iter().copied();
            values.zip(span.index..).collect::<Vec<_>>()
        };
        let mut entries: Vec<(f32, u32)> = spans.iter().flat_map(of_span).collect();
        entries.retain(|(value, _)| !value.is_infinite());
        // By index, in which the twin breaks ties.
        entries.sort_unstable_by_key(|(_, index)| *index);
        let plain: Vec<f32> = entries.iter().map(|(value, _)| *value).collect();
        let chosen = crate::reference::top_k(&plain, k);
        let mut chosen: Vec<_> = chosen
            .into_iter()
            .map(|(value, at)| (value, entries[at as usize].1))
            .collect();
        chosen.resize(k, (f32::NAN, u32::MAX));
        chosen
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn top_few_each_chooses_as_its_twin_does_for_each_query() {
        const NAME: &str = "top_few_each_chooses_as_its_twin_does_for_each_query";
        let builder = EngineBuilder::new().allow_software(true);
        if builder.devices().expect("devices").is_empty() {
            eprintln!("SKIPPED {NAME}: no Vulkan adapter");
            return;
        }
        let engine = builder.open().expect("an engine");
        let Some(lanes) = lanes_of_each(engine.runtime.capabilities()) else {
            eprintln!("SKIPPED {NAME}: subgroups of several sizes, or none");
            return;
        };
        let go_on = &mut || true;
        let values = values(40_000);
        let (spans, ends) = spans_of_queries();
        let device_values = engine.upload("vectorgpu.test", &values, go_on).expect("memory");
        let words: &[u32] = bytemuck::cast_slice(&spans);
        let device_spans = engine.upload("vectorgpu.test", words, go_on).expect("memory");
        let device_ends = engine.upload("vectorgpu.test", &ends, go_on).expect("memory");
        for k in [1, 2, 3, lanes as usize - 1, lanes as usize] {
            let count = ends.len() * k;
            let best_values = engine
                .array::<f32>("vectorgpu.test", count, go_on)
                .expect("memory");
            let best_indices = engine
                .array::<u32>("vectorgpu.test", count, go_on)
                .expect("memory");
            let mut step = engine.step();
            step.top_few_each(
                (device_values.view(), device_spans.view(), device_ends.view()),
                (ends.len(), 300),
                k,
                (best_values.view(), best_indices.view()),
            )
            .expect("recorded");
            step.run(go_on).expect("run");
            let found_values = engine.download(&best_values, go_on).expect("values");
            let found_indices = engine.download(&best_indices, go_on).expect("indices");
            let found = found_values.chunks(k).zip(found_indices.chunks(k));
            let mut first = 0;
            for ((found, indices), end) in found.zip(&ends) {
                let expected = smallest(&values, &spans[first as usize..*end as usize], k);
                for ((value, index), (expected, at)) in found.iter().zip(indices).zip(expected) {
                    let same = *value == expected || (value.is_nan() && expected.is_nan());
                    assert!(same && *index == at, "{k} up to {end}: {value} {index}");
                }
                first = *end;
            }
        }
    }
}
