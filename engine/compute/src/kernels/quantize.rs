//! Kernels that make codes of rows: `quantize_int8`, `quantize_bits`.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;

use super::plan::{ROW_WG, RowRun, row_variant};
use crate::rows::{Int8Rows, RowArray, RowFormat};
use crate::runtime::as_u32;
use crate::shader::{Kernel, Tunable, Variant, kernel};
use crate::step::Step;

/// Invocations of a workgroup, for `quantize_bits`, which has no workgroup memory.
const WG: Tunable = Tunable {
    name: "WG",
    default: 64,
    candidates: &[32, 64, 128, 256],
};

static QUANTIZE_INT8: Kernel = kernel!("quantize_int8", "vector/quantize_int8.wgsl", [ROW_WG]);
static QUANTIZE_BITS: Kernel = kernel!("quantize_bits", "vector/quantize_bits.wgsl", [WG]);

/// `Params` of quantize_int8.wgsl and quantize_bits.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct QuantizeParams {
    rows: u32,
    quads: u32,
    words: u32,
}

impl Step {
    /// Records the int8 codes of `rows`, of f32 or f16, into `codes` of the same shape: with `max` the largest magnitude
    /// of a row, `scale = max / 127` and `code_i = round(x_i * (127 / max))`, ties to even, within -127..=127.
    ///
    /// A row whose largest magnitude is below 2^-119 gets scale 0 and codes 0. A row that holds NaN or infinity gets
    /// scale NaN and codes 0, so that all its scores are NaN. A device whose division is not correctly rounded (Vulkan
    /// allows 2.5 units in the last place) may give a scale that is off by as much, and a code off by one near a tie.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let values: Vec<u8> = [127.0_f32, -3.0, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    /// let rows = engine.upload_rows("rows", RowFormat::F32, 3, &values, go_on).unwrap();
    /// let codes = engine.int8_rows("codes", 1, 3, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.quantize_int8(&rows, &codes).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download_rows(codes.codes(), go_on).unwrap(), [127, -3_i8 as u8, 0]);
    /// assert_eq!(engine.download(codes.scales(), go_on).unwrap(), [1.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes or formats; `Unsupported` for f16 rows on a device that cannot unpack them;
    /// what compiling the kernel reports.
    pub fn quantize_int8(&mut self, rows: &RowArray, codes: &Int8Rows) -> Result<()> {
        let element = self.readable(rows)?;
        codes.codes().check(RowFormat::Int8, rows.rows(), rows.dims())?;
        let variant = row_variant(self.runtime.capabilities(), rows.quads()).rows(element);
        let run = RowRun::shared(&QUANTIZE_INT8, variant, rows.rows(), rows.dims());
        let params = shape(rows, codes.codes())?;
        self.record_rows(run, params, |range| {
            let codes = codes.slice(range.clone())?;
            Ok(vec![
                rows.slice(range)?.view().clone(),
                codes.codes().view().clone(),
                codes.scales().view().clone(),
            ])
        })
    }

    /// Records the 1-bit codes of `rows`, of f32 or f16, into `codes` of the same shape: bit `i` is `x_i > 0`, so 0 for
    /// zeros and NaN, and on some devices for subnormals.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, RowFormat};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let values: Vec<u8> = [0.5_f32, -0.5, 0.0, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    /// let rows = engine.upload_rows("rows", RowFormat::F32, 4, &values, go_on).unwrap();
    /// let codes = engine.row_array("codes", RowFormat::Bits, 1, 4, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.quantize_bits(&rows, &codes).unwrap();
    /// step.run(go_on).unwrap();
    /// assert_eq!(engine.download_rows(&codes, go_on).unwrap(), [0b1001, 0, 0, 0]);
    /// ```
    ///
    /// # Errors
    /// As [`Step::quantize_int8`].
    pub fn quantize_bits(&mut self, rows: &RowArray, codes: &RowArray) -> Result<()> {
        let element = self.readable(rows)?;
        codes.check(RowFormat::Bits, rows.rows(), rows.dims())?;
        let run = RowRun {
            kernel: &QUANTIZE_BITS,
            variant: Variant::default().rows(element),
            rows: rows.rows(),
            invocations: as_u32(codes.row_words())?,
            together: 1,
            workgroups_max: u32::MAX,
            units: rows.dims(),
        };
        let params = shape(rows, codes)?;
        self.record_rows(run, params, |range| {
            let codes = codes.slice(range.clone())?;
            Ok(vec![rows.slice(range)?.view().clone(), codes.view().clone()])
        })
    }
}

/// The parameters for a number of rows of `rows` that become `codes`.
fn shape(rows: &RowArray, codes: &RowArray) -> Result<impl Fn(u32) -> QuantizeParams + use<>> {
    let quads = as_u32(rows.quads())?;
    let words = as_u32(codes.row_words())?;
    Ok(move |rows| QuantizeParams { rows, quads, words })
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&QUANTIZE_INT8, &QUANTIZE_BITS];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    use vectorgpu_core::metric::Element;

    let mut variants = Vec::new();
    for rows in [Element::F32, Element::F16] {
        let base = Variant::default().rows(rows);
        variants.extend(super::plan::row_variants(&QUANTIZE_INT8, &base));
        let sizes = WG.candidates.iter();
        variants.extend(sizes.map(|&size| (&QUANTIZE_BITS, base.clone().constant("WG", size))));
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(QUANTIZE_INT8, QuantizeParams { rows, quads, words });
        assert_params!(QUANTIZE_BITS, QuantizeParams { rows, quads, words });
    }
}
