//! The kernel `sort`: any number of pairs (key, index) in the order of their keys.
//!
//! It is a least-significant-digit radix sort: each pass counts the digits of every tile, scans the counts into places,
//! and moves the pairs there. Passes go to and fro between the result and one spare pair of buffers.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{TILE_WG, ranges, scratch, stride_workgroups, together};
use super::sort_local::LOCAL_MAX;
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

/// Shares the tile, and so the tuned constant, with `sort_scatter`.
static SORT_COUNT: Kernel = kernel!("sort_count", "select/sort_count.wgsl");
static SORT_SCATTER: Kernel = kernel!("sort_scatter", "select/sort_scatter.wgsl", [TILE_WG]);

/// Pairs of an invocation; a tile has those of a workgroup.
const ITEMS: u32 = 8;
/// Bits that a pass sorts by.
const DIGIT_BITS: u32 = 8;
const DIGITS: usize = 256;
/// Work of a pair, as the paces of the kernels count it: memory accesses.
const COUNT_UNITS: usize = 2;
const SCATTER_UNITS: usize = 32;

/// `Params` of sort_count.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CountParams {
    n: u32,
    tiles: u32,
    tile_first: u32,
    tile_end: u32,
    shift: u32,
    kind: u32,
    limit: u32,
}

/// `Params` of sort_scatter.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScatterParams {
    count: CountParams,
    kind_out: u32,
    implicit: u32,
}

/// How the shaders call keys of a type.
pub(super) const KIND_U32: u32 = 0;
pub(super) const KIND_F32: u32 = 1;

/// What pairs can be sorted by: f32 and u32.
pub trait SortKey: Pod + sealed::Kind {
    /// How it compares. Among f32, 0.0 and -0.0 are equal, and NaN is equal to NaN and greater than all else.
    fn order(&self, other: &Self) -> Ordering;

    /// Itself as sorting returns it: for f32, 0.0 for -0.0 and [`f32::NAN`] for any NaN.
    #[must_use]
    fn plain(self) -> Self;
}

mod sealed {
    /// The number by which shaders know a type of keys.
    pub trait Kind {
        /// The number.
        const KIND: u32;
    }
}

impl sealed::Kind for u32 {
    const KIND: u32 = KIND_U32;
}

impl SortKey for u32 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn plain(self) -> Self {
        self
    }
}

impl sealed::Kind for f32 {
    const KIND: u32 = KIND_F32;
}

impl SortKey for f32 {
    fn order(&self, other: &Self) -> Ordering {
        self.partial_cmp(other)
            .unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }

    fn plain(self) -> Self {
        match self {
            _ if self.is_nan() => Self::NAN,
            _ if self == 0.0 => 0.0,
            _ => self,
        }
    }
}

/// Pairs to read.
pub(super) struct Source<'a> {
    pub(super) keys: &'a View,
    /// Without, pair `i` has index `i`.
    pub(super) indices: Option<&'a View>,
    pub(super) kind: u32,
    /// Greater u32 keys count as this.
    pub(super) limit: u32,
}

/// Where sorted pairs go.
pub(super) struct Target<'a> {
    pub(super) keys: &'a View,
    pub(super) indices: &'a View,
    pub(super) kind: u32,
}

impl Step {
    /// Records the sort of pairs (key, index) by key, ascending and stable: `keys`, `indices`, `sorted_keys` and
    /// `sorted_indices` are `[n]`. Without `indices`, pair `i` has index `i`. The results may not be the inputs.
    ///
    /// Exact and the same on every run. Among f32 keys, 0.0 and -0.0 are equal and come out as 0.0, and NaN comes last,
    /// as in PostgreSQL, as [`f32::NAN`].
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let keys = engine.upload("keys", &[2.0_f32, f32::INFINITY, -1.0, 2.0], go_on).unwrap();
    /// let sorted_keys = engine.array("sorted keys", 4, go_on).unwrap();
    /// let sorted_indices = engine.array("sorted indices", 4, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.sort(&keys, None, &sorted_keys, &sorted_indices, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&sorted_keys, go_on).unwrap(), [-1.0, 2.0, 2.0, f32::INFINITY]);
    /// assert_eq!(engine.download(&sorted_indices, go_on).unwrap(), [2, 0, 3, 1]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for arrays of different lengths; `LimitExceeded`, `OutOfMemory` or `Cancelled` while making
    /// room for a second copy and the counts, about 2.5 words a pair; what compiling the kernels reports.
    pub fn sort<K: SortKey>(
        &mut self,
        keys: &Array<K>,
        indices: Option<&Array<u32>>,
        sorted_keys: &Array<K>,
        sorted_indices: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let n = keys.len();
        let lengths = [
            indices.map_or(n, Array::len),
            sorted_keys.len(),
            sorted_indices.len(),
        ];
        if lengths.iter().any(|&length| length != n) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot sort {n} keys with {lengths:?} indices, sorted keys and sorted indices"),
            ));
        }
        if n == 0 {
            return Ok(());
        }
        let source = Source {
            keys: keys.view(),
            indices: indices.map(Array::view),
            kind: K::KIND,
            limit: u32::MAX,
        };
        let target = Target {
            keys: sorted_keys.view(),
            indices: sorted_indices.view(),
            kind: K::KIND,
        };
        self.record_sort(&source, &target, n, u32::BITS, keep_waiting)
    }

    /// Sorts `n` pairs, at least 1, whose keys have at most `key_bits` bits.
    pub(super) fn record_sort(
        &mut self,
        source: &Source<'_>,
        target: &Target<'_>,
        n: usize,
        key_bits: u32,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if n <= LOCAL_MAX {
            return self.record_sort_local(source, target, [1, n, n]);
        }
        let variant = tuned(&SORT_SCATTER, self.runtime.capabilities(), Variant::default());
        let tile = as_usize((constant(&variant, "WG") * ITEMS).into())?;
        let tiles = n.div_ceil(tile);
        let passes = key_bits.div_ceil(DIGIT_BITS).max(1);
        let mut room = |words: usize| {
            let bytes = words * size_of::<u32>();
            scratch(&self.runtime, "vectorgpu.sort", bytes, keep_waiting)
        };
        let counts = room(DIGITS * tiles)?;
        let spare = if passes > 1 {
            Some((room(n)?, room(n)?))
        } else {
            None
        };
        let result = (target.keys, target.indices);
        let mut from = (source.keys, source.indices);
        for pass in 0..passes {
            // The last pass writes the result, the one before it the spare buffers, and so on.
            let to = match &spare {
                Some((keys, indices)) if (passes - pass).is_multiple_of(2) => (keys, indices),
                _ => result,
            };
            let is_first = pass == 0;
            let is_last = pass + 1 == passes;
            let params = ScatterParams {
                count: CountParams {
                    n: as_u32(n)?,
                    tiles: as_u32(tiles)?,
                    tile_first: 0,
                    tile_end: 0,
                    shift: pass * DIGIT_BITS,
                    kind: if is_first { source.kind } else { KIND_U32 },
                    limit: if is_first { source.limit } else { u32::MAX },
                },
                kind_out: if is_last { target.kind } else { KIND_U32 },
                implicit: u32::from(from.1.is_none()),
            };
            self.count_digits(&variant, params.count, from.0, &counts)?;
            self.record_scan(&counts, as_u32(DIGITS * tiles)?, keep_waiting)?;
            // A binding wants a buffer even where nothing is read from it.
            let views = [from.0, from.1.unwrap_or(from.0), &counts, to.0, to.1];
            self.scatter(&variant, params, &views)?;
            from = (to.0, Some(to.1));
        }
        Ok(())
    }

    fn count_digits(
        &mut self,
        variant: &Variant,
        params: CountParams,
        keys: &View,
        counts: &View,
    ) -> Result<()> {
        let invocations = constant(variant, "WG");
        let variant = Variant::default().constant("WG", invocations);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SORT_COUNT, variant)?;
        let tile_units = as_usize((invocations * ITEMS).into())? * COUNT_UNITS;
        let tiles = as_usize(params.tiles.into())?;
        let views = [keys, counts];
        for range in ranges(&self.runtime, SORT_COUNT.name, tiles, tile_units) {
            let params = params.of_tiles(&range)?;
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len() * tile_units)?,
            };
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    fn scatter(&mut self, variant: &Variant, params: ScatterParams, views: &[&View]) -> Result<()> {
        let invocations = constant(variant, "WG");
        let variant = variant
            .clone()
            .sum(together(self.runtime.capabilities(), invocations));
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SORT_SCATTER, variant)?;
        let tile_units = as_usize((invocations * ITEMS).into())? * SCATTER_UNITS;
        let tiles = as_usize(params.count.tiles.into())?;
        for range in ranges(&self.runtime, SORT_SCATTER.name, tiles, tile_units) {
            let params = ScatterParams {
                count: params.count.of_tiles(&range)?,
                ..params
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len() * tile_units)?,
            };
            self.runtime
                .record(&mut self.recording, &pipeline, &params, views, extent)?;
        }
        Ok(())
    }
}

impl CountParams {
    fn of_tiles(self, tiles: &std::ops::Range<usize>) -> Result<Self> {
        Ok(Self {
            tile_first: as_u32(tiles.start)?,
            tile_end: as_u32(tiles.end)?,
            ..self
        })
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SORT_COUNT, &SORT_SCATTER];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use crate::shader::Sum;
    let of = |sum: Sum, size: u32| Variant::default().sum(sum).constant("WG", size);
    let mut variants = Vec::new();
    for &size in TILE_WG.candidates {
        variants.push((&SORT_COUNT, of(Sum::Workgroup, size)));
        variants.extend([Sum::Workgroup, Sum::Subgroup].map(|sum| (&SORT_SCATTER, of(sum, size))));
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::{assert_params, params_layout};

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(
            SORT_COUNT,
            CountParams {
                n,
                tiles,
                tile_first,
                tile_end,
                shift,
                kind,
                limit,
            }
        );
        let mut expected = params_layout(&SORT_COUNT);
        expected.push((
            "kind_out".to_owned(),
            std::mem::offset_of!(ScatterParams, kind_out),
        ));
        expected.push((
            "implicit".to_owned(),
            std::mem::offset_of!(ScatterParams, implicit),
        ));
        assert_eq!(params_layout(&SORT_SCATTER), expected);
    }
}
