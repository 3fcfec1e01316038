//! The kernels over lists: `list_scan` bounds the rows for one query, `list_fetch` fetches what belongs to the nearest ones.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::metric::Metric;

use super::plan::ranges;
use crate::adapter::DeviceKind;
use crate::capabilities::Capabilities;
use crate::memory::view::View;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Sum, Variant, kernel};
use crate::step::Step;

static LIST_SCAN: Kernel = kernel!("list_scan", "search/list_scan.wgsl");
static LIST_FETCH: Kernel = kernel!("list_fetch", "search/list_fetch.wgsl");

/// Invocations of a workgroup.
const SCAN_WG: u32 = 256;
const FETCH_WG: u32 = 128;
/// Invocations that share a hit: as many partial sums as the CPU's kernels have.
const FETCH_LANES: u32 = 32;
/// Most loads that an invocation has under way.
const HELD: u32 = 16;

/// Where the rows of a tile lie, in units of 16 bytes from the start of the segment's buffer.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Tile {
    pub(crate) codes_at: u32,
    pub(crate) heads_at: u32,
    pub(crate) tids_at: u32,
    pub(crate) rows: u32,
    /// The segment of the following, among those of a search.
    pub(crate) found_segment: u32,
    pub(crate) found_tids_at: u32,
    pub(crate) norms_at: u32,
    /// `u32::MAX` where there are none.
    pub(crate) vectors_at: u32,
}

/// Segments that `list_scan` sees at once: more would take bindings that not every device has.
const SCAN_SEGMENTS: usize = 4;

/// Segments that `list_fetch` sees at once.
pub(crate) const FOUND_SEGMENTS: usize = 3;

/// Some tiles that lie in one segment.
pub(crate) struct TileRange<'a> {
    /// The segment's buffer, whole.
    pub(crate) rows: &'a View,
    pub(crate) first: usize,
    pub(crate) end: usize,
}

/// Rows up to which all are left out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct After {
    pub(crate) row: Option<(f32, u64)>,
}

/// What a scan is of, but for the tiles.
pub(crate) struct ListScan<'a> {
    pub(crate) metric: Metric,
    /// Its elements, padded with zeros to whole octets.
    pub(crate) query: &'a View,
    /// Its record of list_key.wgsl.
    pub(crate) head: [f32; 4],
    pub(crate) rounding: f32,
    pub(crate) octets: usize,
    pub(crate) tile_rows: usize,
    pub(crate) tiles: &'a View,
    pub(crate) after: After,
    pub(crate) keys: &'a View,
}

/// What is fetched.
pub(crate) struct ListFetch<'a> {
    pub(crate) metric: Metric,
    /// `[n]` queries, each padded with zeros to whole octets.
    pub(crate) queries: &'a View,
    pub(crate) dims: usize,
    pub(crate) tile_rows: usize,
    pub(crate) tiles: &'a View,
    pub(crate) chosen_keys: &'a View,
    pub(crate) chosen_rows: &'a View,
    /// Hits of all queries, and of each.
    pub(crate) count: usize,
    pub(crate) each: usize,
    pub(crate) hits: &'a View,
}

/// Words of a hit.
pub(crate) const HIT_WORDS: usize = 8;

/// `Params` of list_scan.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScanParams {
    tile_first: u32,
    tile_end: u32,
    tile_rows: u32,
    octets: u32,
    query_y: f32,
    query_z: f32,
    query_w: f32,
    rounding: f32,
    after_kind: u32,
    after_key: f32,
    after_low: u32,
    after_high: u32,
    tile_ends_0: u32,
    tile_ends_1: u32,
    tile_ends_2: u32,
}

/// `Params` of list_fetch.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FetchParams {
    hits: u32,
    hits_each: u32,
    segment_first: u32,
    tile_rows: u32,
    dims: u32,
}

impl Step {
    /// Records the keys of the rows in `segments`, whose tiles follow each other: one run where they are few, so that the device
    /// needs not be done with one segment before it turns to the next.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn list_scan(&mut self, scan: &ListScan<'_>, segments: &[TileRange<'_>]) -> Result<()> {
        for segments in segments.chunks(SCAN_SEGMENTS) {
            self.list_scan_together(scan, segments)?;
        }
        Ok(())
    }

    /// The same, of up to [`SCAN_SEGMENTS`] and at least one.
    fn list_scan_together(&mut self, scan: &ListScan<'_>, segments: &[TileRange<'_>]) -> Result<()> {
        let capabilities = self.runtime.capabilities();
        let variant = scan_variant(capabilities, scan.metric, as_u32(scan.octets)?, segments.len());
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &LIST_SCAN, variant)?;
        let (after_kind, after_key, after_tid) = match scan.after.row {
            None => (0, 0.0, 0),
            Some((key, tid)) if key.is_nan() => (2, 0.0, tid),
            Some((key, tid)) => (1, key, tid),
        };
        let units = scan.tile_rows * scan.octets * 8;
        // The last one stands in for those that are not there.
        let segment = |place: usize| &segments[place.min(segments.len() - 1)];
        let (first, end) = (segments[0].first, segment(SCAN_SEGMENTS).end);
        for part in ranges(&self.runtime, LIST_SCAN.name, end - first, units) {
            let [_, query_y, query_z, query_w] = scan.head;
            #[expect(clippy::cast_possible_truncation, reason = "the two halves of a TID")]
            let params = ScanParams {
                tile_first: as_u32(first + part.start)?,
                tile_end: as_u32(first + part.end)?,
                tile_rows: as_u32(scan.tile_rows)?,
                octets: as_u32(scan.octets)?,
                query_y,
                query_z,
                query_w,
                rounding: scan.rounding,
                after_kind,
                after_key,
                after_low: after_tid as u32,
                after_high: (after_tid >> 32) as u32,
                tile_ends_0: as_u32(segment(0).end)?,
                tile_ends_1: as_u32(segment(1).end)?,
                tile_ends_2: as_u32(segment(2).end)?,
            };
            let extent = Extent {
                workgroups: [as_u32(part.len())?.min(self.runtime.capabilities().workgroups), 1],
                units: as_u64(part.len().saturating_mul(units))?,
            };
            let views = [
                segment(0).rows,
                segment(1).rows,
                segment(2).rows,
                segment(3).rows,
                scan.query,
                scan.tiles,
                scan.keys,
            ];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// Records what belongs to the chosen rows, in these segments' buffers (whole): those that the tiles number.
    ///
    /// # Errors
    /// What compiling the kernel reports.
    pub(crate) fn list_fetch(&mut self, fetch: &ListFetch<'_>, segments: &[View]) -> Result<()> {
        let variant = fetch_variant(self.runtime.capabilities(), fetch.metric);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &LIST_FETCH, variant)?;
        for (segments, first) in segments.chunks(FOUND_SEGMENTS).zip((0..).step_by(FOUND_SEGMENTS)) {
            let params = FetchParams {
                hits: as_u32(fetch.count)?,
                hits_each: as_u32(fetch.each)?,
                segment_first: as_u32(first)?,
                tile_rows: as_u32(fetch.tile_rows)?,
                dims: as_u32(fetch.dims)?,
            };
            let groups = params.hits.div_ceil(FETCH_WG / FETCH_LANES);
            let extent = Extent {
                workgroups: [groups.clamp(1, self.runtime.capabilities().workgroups), 1],
                units: as_u64(fetch.count.saturating_mul(fetch.dims))?,
            };
            // The last one stands in for those that are not there.
            let segment = |place: usize| &segments[place.min(segments.len() - 1)];
            let views = [
                segment(0),
                segment(1),
                segment(2),
                fetch.queries,
                fetch.tiles,
                fetch.chosen_keys,
                fetch.chosen_rows,
                fetch.hits,
            ];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }
}

/// `METRIC` of the kernels over lists.
pub(crate) fn metric_code(metric: Metric) -> u32 {
    match metric {
        Metric::L2 => 0,
        Metric::InnerProduct => 1,
        Metric::Cosine => 2,
        // No kernel takes it: there are no bounds of a query (`ListQueryBounds::new`), and so no search.
        Metric::L1 | Metric::Hamming | Metric::Jaccard => 3,
    }
}

/// As many lanes as a row has octets to keep busy, then as many loads a lane as cover the row, then rows until some 12
/// loads are under way in each lane, as for `score_subgroup`. One segment is a variant of its own, without what tells several
/// apart.
fn scan_variant(capabilities: &Capabilities, metric: Metric, octets: u32, segments: usize) -> Variant {
    let (sum, most) = match capabilities.subgroups {
        Some((smallest, _)) => (Sum::Subgroup, smallest.min(32)),
        None => (Sum::Workgroup, 32),
    };
    let lanes = most.min(1 << octets.max(1).ilog2());
    let (steps, rows) = if capabilities.kind == DeviceKind::Software {
        // A software driver gains nothing from loads in advance and takes seconds to compile them.
        (1, 1)
    } else {
        let steps = octets.div_ceil(lanes).min(6);
        (steps, (12 / steps).clamp(1, 4).min(lanes))
    };
    debug_assert!(steps * rows <= HELD);
    Variant::default()
        .sum(sum)
        .constant("METRIC", metric_code(metric))
        .constant("WG", SCAN_WG)
        .constant("LANES", lanes)
        .constant("STEPS", steps)
        .constant("ROWS", rows)
        .constant("SEGMENTS", if segments == 1 { 1 } else { 4 })
}

/// The order of the sums is that of 32 lanes: in a subgroup where it has so many, else through workgroup memory.
fn fetch_variant(capabilities: &Capabilities, metric: Metric) -> Variant {
    let in_subgroup = capabilities
        .subgroups
        .is_some_and(|(smallest, largest)| smallest >= FETCH_LANES && FETCH_WG.is_multiple_of(largest));
    let sum = if in_subgroup {
        Sum::Subgroup
    } else {
        Sum::Workgroup
    };
    Variant::default()
        .sum(sum)
        .constant("METRIC", u32::from(metric.is_spherical()))
        .constant("WG", FETCH_WG)
        .constant("LANES", FETCH_LANES)
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&LIST_SCAN, &LIST_FETCH];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let metrics = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
    let mut variants = Vec::new();
    for subgroups in [None, Some((4, 4)), Some((8, 8)), Some((32, 32)), Some((64, 64))] {
        for kind in [DeviceKind::Discrete, DeviceKind::Software] {
            let mut capabilities = Capabilities::of_nothing();
            capabilities.subgroups = subgroups;
            capabilities.kind = kind;
            for metric in metrics {
                for octets in [1, 2, 4, 8, 13, 16, 31, 32, 64, 96, 125, 192, 2000] {
                    for segments in [1, 4] {
                        variants.push((&LIST_SCAN, scan_variant(&capabilities, metric, octets, segments)));
                    }
                }
                variants.push((&LIST_FETCH, fetch_variant(&capabilities, metric)));
            }
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(
            LIST_SCAN,
            ScanParams {
                tile_first,
                tile_end,
                tile_rows,
                octets,
                query_y,
                query_z,
                query_w,
                rounding,
                after_kind,
                after_key,
                after_low,
                after_high,
                tile_ends_0,
                tile_ends_1,
                tile_ends_2,
            }
        );
        assert_params!(
            LIST_FETCH,
            FetchParams {
                hits,
                hits_each,
                segment_first,
                tile_rows,
                dims,
            }
        );
    }

    #[test]
    fn scans_stay_within_what_the_kernel_holds() {
        for octets in 1..=2000 {
            for subgroups in [None, Some((4, 4)), Some((32, 32)), Some((64, 64))] {
                let mut capabilities = Capabilities::of_nothing();
                capabilities.subgroups = subgroups;
                let variant = scan_variant(&capabilities, Metric::L2, octets, 1);
                let constant = |name| crate::tuning::constant(&variant, name);
                assert!(constant("STEPS") * constant("ROWS") <= HELD, "{octets}");
                assert!(constant("ROWS") <= constant("LANES") && constant("LANES").is_power_of_two());
            }
        }
    }
}
