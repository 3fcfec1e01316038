//! The kernel `kmeans_assign_parts`: the nearest centroids of rows that stay on the device, for several sets of both at once.
//!
//! Rows are sent once; an assignment sends row numbers and centroids, and brings labels back. Tiles of all parts are one dispatch,
//! because those of a small part leave most of a device idle.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::backend::{KeepWaiting, NearestBy, Part};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::kmeans::{acquire, norm_for, reserve, scale_for};
use super::plan::{QUAD, TILE, learn, workgroups};
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::record::Extent;
use crate::recording::{End, Recording};
use crate::runtime::{Runtime, as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Variant, kernel};

static KMEANS_ASSIGN_PARTS: Kernel = kernel!("kmeans_assign_parts", "search/kmeans_assign_parts.wgsl");

/// Of the memory limit, what rows may take that stay: the rest is for what an assignment needs, and for others.
const HELD_PART: u64 = 2;

/// `Params` of kmeans_assign_parts.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PartsParams {
    tile_first: u32,
    tile_end: u32,
    quads: u32,
    list_from: u32,
    list_step: u32,
    scale: f32,
}

/// Rows on the device.
pub(crate) struct HeldArray {
    rows: View,
    count: usize,
    dims: usize,
    quads: usize,
}

/// What a workgroup compares at a time.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Tile {
    row_first: u32,
    row_count: u32,
    list_first: u32,
    list_count: u32,
}

/// What an assignment has on the device.
struct Buffers {
    numbers: View,
    tiles: View,
    centroids: View,
    norms: View,
    best: View,
    labels: View,
}

impl HeldArray {
    /// Sends `rows`, `[n, dims]` row-major with `dims` >= 1; `None` where they are none or do not fit.
    ///
    /// # Errors
    /// `Cancelled` or `DeviceLost`.
    pub(crate) fn upload(
        runtime: &Runtime,
        rows: &[f32],
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Self>> {
        let (count, quads) = (rows.len() / dims, dims.div_ceil(QUAD));
        let stride_bytes = quads * QUAD * size_of::<f32>();
        let bytes = as_u64(count.saturating_mul(stride_bytes))?;
        let most = runtime.capabilities().binding_bytes;
        if bytes == 0 || bytes > most.min(runtime.budget.limit_bytes() / HELD_PART) {
            return Ok(None);
        }
        let label = "vectorgpu.kmeans_assign.held";
        let view = match reserve(runtime, label, as_usize(bytes)?, keep_waiting) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory => return Ok(None),
            view => view?,
        };
        let mut recording = Recording::default();
        let source = Source::rows(bytemuck::cast_slice(rows), dims * 4, stride_bytes);
        runtime.stage(&mut recording, source, End::View(view.clone()), keep_waiting)?;
        runtime.submit(recording, keep_waiting)?;
        Ok(Some(Self {
            rows: view,
            count,
            dims,
            quads,
        }))
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Dimensions of a row.
    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    /// Labels the rows of all parts, whose shapes fit.
    ///
    /// # Errors
    /// `Unsupported` for more centroids than can be bound at once; `Cancelled`, `OutOfMemory` or `DeviceLost`.
    pub(crate) fn assign(
        &self,
        runtime: &Runtime,
        parts: &mut [Part<'_>],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let tiles = self.tiles(parts)?;
        let lists = tiles.iter().map(|tile| tile.list_count).max();
        let Some(lists) = lists else {
            return Ok(());
        };
        runtime.proceed(keep_waiting)?;
        let mut recording = Recording::default();
        let buffers = self.send(runtime, &mut recording, parts, &tiles, by, keep_waiting)?;
        let pipeline =
            runtime
                .pipelines
                .pipeline(&runtime.context, &KMEANS_ASSIGN_PARTS, Variant::default())?;
        let units_max = as_usize(runtime.pace.units(KMEANS_ASSIGN_PARTS.name))?;
        let list_step = (units_max / (TILE * self.dims) / TILE * TILE).max(TILE);
        let lists = as_usize(lists.into())?;
        let mut recorded_units = 0;
        for list_from in (0..lists).step_by(list_step) {
            let units = |tile: &Tile| -> Result<usize> {
                let left = as_usize(tile.list_count.into())?.saturating_sub(list_from);
                Ok(TILE * self.dims * left.min(list_step))
            };
            let mut first = 0;
            while first < tiles.len() {
                let (mut end, mut range_units) = (first, 0);
                while end < tiles.len() && (end == first || range_units + units(&tiles[end])? <= units_max) {
                    range_units += units(&tiles[end])?;
                    end += 1;
                }
                if recorded_units > 0 && recorded_units + range_units > units_max {
                    let started = std::time::Instant::now();
                    let submission = runtime.submit(std::mem::take(&mut recording), keep_waiting)?;
                    runtime.wait(&submission, keep_waiting)?;
                    learn(runtime, &pipeline, as_u64(recorded_units)?, started.elapsed());
                    recorded_units = 0;
                    runtime.proceed(keep_waiting)?;
                }
                let params = PartsParams {
                    tile_first: as_u32(first)?,
                    tile_end: as_u32(end)?,
                    quads: as_u32(self.quads)?,
                    list_from: as_u32(list_from)?,
                    list_step: as_u32(list_step)?,
                    scale: scale_for(by),
                };
                let extent = Extent {
                    workgroups: [workgroups(runtime, as_u32(end - first)?, 1), 1],
                    units: as_u64(range_units)?,
                };
                let views = [
                    &self.rows,
                    &buffers.numbers,
                    &buffers.tiles,
                    &buffers.centroids,
                    &buffers.norms,
                    &buffers.best,
                    &buffers.labels,
                ];
                runtime.record(&mut recording, &pipeline, &params, &views, extent)?;
                recorded_units += range_units;
                first = end;
            }
        }
        let mut unread = parts.iter_mut().flat_map(|part| part.labels.iter_mut());
        let elapsed = runtime.run_and_read(recording, &buffers.labels, keep_waiting, &mut |bytes| {
            for (read, unread) in bytes.as_chunks().0.iter().zip(&mut unread) {
                *unread = u32::from_le_bytes(*read);
            }
        })?;
        learn(runtime, &pipeline, as_u64(recorded_units)?, elapsed);
        Ok(())
    }

    /// The tiles of all parts; rows and lists are counted over all of them.
    fn tiles(&self, parts: &[Part<'_>]) -> Result<Vec<Tile>> {
        let mut tiles = Vec::new();
        let (mut row_first, mut list_first) = (0, 0);
        for part in parts {
            let lists = part.centroids.len() / self.dims;
            for from in (0..part.rows.len()).step_by(TILE) {
                tiles.push(Tile {
                    row_first: as_u32(row_first + from)?,
                    row_count: as_u32(TILE.min(part.rows.len() - from))?,
                    list_first: as_u32(list_first)?,
                    list_count: as_u32(lists)?,
                });
            }
            row_first += part.rows.len();
            list_first += lists;
        }
        Ok(tiles)
    }

    /// Has everything sent that an assignment needs besides the rows.
    fn send(
        &self,
        runtime: &Runtime,
        recording: &mut Recording,
        parts: &[Part<'_>],
        tiles: &[Tile],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Buffers> {
        let stride_bytes = self.quads * QUAD * size_of::<f32>();
        let centroids = || {
            parts
                .iter()
                .flat_map(|part| part.centroids.chunks_exact(self.dims))
        };
        let rows: Vec<&[u8]> = centroids().map(bytemuck::cast_slice).collect();
        let bytes = rows.len().saturating_mul(stride_bytes);
        if as_u64(bytes)? > runtime.capabilities().binding_bytes {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{bytes} bytes of centroids are more than the GPU can bind at once"),
            ));
        }
        let norms: Vec<f32> = centroids().map(|centroid| norm_for(by, centroid)).collect();
        let numbers: Vec<u32> = parts.iter().flat_map(|part| part.rows).copied().collect();
        let mut place = |source: Source<'_>| -> Result<View> {
            let view = acquire(
                runtime,
                "vectorgpu.kmeans_assign.parts",
                source.bytes(),
                keep_waiting,
            )?;
            runtime.stage(recording, source, End::View(view.clone()), keep_waiting)?;
            Ok(view)
        };
        let source = Source::Apart {
            rows: &rows,
            stride_bytes,
        };
        let centroids = place(source)?;
        let norms = place(Source::Bytes(bytemuck::cast_slice(&norms)))?;
        let numbers_view = place(Source::Bytes(bytemuck::cast_slice(&numbers)))?;
        let tiles = place(Source::Bytes(bytemuck::cast_slice(tiles)))?;
        let mut result = || {
            let bytes = numbers.len() * size_of::<u32>();
            acquire(runtime, "vectorgpu.kmeans_assign.parts", bytes, keep_waiting)
        };
        Ok(Buffers {
            best: result()?,
            labels: result()?,
            numbers: numbers_view,
            tiles,
            centroids,
            norms,
        })
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&KMEANS_ASSIGN_PARTS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    vec![(&KMEANS_ASSIGN_PARTS, Variant::default())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            KMEANS_ASSIGN_PARTS,
            PartsParams {
                tile_first,
                tile_end,
                quads,
                list_from,
                list_step,
                scale,
            }
        );
    }
}
