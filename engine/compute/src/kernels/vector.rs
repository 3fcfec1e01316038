//! Kernels over whole vectors: `add`, `normalize`.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::{ROW_WG, RowRun, ranges, row_variant, stride_workgroups};
use crate::array::Array;
use crate::record::Extent;
use crate::rows::{RowArray, RowFormat};
use crate::runtime::{as_u32, as_u64};
use crate::scaled_rows::ScaledRows;
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;
use crate::tuning::{constant, tuned};

/// Invocations of a workgroup, for kernels without workgroup memory.
const WG: Tunable = Tunable {
    name: "WG",
    default: 64,
    candidates: &[32, 64, 128, 256],
};

static ADD: Kernel = kernel!("add", "vector/add.wgsl", [WG]);
static NORMALIZE: Kernel = kernel!("normalize", "vector/normalize.wgsl", [ROW_WG]);

static TO_F16: Kernel = kernel!("to_f16", "vector/to_f16.wgsl", [TO_F16_WG]);

/// Invocations of a workgroup of `to_f16`: a multiple of every subgroup size.
const TO_F16_WG: Tunable = Tunable {
    name: "WG",
    default: 256,
    candidates: &[128, 256],
};

/// `Params` of to_f16.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ToF16Params {
    rows: u32,
    source_quads: u32,
    quads: u32,
}

/// `Params` of add.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AddParams {
    n: u32,
    scale: f32,
}

/// `Params` of normalize.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NormalizeParams {
    rows: u32,
    quads: u32,
}

impl Step {
    /// Records `sum[i] = a[i] + scale * b[i]` for arrays of equal length; `sum` may not be `a` or `b`.
    ///
    /// In f32: one or two roundings. NaN and infinity follow IEEE 754; subnormals may become zero.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let a = engine.upload("a", &[1.0_f32, 2.0, 3.0], go_on).unwrap();
    /// let b = engine.upload("b", &[10.0_f32, 20.0, 30.0], go_on).unwrap();
    /// let sum = engine.array("sum", 3, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.add(&a, 2.0, &b, &sum).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download(&sum, go_on).unwrap(), [21.0, 42.0, 63.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for arrays of different lengths; what compiling the kernel reports.
    pub fn add(&mut self, a: &Array<f32>, scale: f32, b: &Array<f32>, sum: &Array<f32>) -> Result<()> {
        if a.len() != b.len() || a.len() != sum.len() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "cannot add {} and {} numbers into {}",
                    a.len(),
                    b.len(),
                    sum.len()
                ),
            ));
        }
        let variant = tuned(&ADD, self.runtime.capabilities(), Variant::default());
        let invocations = constant(&variant, "WG");
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &ADD, variant)?;
        for range in ranges(&self.runtime, ADD.name, a.len(), 1) {
            let (a, b) = (a.slice(range.clone())?, b.slice(range.clone())?);
            let sum = sum.slice(range.clone())?;
            let params = AddParams {
                n: as_u32(range.len())?,
                scale,
            };
            let extent = Extent {
                workgroups: stride_workgroups(&self.runtime, params.n, invocations),
                units: as_u64(range.len())?,
            };
            let views = [a.view(), b.view(), sum.view()];
            self.runtime
                .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        }
        Ok(())
    }

    /// Records `normal[row] = rows[row] / |rows[row]|`, the row scaled to Euclidean length 1; a zero row stays zero.
    /// `rows` is of f32 or f16, `normal` of f32, other rows of the same shape.
    ///
    /// No finite row overflows; a device may count subnormal elements as zero. An infinite element becomes NaN and the
    /// finite ones of its row zero; NaN makes the whole row NaN.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    /// let rows = engine.upload_rows("rows", RowFormat::F32, 2, &bytes(&[0.0, -4.0, 0.0, 0.0]), go_on).unwrap();
    /// let normal = engine.row_array("normal", RowFormat::F32, 2, 2, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.normalize(&rows, &normal).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download_rows(&normal, go_on).unwrap(), bytes(&[0.0, -1.0, 0.0, 0.0]));
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes or formats; `Unsupported` for f16 rows on a device that cannot unpack them;
    /// what compiling the kernel reports.
    pub fn normalize(&mut self, rows: &RowArray, normal: &RowArray) -> Result<()> {
        let element = self.readable(rows)?;
        normal.check(RowFormat::F32, rows.rows(), rows.dims())?;
        let variant = row_variant(self.runtime.capabilities(), rows.quads()).rows(element);
        let run = RowRun::shared(&NORMALIZE, variant, rows.rows(), rows.dims());
        let quads = as_u32(rows.quads())?;
        self.record_rows(
            run,
            |rows| NormalizeParams { rows, quads },
            |range| {
                let normal = normal.slice(range.clone())?;
                Ok(vec![rows.slice(range)?.view().clone(), normal.view().clone()])
            },
        )
    }

    /// Records the conversion of `rows`, of f32, to f16 with a power of two for each row.
    ///
    /// The largest magnitude of a row comes to lie in `[2^14, 2^15)`, so nothing overflows; rounding is to nearest, as
    /// the device does it. NaN stays NaN; a row with an infinity is not scaled.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let codes: Vec<u8> = [3.0_f32, -1e30].iter().flat_map(|x| x.to_le_bytes()).collect();
    /// let rows = engine.upload_rows("rows", RowFormat::F32, 1, &codes, go_on).unwrap();
    /// let scaled = engine.scaled_rows("scaled", 2, 1, go_on).unwrap();
    /// let mut step = engine.step();
    /// if step.to_f16(&rows, &scaled).is_ok() {
    ///     step.run(go_on).unwrap();
    ///     assert_eq!(engine.download(scaled.factors(), go_on).unwrap()[0], 2.0_f32.powi(-13));
    /// }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes or formats; `Unsupported` on a device without subgroups; what compiling the
    /// kernel reports.
    pub fn to_f16(&mut self, rows: &RowArray, scaled: &ScaledRows) -> Result<()> {
        rows.check(RowFormat::F32, scaled.rows(), scaled.dims())?;
        let Some((subgroup, _)) = self.runtime.capabilities().subgroups else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the GPU has no subgroup operations",
            ));
        };
        let run = RowRun {
            kernel: &TO_F16,
            variant: Variant::default(),
            rows: rows.rows(),
            invocations: subgroup,
            together: 1,
            workgroups_max: u32::MAX,
            units: rows.dims(),
        };
        let (source_quads, quads) = (as_u32(rows.quads())?, as_u32(2 * scaled.octets())?);
        let params = |rows| ToF16Params {
            rows,
            source_quads,
            quads,
        };
        self.record_rows(run, params, |range| {
            let scaled = scaled.slice(range.clone())?;
            Ok(vec![
                rows.slice(range)?.view().clone(),
                scaled.codes().view().clone(),
                scaled.factors().view().clone(),
            ])
        })
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&ADD, &NORMALIZE, &TO_F16];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use vectorgpu_core::metric::Element;

    use super::plan::row_variants;

    let to_f16 = TO_F16_WG
        .candidates
        .iter()
        .map(|&size| (&TO_F16, Variant::default().constant("WG", size)));
    let mut variants: Vec<_> = WG
        .candidates
        .iter()
        .map(|&size| (&ADD, Variant::default().constant("WG", size)))
        .collect();
    for rows in [Element::F32, Element::F16] {
        variants.extend(row_variants(&NORMALIZE, &Variant::default().rows(rows)));
    }
    variants.extend(to_f16);
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(ADD, AddParams { n, scale });
        assert_params!(
            TO_F16,
            ToF16Params {
                rows,
                source_quads,
                quads
            }
        );
        assert_params!(NORMALIZE, NormalizeParams { rows, quads });
    }
}
