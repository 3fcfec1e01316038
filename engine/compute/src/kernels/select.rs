//! The kernel `select`: the k smallest of many pairs, for large k.
//!
//! A radix select: four passes over the keys, eight bits each, fix the k-th smallest key; then the pairs up to it are
//! copied out in their order and sorted. What is learnt stays on the device.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{TILE_WG, ranges, scratch, stride_workgroups, together};
use super::sort::{KIND_F32, KIND_U32, Source, Target};
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

static SELECT_COUNT: Kernel = kernel!("select_count", "select/select_count.wgsl", [TILE_WG]);
static SELECT_PICK: Kernel = kernel!("select_pick", "select/select_pick.wgsl");
/// Shares the tile, and so the tuned constant, with `select_gather`.
static SELECT_MARK: Kernel = kernel!("select_mark", "select/select_mark.wgsl");
static SELECT_GATHER: Kernel = kernel!("select_gather", "select/select_gather.wgsl", [TILE_WG]);

/// Pairs of an invocation; a tile has those of a workgroup.
const ITEMS: u32 = 8;
const DIGIT_BITS: usize = 8;
const DIGITS: usize = 256;
/// Words of what is known after each of the four passes, and before the first.
const FOUND: usize = 10;
/// Most workgroups that count: enough to fill a large GPU; each adds up to 256 counts to the same 256 words.
const COUNT_WORKGROUPS_MAX: u32 = 1024;
/// Work of a pair, as the paces of the kernels count it: memory accesses.
const COUNT_UNITS: usize = 2;
const GATHER_UNITS: usize = 4;

/// `Params` of select_count.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CountParams {
    first: u32,
    end: u32,
    shift: u32,
    kind: u32,
}

/// `Params` of select_pick.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PickParams {
    k: u32,
    shift: u32,
    start: u32,
}

/// `Params` of select_mark.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MarkParams {
    n: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    kind: u32,
}

/// `Params` of select_gather.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GatherParams {
    n: u32,
    k: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    kind: u32,
    implicit: u32,
}

/// One selection: `k` of `n` pairs, 1 to `n`, and what is learnt about it on the device.
struct Selection<'a> {
    source: &'a Source<'a>,
    n: usize,
    k: usize,
    found: View,
}

impl Step {
    /// Records the selection of the `k` smallest of `n` pairs (key, index), sorted by key: `keys` and `indices` are
    /// `[n]`, `selected_keys` and `selected_indices` `[k]`; `k` is 0 to `n`. Without `indices`, pair `i` has index `i`.
    ///
    /// Exact and the same on every run: what [`Step::sort`] puts first. Of equal keys, at the cut too, those come first
    /// that stand first in `keys`. For `k` up to a few hundred there are faster ways.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let keys = engine.upload("keys", &[3.0_f32, 1.0, 2.0, 1.0], go_on).unwrap();
    /// let selected_keys = engine.array("selected keys", 3, go_on).unwrap();
    /// let selected_indices = engine.array("selected indices", 3, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.select(&keys, None, &selected_keys, &selected_indices, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&selected_keys, go_on).unwrap(), [1.0, 1.0, 2.0]);
    /// assert_eq!(engine.download(&selected_indices, go_on).unwrap(), [1, 3, 2]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for arrays of other lengths; `LimitExceeded`, `OutOfMemory` or `Cancelled` while making room
    /// for partial results; what compiling the kernels reports.
    pub fn select(
        &mut self,
        keys: &Array<f32>,
        indices: Option<&Array<u32>>,
        selected_keys: &Array<f32>,
        selected_indices: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (n, k) = (keys.len(), selected_keys.len());
        if k > n || selected_indices.len() != k || indices.is_some_and(|indices| indices.len() != n) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "cannot select {k} keys and {} indices of {n} keys and {} indices",
                    selected_indices.len(),
                    indices.map_or(n, Array::len)
                ),
            ));
        }
        if k == 0 {
            return Ok(());
        }
        if k == n {
            return self.sort(keys, indices, selected_keys, selected_indices, keep_waiting);
        }
        let source = Source {
            keys: keys.view(),
            indices: indices.map(Array::view),
            kind: KIND_F32,
            limit: u32::MAX,
        };
        let target = Target {
            keys: selected_keys.view(),
            indices: selected_indices.view(),
            kind: KIND_F32,
        };
        self.record_select(&source, n, k, &target, keep_waiting)
    }

    fn record_select(
        &mut self,
        source: &Source<'_>,
        n: usize,
        k: usize,
        target: &Target<'_>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let mut room = |words: usize| {
            let bytes = words * size_of::<u32>();
            scratch(&self.runtime, "vectorgpu.select", bytes, keep_waiting)
        };
        let counts = room(DIGITS)?;
        let selection = Selection {
            source,
            n,
            k,
            found: room(FOUND)?,
        };
        let (chosen_keys, chosen_indices) = (room(k)?, room(k)?);
        self.record_pick(&selection, &counts, None)?;
        for shift in (0..u32::BITS).step_by(DIGIT_BITS).rev() {
            self.record_count(&selection, &counts, shift)?;
            self.record_pick(&selection, &counts, Some(shift))?;
        }
        self.record_gather(&selection, [&chosen_keys, &chosen_indices], keep_waiting)?;
        let chosen = Source {
            keys: &chosen_keys,
            indices: Some(&chosen_indices),
            kind: KIND_U32,
            limit: u32::MAX,
        };
        self.record_sort(&chosen, target, k, u32::BITS, keep_waiting)
    }

    fn record_count(&mut self, selection: &Selection<'_>, counts: &View, shift: u32) -> Result<()> {
        let variant = tuned(&SELECT_COUNT, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SELECT_COUNT, variant)?;
        let views = [selection.source.keys, &selection.found, counts];
        for range in ranges(&self.runtime, SELECT_COUNT.name, selection.n, COUNT_UNITS) {
            let params = CountParams {
                first: as_u32(range.start)?,
                end: as_u32(range.end)?,
                shift,
                kind: selection.source.kind,
            };
            let items = as_u32(range.len())?;
            let [workgroups, _] = stride_workgroups(&self.runtime, items, invocations * ITEMS);
            let extent = Extent {
                workgroups: [workgroups.min(COUNT_WORKGROUPS_MAX), 1],
                units: as_u64(range.len() * COUNT_UNITS)?,
            };
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// After the pass with `shift`, or before the first.
    fn record_pick(&mut self, selection: &Selection<'_>, counts: &View, shift: Option<u32>) -> Result<()> {
        let invocations = as_u32(DIGITS)?;
        let variant = Variant::default()
            .sum(together(self.runtime.capabilities(), invocations))
            .constant("WG", invocations);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SELECT_PICK, variant)?;
        let params = PickParams {
            k: as_u32(selection.k)?,
            shift: shift.unwrap_or(0),
            start: u32::from(shift.is_none()),
        };
        let extent = Extent {
            workgroups: [1, 1],
            units: as_u64(DIGITS)?,
        };
        let views = [&selection.found, counts];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }

    /// Copies the selected pairs out, in their order.
    fn record_gather(
        &mut self,
        selection: &Selection<'_>,
        chosen: [&View; 2],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let variant = tuned(&SELECT_GATHER, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let variant = variant.sum(together(self.runtime.capabilities(), invocations));
        let pipelines = &self.runtime.pipelines;
        let mark = pipelines.pipeline(&self.runtime.context, &SELECT_MARK, variant.clone())?;
        let gather = pipelines.pipeline(&self.runtime.context, &SELECT_GATHER, variant)?;
        let tile = as_usize((invocations * ITEMS).into())?;
        let tiles = selection.n.div_ceil(tile);
        let places_bytes = 2 * tiles * size_of::<u32>();
        let places = scratch(&self.runtime, "vectorgpu.select", places_bytes, keep_waiting)?;
        let source = selection.source;
        let views = [source.keys, &selection.found, &places];
        for range in ranges(&self.runtime, SELECT_MARK.name, tiles, tile * COUNT_UNITS) {
            let params = MarkParams {
                n: as_u32(selection.n)?,
                tiles: as_u32(tiles)?,
                tile_first: as_u32(range.start)?,
                tile_end: as_u32(range.end)?,
                kind: source.kind,
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len() * tile * COUNT_UNITS)?,
            };
            self.runtime
                .record(&mut self.recording, &mark, &params, &views, extent)?;
        }
        self.record_scan(&places, as_u32(2 * tiles)?, keep_waiting)?;
        let views = [
            source.keys,
            source.indices.unwrap_or(source.keys),
            &selection.found,
            &places,
            chosen[0],
            chosen[1],
        ];
        for range in ranges(&self.runtime, SELECT_GATHER.name, tiles, tile * GATHER_UNITS) {
            let params = GatherParams {
                n: as_u32(selection.n)?,
                k: as_u32(selection.k)?,
                tiles: as_u32(tiles)?,
                tile_first: as_u32(range.start)?,
                tile_end: as_u32(range.end)?,
                kind: source.kind,
                implicit: u32::from(source.indices.is_none()),
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len() * tile * GATHER_UNITS)?,
            };
            self.runtime
                .record(&mut self.recording, &gather, &params, &views, extent)?;
        }
        Ok(())
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SELECT_COUNT, &SELECT_PICK, &SELECT_MARK, &SELECT_GATHER];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::shader::Sum;
    let of = |sum: Sum, size: u32| Variant::default().sum(sum).constant("WG", size);
    let mut variants = Vec::new();
    for &size in TILE_WG.candidates {
        variants.push((&SELECT_COUNT, of(Sum::Workgroup, size)));
        for sum in [Sum::Workgroup, Sum::Subgroup] {
            variants.push((&SELECT_MARK, of(sum, size)));
            variants.push((&SELECT_GATHER, of(sum, size)));
        }
    }
    variants.extend([Sum::Workgroup, Sum::Subgroup].map(|sum| (&SELECT_PICK, of(sum, 256))));
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(
            SELECT_COUNT,
            CountParams {
                first,
                end,
                shift,
                kind
            }
        );
        assert_params!(SELECT_PICK, PickParams { k, shift, start });
        assert_params!(
            SELECT_MARK,
            MarkParams {
                n,
                tiles,
                tile_first,
                tile_end,
                kind
            }
        );
        assert_params!(
            SELECT_GATHER,
            GatherParams {
                n,
                k,
                tiles,
                tile_first,
                tile_end,
                kind,
                implicit,
            }
        );
    }
}
