//! Kernels of linear algebra: `matmul`, on matrix units where the device has them (`matmul_cooperative`).
//!
//! A product is cut into blocks of whole tiles of the result, as large as one submission may be. Every element is summed
//! in one order, which this cut does not change, so it changes no bit.

use std::ops::Range;
use std::rc::Rc;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::assign::MATRIX_UNITS;
use super::plan::{QUAD, stride_workgroups};
use crate::adapter::DeviceKind;
use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::pipeline::Pipeline;
use crate::record::Extent;
use crate::rows::{RowArray, RowFormat, invalid};
use crate::runtime::{as_u32, as_u64, as_usize};
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::tuned;

/// Rows and columns of a tile of both kernels; a multiple of 64, so that a block of tiles starts at a multiple of every
/// device's binding alignment.
const TILE: usize = 128;

/// Rows of tiles that are in flight together.
const BAND: Tunable = Tunable {
    name: "BAND",
    default: 8,
    candidates: &[1, 2, 4, 8, 16, 32],
};

/// As [`BAND`]: a workgroup of the cooperative kernel is four subgroups, and fewer are in flight.
const COOPERATIVE_BAND: Tunable = Tunable { default: 4, ..BAND };

static MATMUL: Kernel = kernel!("matmul", "linear/matmul.wgsl", [BAND]);
static MATMUL_COOPERATIVE: Kernel = kernel!(
    "matmul_cooperative",
    "linear/matmul_cooperative.wgsl",
    [COOPERATIVE_BAND]
);

/// Most quads of a row that a run on the CPU may go through. Mesa's llvmpipe leaves a loop, silently, when an invocation
/// has gone through 65,535 turns of all its loops (`LP_MAX_TGSI_LOOP_ITERATIONS`); a quad takes 312 where none of the
/// kernel's is unrolled.
const SOFTWARE_DEPTH: usize = 128;

/// What a workgroup of matmul_cooperative.wgsl shares: two slabs of 10 KiB and four strips of 1 KiB.
const COOPERATIVE_BYTES: u32 = 24 << 10;

/// `Params` of matmul.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulParams {
    m: u32,
    n: u32,
    quads: u32,
    first: u32,
    columns: u32,
    quad_first: u32,
    depth: u32,
}

/// `Params` of matmul_cooperative.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CooperativeParams {
    m: u32,
    n: u32,
    octets: u32,
    first: u32,
    columns: u32,
}

/// A part of the result that one run computes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Step {
    /// Records the matrix product `c[i, j] = sum(a[i, l] * b[j, l])`: `a` is `[m, k]`, `b` is `[n, k]`, both of f32 or
    /// both of f16, and `c` is `[m, n]` row-major. Does nothing when m or n is 0.
    ///
    /// Sums are in f32; the same device gives the same bits for the same inputs. Rows of f16 are multiplied on matrix
    /// units where the device has them and k, rounded up to a multiple of 4, is a multiple of 8; those may cut sums off
    /// rather than round them. NaN and infinity follow IEEE 754; subnormals may count as zero.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    /// let a = engine.upload_rows("a", RowFormat::F32, 2, &bytes(&[1.0, 2.0, 3.0, 4.0]), go_on).unwrap();
    /// let b = engine.upload_rows("b", RowFormat::F32, 2, &bytes(&[5.0, 6.0, 1.0, 0.0]), go_on).unwrap();
    /// let c = engine.array("c", 4, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.matmul(&a, &b, &c).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&c, go_on).unwrap(), [17.0, 1.0, 39.0, 3.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes or formats and when `c` shares its buffer with an input; `Unsupported` for f16
    /// rows on a device that cannot unpack them; what compiling the kernel reports.
    pub fn matmul(&mut self, a: &RowArray, b: &RowArray, c: &Array<f32>) -> Result<()> {
        let element = self.readable(a)?;
        b.check(a.format(), b.rows(), a.dims())?;
        let (m, n) = (a.rows(), b.rows());
        if m.checked_mul(n) != Some(c.len()) {
            return Err(invalid(format!(
                "the product of {m} rows with {n} rows does not have {} numbers",
                c.len()
            )));
        }
        let cooperative = multiplies_cooperatively(self.runtime.capabilities(), a);
        let kernel = if cooperative { &MATMUL_COOPERATIVE } else { &MATMUL };
        let variant = tuned(
            kernel,
            self.runtime.capabilities(),
            Variant::default().rows(element),
        );
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, kernel, variant)?;
        if cooperative {
            self.runtime.pace.expect(kernel.name, MATRIX_UNITS);
        }
        let affordable = as_usize(self.runtime.pace.units(kernel.name)).unwrap_or(usize::MAX);
        for block in blocks(m, n, affordable / (TILE * TILE * a.dims())) {
            self.matmul_block(&pipeline, cooperative, a, b, c, &block)?;
        }
        Ok(())
    }

    /// Records the runs that compute `block` of `c`.
    fn matmul_block(
        &mut self,
        pipeline: &Rc<Pipeline>,
        cooperative: bool,
        a: &RowArray,
        b: &RowArray,
        c: &Array<f32>,
        block: &Block,
    ) -> Result<()> {
        let (n, quads) = (b.rows(), a.quads());
        let tiles = block.rows.len().div_ceil(TILE) * block.columns.len().div_ceil(TILE);
        let workgroups = stride_workgroups(&self.runtime, as_u32(tiles)?, 1);
        let c = c.slice(block.rows.start * n..block.rows.end * n)?;
        let (a, b) = (a.slice(block.rows.clone())?, b.slice(block.columns.clone())?);
        let views = [a.view(), b.view(), c.view()];
        let software = self.runtime.capabilities().kind == DeviceKind::Software;
        let deepest = if software { SOFTWARE_DEPTH } else { quads };
        for quad_first in (0..quads).step_by(deepest) {
            let depth = deepest.min(quads - quad_first);
            let params = MatmulParams {
                m: as_u32(block.rows.len())?,
                n: as_u32(n)?,
                quads: as_u32(quads)?,
                first: as_u32(block.columns.start)?,
                columns: as_u32(block.columns.len())?,
                quad_first: as_u32(quad_first)?,
                depth: as_u32(depth)?,
            };
            let extent = Extent {
                workgroups,
                units: as_u64((TILE * TILE * QUAD * depth).saturating_mul(tiles))?,
            };
            if cooperative {
                let params = params.in_octets();
                self.runtime
                    .record(&mut self.recording, pipeline, &params, &views, extent)?;
            } else {
                self.runtime
                    .record(&mut self.recording, pipeline, &params, &views, extent)?;
            }
        }
        Ok(())
    }
}

impl MatmulParams {
    /// The same for matmul_cooperative.wgsl, for whole rows of an even number of quads.
    fn in_octets(self) -> CooperativeParams {
        CooperativeParams {
            m: self.m,
            n: self.n,
            octets: self.quads / 2,
            first: self.first,
            columns: self.columns,
        }
    }
}

/// Whether the matrix units can multiply rows like those of `a`: f16 in whole octets.
fn multiplies_cooperatively(capabilities: &Capabilities, a: &RowArray) -> bool {
    capabilities.cooperative_matrix
        && capabilities.kind != DeviceKind::Software
        && capabilities.workgroup_bytes >= COOPERATIVE_BYTES
        && a.format() == RowFormat::F16
        && a.quads().is_multiple_of(2)
}

/// Cuts `[m, n]` into blocks of at most `tiles` tiles, at least one: whole bands of rows, or parts of a single one.
fn blocks(m: usize, n: usize, tiles: usize) -> impl Iterator<Item = Block> {
    let columns = n.div_ceil(TILE).clamp(1, tiles.max(1));
    let rows = (tiles / columns).clamp(1, m.div_ceil(TILE).max(1));
    let ranges = |count: usize, step: usize| {
        (0..count)
            .step_by(step)
            .map(move |start| start..count.min(start + step))
    };
    ranges(m, rows * TILE).flat_map(move |rows| {
        ranges(n, columns * TILE).map(move |columns| Block {
            rows: rows.clone(),
            columns,
        })
    })
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&MATMUL, &MATMUL_COOPERATIVE];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use vectorgpu_core::metric::Element;

    let kernels = [
        (&MATMUL, Element::F32),
        (&MATMUL, Element::F16),
        (&MATMUL_COOPERATIVE, Element::F16),
    ];
    kernels
        .into_iter()
        .flat_map(|(kernel, rows)| {
            let base = Variant::default().rows(rows);
            BAND.candidates
                .iter()
                .map(move |&band| (kernel, base.clone().constant("BAND", band)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(
            MATMUL,
            MatmulParams {
                m,
                n,
                quads,
                first,
                columns,
                quad_first,
                depth
            }
        );
        assert_params!(
            MATMUL_COOPERATIVE,
            CooperativeParams {
                m,
                n,
                octets,
                first,
                columns
            }
        );
    }

    #[test]
    fn blocks_cover_the_result_once_in_whole_tiles_and_no_more_of_them_than_allowed() {
        for (m, n) in [(1, 1), (128, 129), (129, 128), (1000, 70), (70, 1000), (513, 640)] {
            for tiles in [0, 1, 2, 3, 7, 1000, usize::MAX] {
                let mut covered = vec![0; m * n];
                for Block { rows, columns } in blocks(m, n, tiles) {
                    assert!(rows.start % TILE == 0 && columns.start % TILE == 0);
                    assert!(rows.len().div_ceil(TILE) * columns.len().div_ceil(TILE) <= tiles.max(1));
                    for row in rows {
                        for place in &mut covered[row * n..][columns.clone()] {
                            *place += 1;
                        }
                    }
                }
                assert!(covered.iter().all(|&count| count == 1), "{m} {n} {tiles}");
            }
        }
        assert_eq!(blocks(0, 5, 1).count() + blocks(5, 0, 1).count(), 0);
    }
}
