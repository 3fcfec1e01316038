//! The kernel `kmeans_assign`: the nearest of many centroids for each row.
//!
//! A batch of rows is compared with ranges of lists, in ascending order, and carries its best score between them; so
//! neither the binding limit nor the length of a submission bounds the number of lists.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::{KeepWaiting, NearestBy, Unlabelled};
use vectorgpu_core::cpu::kernels;

use super::plan::{QUAD, TILE, batch_rows, learn, workgroups};
use crate::memory::buffer::Purpose;
use crate::memory::staging::Source;
use crate::memory::view::{COPY_ALIGNMENT, View};
use crate::pipeline::Pipeline;
use crate::record::Extent;
use crate::recording::{End, Recording};
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Variant, kernel};

pub(super) static KMEANS_ASSIGN: Kernel = kernel!("kmeans_assign", "search/kmeans_assign.wgsl");

/// Most bytes of centroids in one buffer: large enough to be rare, small enough to be found in a full memory.
const SEGMENT_BYTES: u64 = 256 << 20;

/// `Params` of kmeans_assign.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct AssignParams {
    pub(super) rows: u32,
    pub(super) quads: u32,
    pub(super) list_first: u32,
    pub(super) list_count: u32,
    pub(super) list_number: u32,
    pub(super) carry: u32,
    pub(super) scale: f32,
}

/// Centroids on the device.
pub(crate) struct Centroids {
    dims: usize,
    quads: usize,
    scale: f32,
    segments: Vec<Segment>,
}

/// As many centroids as fit into one buffer.
struct Segment {
    first: usize,
    count: usize,
    centroids: View,
    norms: View,
}

impl Centroids {
    /// Uploads `centroids`, `[lists, dims]` row-major; `lists` and `dims` are at least 1.
    ///
    /// # Errors
    /// `OutOfMemory`, `Cancelled` or `DeviceLost`.
    pub(crate) fn upload(
        runtime: &Runtime,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        let quads = dims.div_ceil(QUAD);
        let stride_bytes = quads * QUAD * size_of::<f32>();
        let segment_bytes = as_usize(SEGMENT_BYTES.min(runtime.capabilities().binding_bytes))?;
        let segment_lists = (segment_bytes / stride_bytes).max(1);
        let mut recording = Recording::default();
        let mut segments = Vec::new();
        for (index, part) in centroids.chunks(segment_lists * dims).enumerate() {
            let count = part.len() / dims;
            let norms: Vec<f32> = part
                .chunks_exact(dims)
                .map(|centroid| norm_for(by, centroid))
                .collect();
            let label = "vectorgpu.kmeans_assign.centroids";
            let centroids_view = reserve(runtime, label, count * stride_bytes, keep_waiting)?;
            let norms_view = reserve(runtime, label, size_of_val(norms.as_slice()), keep_waiting)?;
            let rows = Source::rows(bytemuck::cast_slice(part), dims * 4, stride_bytes);
            runtime.stage(
                &mut recording,
                rows,
                End::View(centroids_view.clone()),
                keep_waiting,
            )?;
            let norms = Source::Bytes(bytemuck::cast_slice(&norms));
            runtime.stage(&mut recording, norms, End::View(norms_view.clone()), keep_waiting)?;
            segments.push(Segment {
                first: index * segment_lists,
                count,
                centroids: centroids_view,
                norms: norms_view,
            });
        }
        runtime.submit(recording, keep_waiting)?;
        let scale = scale_for(by);
        Ok(Self {
            dims,
            quads,
            scale,
            segments,
        })
    }

    /// Labels the rows of all blocks, `[labels.len(), dims]` row-major each, as if they lay one after the other.
    ///
    /// # Errors
    /// `Cancelled`, `OutOfMemory` or `DeviceLost`.
    pub(crate) fn assign(
        &self,
        runtime: &Runtime,
        blocks: &mut [Unlabelled<'_>],
        batch_bytes: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let stride_bytes = self.quads * QUAD * size_of::<f32>();
        let pipeline = runtime
            .pipelines
            .pipeline(&runtime.context, &KMEANS_ASSIGN, Variant::default())?;
        let with_rows = blocks.iter_mut().filter(|block| !block.labels.is_empty());
        let mut left: VecDeque<Unlabelled<'_>> = with_rows
            .map(|block| Unlabelled {
                rows: block.rows,
                labels: &mut *block.labels,
            })
            .collect();
        while !left.is_empty() {
            let units_max = as_usize(runtime.pace.units(KMEANS_ASSIGN.name))?;
            let affordable = units_max / (TILE * self.dims);
            let batch_rows = batch_rows(batch_bytes / stride_bytes, affordable);
            let mut batch = take_rows(&mut left, batch_rows, self.dims);
            self.assign_batch(runtime, &pipeline, &mut batch, units_max, keep_waiting)?;
        }
        Ok(())
    }

    fn assign_batch(
        &self,
        runtime: &Runtime,
        pipeline: &Rc<Pipeline>,
        blocks: &mut [Unlabelled<'_>],
        units_max: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        runtime.proceed(keep_waiting)?;
        let stride_bytes = self.quads * QUAD * size_of::<f32>();
        let label = "vectorgpu.kmeans_assign.rows";
        let rows = blocks.iter().map(|block| block.labels.len()).sum::<usize>();
        let labels_bytes = rows * size_of::<u32>();
        let rows_view = acquire(runtime, label, rows * stride_bytes, keep_waiting)?;
        let best_view = acquire(runtime, label, labels_bytes, keep_waiting)?;
        let labels_view = acquire(runtime, label, labels_bytes, keep_waiting)?;
        let mut recording = Recording::default();
        let mut start = 0;
        for block in &*blocks {
            let source = Source::rows(bytemuck::cast_slice(block.rows), self.dims * 4, stride_bytes);
            let bytes = as_u64(block.labels.len() * stride_bytes)?;
            let part = rows_view.part(start, bytes, COPY_ALIGNMENT)?;
            runtime.stage(&mut recording, source, End::View(part), keep_waiting)?;
            start += bytes;
        }
        let row_units = rows * self.dims;
        let mut recorded_units = 0;
        for (segment, list_first, list_count) in self.steps(units_max / row_units) {
            if recorded_units > 0 && recorded_units + row_units * list_count > units_max {
                let started = Instant::now();
                let submission = runtime.submit(std::mem::take(&mut recording), keep_waiting)?;
                runtime.wait(&submission, keep_waiting)?;
                learn(runtime, pipeline, as_u64(recorded_units)?, started.elapsed());
                recorded_units = 0;
                runtime.proceed(keep_waiting)?;
            }
            let params = AssignParams {
                rows: as_u32(rows)?,
                quads: as_u32(self.quads)?,
                list_first: as_u32(list_first)?,
                list_count: as_u32(list_count)?,
                list_number: as_u32(segment.first + list_first)?,
                carry: u32::from(segment.first + list_first > 0),
                scale: self.scale,
            };
            let views = [
                &rows_view,
                &segment.centroids,
                &segment.norms,
                &best_view,
                &labels_view,
            ];
            let extent = Extent {
                workgroups: [workgroups(runtime, params.rows, as_u32(TILE)?), 1],
                units: as_u64(row_units * list_count)?,
            };
            runtime.record(&mut recording, pipeline, &params, &views, extent)?;
            recorded_units += row_units * list_count;
        }
        let mut unread = blocks.iter_mut().flat_map(|block| block.labels.iter_mut());
        let elapsed = runtime.run_and_read(recording, &labels_view, keep_waiting, &mut |bytes| {
            for (read, unread) in bytes.as_chunks().0.iter().zip(&mut unread) {
                *unread = u32::from_le_bytes(*read);
            }
        })?;
        learn(runtime, pipeline, as_u64(recorded_units)?, elapsed);
        Ok(())
    }

    /// The dispatches of one batch in ascending order of lists, each of at most about `lists_max` lists.
    fn steps(&self, lists_max: usize) -> impl Iterator<Item = (&Segment, usize, usize)> {
        let step = (lists_max / TILE * TILE).max(TILE);
        self.segments.iter().flat_map(move |segment| {
            (0..segment.count)
                .step_by(step)
                .map(move |list_first| (segment, list_first, step.min(segment.count - list_first)))
        })
    }
}

/// Takes up to `rows` rows of `dims` dimensions off the front of `left`, whose blocks all have rows.
fn take_rows<'a>(left: &mut VecDeque<Unlabelled<'a>>, rows: usize, dims: usize) -> Vec<Unlabelled<'a>> {
    let (mut taken, mut room) = (Vec::new(), rows);
    while room > 0
        && let Some(block) = left.pop_front()
    {
        let count = room.min(block.labels.len());
        let (rows, rows_left) = block.rows.split_at(count * dims);
        let (labels, labels_left) = block.labels.split_at_mut(count);
        room -= count;
        if !labels_left.is_empty() {
            left.push_front(Unlabelled {
                rows: rows_left,
                labels: labels_left,
            });
        }
        taken.push(Unlabelled { rows, labels });
    }
    taken
}

/// What the product is multiplied with before it is taken off the norm.
pub(super) fn scale_for(by: NearestBy) -> f32 {
    match by {
        NearestBy::L2 => 2.0,
        NearestBy::Dot => 1.0,
    }
}

pub(super) fn norm_for(by: NearestBy, centroid: &[f32]) -> f32 {
    match by {
        NearestBy::Dot => 0.0,
        NearestBy::L2 => {
            let norm = kernels().square(centroid);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounding to f32; overflow becomes infinity"
            )]
            {
                norm as f32
            }
        }
    }
}

pub(super) fn acquire(
    runtime: &Runtime,
    label: &'static str,
    bytes: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<View> {
    let bytes = as_u64(bytes)?;
    let block = runtime.acquire(label, Purpose::Storage, bytes, keep_waiting)?;
    Ok(View::front(&block, bytes)?)
}

pub(super) fn reserve(
    runtime: &Runtime,
    label: &'static str,
    bytes: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<View> {
    let bytes = as_u64(bytes)?;
    let block = runtime.reserve(label, bytes, keep_waiting)?;
    Ok(View::front(&block, bytes)?)
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&KMEANS_ASSIGN];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    vec![(&KMEANS_ASSIGN, Variant::default())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            KMEANS_ASSIGN,
            AssignParams {
                rows,
                quads,
                list_first,
                list_count,
                list_number,
                carry,
                scale,
            }
        );
    }
}
