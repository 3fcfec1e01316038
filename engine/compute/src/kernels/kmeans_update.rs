//! The kernel `kmeans_update`: the sums or means of each list's rows, without atomic operations on floats.
//!
//! Row numbers are sorted by label; lists are cut into chunks of rows; each chunk is summed in a fixed order, and the
//! chunks of a list are added in their order. So the result is the same on every run and for every tuning.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{QUAD, ranges, scratch, stride_workgroups};
use super::sort::{KIND_U32, Source, Target};
use crate::array::Array;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

const WG: Tunable = Tunable {
    name: "WG",
    default: 128,
    candidates: &[64, 128, 256],
};

static KMEANS_STARTS: Kernel = kernel!("kmeans_starts", "search/kmeans_starts.wgsl");
static KMEANS_UPDATE: Kernel = kernel!("kmeans_update", "search/kmeans_update.wgsl", [WG]);
static KMEANS_COMBINE: Kernel = kernel!("kmeans_combine", "search/kmeans_combine.wgsl");
static KMEANS_MEANS: Kernel = kernel!("kmeans_means", "search/kmeans_means.wgsl");

/// Rows that are summed in one go. Part of the result: another value adds in another order.
const CHUNK_ROWS: usize = 1024;
/// Runs of rows of a chunk that different invocations sum.
const RUNS: u32 = 4;
/// Invocations of a workgroup of the other kernels.
const WORKGROUP: u32 = 64;
/// About the most bytes for the sums of all chunks; where they are more, the dimensions are taken in several ranges.
const PARTIALS_BYTES: usize = 64 << 20;
const QUAD_BYTES: usize = QUAD * size_of::<f32>();

/// `Params` of kmeans_starts.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StartsParams {
    n: u32,
    lists: u32,
    chunk_rows: u32,
}

/// `Params` of kmeans_update.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UpdateParams {
    n: u32,
    quads: u32,
    quad_first: u32,
    quad_count: u32,
    lists: u32,
    chunk_rows: u32,
    chunk_first: u32,
    chunk_end: u32,
}

/// `Params` of kmeans_combine.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CombineParams {
    lists: u32,
    quads: u32,
    quad_first: u32,
    quad_count: u32,
    carry: u32,
    mean: u32,
}

/// `Params` of kmeans_means.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MeansParams {
    lists: u32,
    quads: u32,
}

/// What becomes of the sums.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finish {
    /// They are written.
    Write,
    /// They are added to those of earlier rows.
    Carry,
    /// They are divided by the number of rows.
    Mean,
}

/// Sums to make, as [`Step::kmeans_update`] describes them.
struct Update<'a> {
    rows: &'a Array<f32>,
    labels: &'a Array<u32>,
    sums: &'a Array<f32>,
    counts: &'a Array<u32>,
    finish: Finish,
    /// Of kmeans_update.wgsl.
    variant: Variant,
}

/// Rows by list, on the device.
struct Grouped {
    /// Row numbers by list, ascending inside each.
    order: View,
    starts: View,
    first_chunks: View,
    /// At least as many as there are.
    chunks: usize,
}

impl Step {
    /// Records the k-means update: `centroids[l]` becomes the mean of the rows with label `l`, and `counts[l]` their
    /// number. A list without rows keeps its centroid. Lengths for spherical k-means are the caller's: rows come in
    /// normalised, and the mean's length is not changed.
    ///
    /// `rows` are `[n, stride]` and `centroids` `[lists, stride]`, row-major, where `stride` is the number of dimensions
    /// rounded up to a multiple of 4 and what is beyond the dimensions is zero; `labels` are `[n]`, `counts` `[lists]`.
    /// Rows with a label from `lists` on belong to no list.
    ///
    /// In f32, added in an order that depends on `labels` alone: the same on every run and on every setting of the
    /// kernel. NaN and infinity follow IEEE 754; a sum beyond the range of f32 becomes infinite.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let rows = [1.0_f32, 2.0, 0.0, 0.0, 9.0, 9.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
    /// let rows = engine.upload("rows", &rows, go_on).unwrap();
    /// let labels = engine.upload("labels", &[1_u32, 0, 1], go_on).unwrap();
    /// let centroids = engine.array("centroids", 12, go_on).unwrap();
    /// engine.write(&centroids, &[7.0_f32; 12], go_on).unwrap();
    /// let counts = engine.array("counts", 3, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.kmeans_update(&rows, &labels, &centroids, &counts, go_on).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&counts, go_on).unwrap(), [1, 2, 0]);
    /// let centroids = engine.download(&centroids, go_on).unwrap();
    /// assert_eq!(centroids, [9.0, 9.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for shapes that do not fit each other; `LimitExceeded`, `OutOfMemory` or `Cancelled` while
    /// making room for partial sums (about 64 MiB) and row numbers (about 4.5 words a row); what compiling reports.
    pub fn kmeans_update(
        &mut self,
        rows: &Array<f32>,
        labels: &Array<u32>,
        centroids: &Array<f32>,
        counts: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let update = Update {
            rows,
            labels,
            sums: centroids,
            counts,
            finish: Finish::Mean,
            variant: tuned(&KMEANS_UPDATE, self.runtime.capabilities(), Variant::default()),
        };
        self.record_update(&update, keep_waiting)
    }

    /// As [`Step::kmeans_update`], but leaves the sums as they are in `sums`, and adds them and `counts` to what is
    /// there if `carry`: for rows that do not fit one array. [`Step::kmeans_means`] comes last.
    ///
    /// # Errors
    /// As [`Step::kmeans_update`].
    pub fn kmeans_sums(
        &mut self,
        rows: &Array<f32>,
        labels: &Array<u32>,
        carry: bool,
        sums: &Array<f32>,
        counts: &Array<u32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let update = Update {
            rows,
            labels,
            sums,
            counts,
            finish: if carry { Finish::Carry } else { Finish::Write },
            variant: tuned(&KMEANS_UPDATE, self.runtime.capabilities(), Variant::default()),
        };
        self.record_update(&update, keep_waiting)
    }

    /// Records `centroids[l] = sums[l] / counts[l]`, where a list without rows keeps its centroid; shapes as in
    /// [`Step::kmeans_update`].
    ///
    /// # Errors
    /// `InvalidArgument` for shapes that do not fit each other; what compiling the kernel reports.
    pub fn kmeans_means(
        &mut self,
        sums: &Array<f32>,
        counts: &Array<u32>,
        centroids: &Array<f32>,
    ) -> Result<()> {
        let (lists, quads) = lists_of(sums, counts)?;
        if centroids.len() != sums.len() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} sums do not make {} elements of centroids",
                    sums.len(),
                    centroids.len()
                ),
            ));
        }
        let params = MeansParams {
            lists: as_u32(lists)?,
            quads: as_u32(quads)?,
        };
        let views = [sums.view(), counts.view(), centroids.view()];
        self.record_over(&KMEANS_MEANS, &params, &views, lists * quads)
    }

    fn record_update(&mut self, update: &Update<'_>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let (lists, quads) = lists_of(update.sums, update.counts)?;
        let n = update.labels.len();
        if n.checked_mul(quads * QUAD) != Some(update.rows.len()) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} elements are not {n} rows of {}",
                    update.rows.len(),
                    quads * QUAD
                ),
            ));
        }
        let grouped = self.record_grouping(update.labels, lists, keep_waiting)?;
        let affordable = PARTIALS_BYTES / QUAD_BYTES / grouped.chunks;
        // Whole cache lines where there are that many.
        let step = match affordable {
            0..64 => affordable.max(1),
            _ => affordable / 64 * 64,
        }
        .min(quads);
        let partials_bytes = grouped.chunks * step * QUAD_BYTES;
        let partials = scratch(
            &self.runtime,
            "vectorgpu.kmeans_update",
            partials_bytes,
            keep_waiting,
        )?;
        for quad_first in (0..quads).step_by(step) {
            let quad_count = step.min(quads - quad_first);
            let params = CombineParams {
                lists: as_u32(lists)?,
                quads: as_u32(quads)?,
                quad_first: as_u32(quad_first)?,
                quad_count: as_u32(quad_count)?,
                carry: u32::from(update.finish == Finish::Carry),
                mean: u32::from(update.finish == Finish::Mean),
            };
            // Without rows there is nothing to bind.
            if n > 0 {
                self.record_chunks(update, &grouped, params, &partials)?;
            }
            let views = [
                &partials,
                &grouped.starts,
                &grouped.first_chunks,
                update.sums.view(),
                update.counts.view(),
            ];
            self.record_over(&KMEANS_COMBINE, &params, &views, lists * quad_count)?;
        }
        Ok(())
    }

    /// Sorts row numbers by label and finds the lists among them.
    fn record_grouping(
        &mut self,
        labels: &Array<u32>,
        lists: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Grouped> {
        let n = labels.len();
        let mut room = |words: usize| {
            let bytes = words * size_of::<u32>();
            scratch(&self.runtime, "vectorgpu.kmeans_update", bytes, keep_waiting)
        };
        let (sorted, order) = (room(n.max(1))?, room(n.max(1))?);
        let (starts, first_chunks) = (room(lists + 1)?, room(lists + 1)?);
        let last_label = as_u32(lists)?;
        if n > 0 {
            let source = Source {
                keys: labels.view(),
                indices: None,
                kind: KIND_U32,
                limit: last_label,
            };
            let target = Target {
                keys: &sorted,
                indices: &order,
                kind: KIND_U32,
            };
            let label_bits = u32::BITS - last_label.leading_zeros();
            self.record_sort(&source, &target, n, label_bits, keep_waiting)?;
        }
        let params = StartsParams {
            n: as_u32(n)?,
            lists: last_label,
            chunk_rows: as_u32(CHUNK_ROWS)?,
        };
        let views = [&sorted, &starts, &first_chunks];
        self.record_over(&KMEANS_STARTS, &params, &views, lists + 1)?;
        self.record_scan(&first_chunks, as_u32(lists + 1)?, keep_waiting)?;
        Ok(Grouped {
            order,
            starts,
            first_chunks,
            chunks: lists + n / CHUNK_ROWS,
        })
    }

    /// Sums the quads of `range` of every chunk.
    fn record_chunks(
        &mut self,
        update: &Update<'_>,
        grouped: &Grouped,
        range: CombineParams,
        partials: &View,
    ) -> Result<()> {
        let n = update.labels.len();
        let variant = update.variant.clone();
        let tile = constant(&variant, "WG") / RUNS;
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &KMEANS_UPDATE, variant)?;
        let chunk_rows = n.div_ceil(grouped.chunks);
        let chunk_units = chunk_rows * as_usize(range.quad_count.into())? * QUAD;
        let [down, _] = stride_workgroups(&self.runtime, range.quad_count, tile);
        let views = [
            update.rows.view(),
            &grouped.order,
            &grouped.starts,
            &grouped.first_chunks,
            partials,
        ];
        for chunks in ranges(&self.runtime, KMEANS_UPDATE.name, grouped.chunks, chunk_units) {
            let params = UpdateParams {
                n: as_u32(n)?,
                quads: range.quads,
                quad_first: range.quad_first,
                quad_count: range.quad_count,
                lists: range.lists,
                chunk_rows: as_u32(CHUNK_ROWS)?,
                chunk_first: as_u32(chunks.start)?,
                chunk_end: as_u32(chunks.end)?,
            };
            let [across, _] = stride_workgroups(&self.runtime, as_u32(chunks.len())?, 1);
            let extent = Extent {
                workgroups: [across, down],
                units: as_u64(chunks.len() * chunk_units)?,
            };
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// Runs one of the small kernels, an invocation for each of `items`.
    fn record_over(
        &mut self,
        kernel: &'static Kernel,
        params: &impl Pod,
        views: &[&View],
        items: usize,
    ) -> Result<()> {
        let variant = Variant::default().constant("WG", WORKGROUP);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, kernel, variant)?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, as_u32(items)?, WORKGROUP),
            units: as_u64(items * QUAD)?,
        };
        self.runtime
            .record(&mut self.recording, &pipeline, params, views, extent)
    }
}

/// How many lists, and quads of a list, `sums` and `counts` have; at least one each.
fn lists_of(sums: &Array<f32>, counts: &Array<u32>) -> Result<(usize, usize)> {
    let lists = counts.len();
    let stride = sums.len().checked_div(lists).unwrap_or(0);
    if stride == 0 || stride * lists != sums.len() || !stride.is_multiple_of(QUAD) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{} elements are not {lists} centroids of whole groups of {QUAD}",
                sums.len()
            ),
        ));
    }
    Ok((lists, stride / QUAD))
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&KMEANS_STARTS, &KMEANS_UPDATE, &KMEANS_COMBINE, &KMEANS_MEANS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let of = |size: u32| Variant::default().constant("WG", size);
    let small = [&KMEANS_STARTS, &KMEANS_COMBINE, &KMEANS_MEANS].map(|kernel| (kernel, of(WORKGROUP)));
    let updates = WG.candidates.iter().map(|&size| (&KMEANS_UPDATE, of(size)));
    small.into_iter().chain(updates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::EngineBuilder;
    use crate::shader::assert_params;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    #[expect(clippy::cast_precision_loss, reason = "any numbers will do")]
    fn the_sums_do_not_depend_on_the_size_of_workgroups() {
        let builder = EngineBuilder::new().allow_software(true);
        if builder.devices().unwrap().is_empty() {
            eprintln!("SKIPPED the_sums_do_not_depend_on_the_size_of_workgroups: no Vulkan adapter");
            return;
        }
        let engine = builder.open().unwrap();
        let go_on = &mut || true;
        let (n, stride, lists) = (10_000, 68, 5);
        let rows: Vec<f32> = (0..n * stride)
            .map(|i| ((i * 7919) % 10_007) as f32 / 3.0)
            .collect();
        let labels: Vec<u32> = (0..10_000).map(|i| i % 7 * i % 5).collect();
        let rows = engine.upload("rows", &rows, go_on).unwrap();
        let labels = engine.upload("labels", &labels, go_on).unwrap();
        let mut results = Vec::new();
        for &size in WG.candidates {
            let sums = engine.array("sums", lists * stride, go_on).unwrap();
            let counts = engine.array("counts", lists, go_on).unwrap();
            let update = Update {
                rows: &rows,
                labels: &labels,
                sums: &sums,
                counts: &counts,
                finish: Finish::Write,
                variant: Variant::default().constant("WG", size),
            };
            let mut step = engine.step();
            step.record_update(&update, go_on).unwrap();
            step.run(go_on).unwrap();
            let sums = engine.download(&sums, go_on).unwrap();
            let sums: Vec<u32> = sums.iter().map(|x| x.to_bits()).collect();
            results.push((sums, engine.download(&counts, go_on).unwrap()));
        }
        assert!(results.iter().all(|result| *result == results[0]));
        assert_eq!(results[0].1.iter().sum::<u32>(), 10_000);
    }

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(KMEANS_STARTS, StartsParams { n, lists, chunk_rows });
        assert_params!(
            KMEANS_UPDATE,
            UpdateParams {
                n,
                quads,
                quad_first,
                quad_count,
                lists,
                chunk_rows,
                chunk_first,
                chunk_end,
            }
        );
        assert_params!(
            KMEANS_COMBINE,
            CombineParams {
                lists,
                quads,
                quad_first,
                quad_count,
                carry,
                mean,
            }
        );
        assert_params!(KMEANS_MEANS, MeansParams { lists, quads });
    }
}
