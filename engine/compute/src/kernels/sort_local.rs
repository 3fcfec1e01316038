//! The kernel `sort_local`: many short rows of pairs, each sorted by one workgroup.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{ranges, stride_workgroups};
use super::sort::{SortKey, Source, Target};
use crate::array::Array;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::tuned;

const WG: Tunable = Tunable {
    name: "WG",
    default: 128,
    candidates: &[64, 128, 256, 512],
};

static SORT_LOCAL: Kernel = kernel!("sort_local", "select/sort_local.wgsl", [WG]);

/// Most pairs that one workgroup sorts.
pub(super) const LOCAL_MAX: usize = 1024;

/// `Params` of sort_local.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LocalParams {
    row_first: u32,
    row_end: u32,
    n: u32,
    width: u32,
    kept: u32,
    kind: u32,
    limit: u32,
    kind_out: u32,
    implicit: u32,
}

impl Step {
    /// Records the sort of each row of pairs by key, ascending and stable, of which the front is kept: `keys` and
    /// `indices` are `[rows, n]`, `sorted_keys` and `sorted_indices` `[rows, kept]`, all row-major. `n` is 1 to 1,024,
    /// `kept` is what the results have room for, 1 to `n`. Without `indices`, pair `i` of each row has index `i`.
    ///
    /// Orders as [`Step::sort`]. No rows: nothing to do.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let keys = engine.upload("keys", &[3_u32, 1, 2, 6, 6, 5], go_on).unwrap();
    /// let sorted_keys = engine.array("sorted keys", 4, go_on).unwrap();
    /// let sorted_indices = engine.array("sorted indices", 4, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.sort_local(&keys, None, 3, &sorted_keys, &sorted_indices).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&sorted_keys, go_on).unwrap(), [1, 2, 5, 6]);
    /// assert_eq!(engine.download(&sorted_indices, go_on).unwrap(), [1, 2, 2, 0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes; what compiling the kernel reports.
    pub fn sort_local<K: SortKey>(
        &mut self,
        keys: &Array<K>,
        indices: Option<&Array<u32>>,
        n: usize,
        sorted_keys: &Array<K>,
        sorted_indices: &Array<u32>,
    ) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::InvalidArgument, what));
        if !(1..=LOCAL_MAX).contains(&n) || !keys.len().is_multiple_of(n) {
            return wrong(format!("cannot sort {} keys in rows of {n}", keys.len()));
        }
        let rows = keys.len() / n;
        if rows == 0 {
            return Ok(());
        }
        let kept = sorted_keys.len() / rows;
        let fits = indices.is_none_or(|indices| indices.len() == keys.len())
            && sorted_keys.len() == rows * kept
            && sorted_indices.len() == rows * kept;
        if !fits || !(1..=n).contains(&kept) {
            return wrong(format!(
                "cannot sort {rows} rows of {n} into {} keys and {} indices",
                sorted_keys.len(),
                sorted_indices.len()
            ));
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
        self.record_sort_local(&source, &target, [rows, n, kept])
    }

    /// Sorts `[rows, n, kept]` pairs, at least one each.
    pub(super) fn record_sort_local(
        &mut self,
        source: &Source<'_>,
        target: &Target<'_>,
        [rows, n, kept]: [usize; 3],
    ) -> Result<()> {
        let variant = tuned(&SORT_LOCAL, self.runtime.capabilities(), Variant::default());
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &SORT_LOCAL, variant)?;
        let width = n.next_power_of_two();
        let steps = as_usize(width.ilog2().into())?;
        let row_units = width * (steps * (steps + 1) / 2).max(1);
        let views = [
            source.keys,
            source.indices.unwrap_or(source.keys),
            target.keys,
            target.indices,
        ];
        for range in ranges(&self.runtime, SORT_LOCAL.name, rows, row_units) {
            let params = LocalParams {
                row_first: as_u32(range.start)?,
                row_end: as_u32(range.end)?,
                n: as_u32(n)?,
                width: as_u32(width)?,
                kept: as_u32(kept)?,
                kind: source.kind,
                limit: source.limit,
                kind_out: target.kind,
                implicit: u32::from(source.indices.is_none()),
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, as_u32(range.len())?, 1),
                units: as_u64(range.len() * row_units)?,
            };
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&SORT_LOCAL];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    WG.candidates
        .iter()
        .map(|&size| (&SORT_LOCAL, Variant::default().constant("WG", size)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            SORT_LOCAL,
            LocalParams {
                row_first,
                row_end,
                n,
                width,
                kept,
                kind,
                limit,
                kind_out,
                implicit,
            }
        );
    }
}
