//! What a device can do at most, for comparison: `multiply_add` and `read`.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::array::Array;
use crate::record::Extent;
use crate::runtime::{as_u32, as_u64};
use crate::shader::{Kernel, Variant, kernel};
use crate::step::Step;

static MULTIPLY_ADD: Kernel = kernel!("multiply_add", "measure/multiply_add.wgsl");

static READ: Kernel = kernel!("read", "measure/read.wgsl");

const WORKGROUP: usize = 256;
/// Multiply-adds of one round of one invocation.
const CHAINS: u64 = 16;

/// `Params` of multiply_add.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MultiplyAddParams {
    rounds: u32,
    limit: f32,
}

/// `Params` of read.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReadParams {
    quads: u32,
}

impl Step {
    /// Records a read of all `values`, by as many invocations as `results` has elements; each leaves the exclusive or of
    /// the words that it read. Measures the rate that no kernel bound by memory can pass.
    ///
    /// # Errors
    /// `InvalidArgument` unless `values` are whole quads (a multiple of 4) and `results` a multiple of 256; what compiling
    /// the kernel reports.
    pub fn read(&mut self, values: &Array<f32>, results: &Array<u32>) -> Result<()> {
        let workgroups = results.len() / WORKGROUP;
        if !values.len().is_multiple_of(4) || workgroups == 0 || !results.len().is_multiple_of(WORKGROUP) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} words cannot be read into {} results",
                    values.len(),
                    results.len()
                ),
            ));
        }
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &READ, variant())?;
        let params = ReadParams {
            quads: as_u32(values.len() / 4)?,
        };
        let extent = Extent {
            workgroups: [as_u32(workgroups)?, 1],
            units: as_u64(values.len())?,
        };
        let views = [values.view(), results.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }

    /// Records 16 chains of `rounds` multiply-adds in registers for each element of `results`, whose number must be a
    /// multiple of 256; every element ends at 16 `limit`. Returns the number of multiply-adds. Measures the rate that no
    /// kernel of f32 can pass.
    ///
    /// # Errors
    /// `InvalidArgument` for another number of elements; what compiling the kernel reports.
    pub fn multiply_add(&mut self, rounds: u32, limit: f32, results: &Array<f32>) -> Result<u64> {
        if results.is_empty() || !results.len().is_multiple_of(WORKGROUP) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} elements are not a multiple of {WORKGROUP}", results.len()),
            ));
        }
        let variant = variant();
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &MULTIPLY_ADD, variant)?;
        let units = as_u64(results.len())? * u64::from(rounds) * CHAINS;
        let extent = Extent {
            workgroups: [as_u32(results.len() / WORKGROUP)?, 1],
            units,
        };
        let params = MultiplyAddParams { rounds, limit };
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &[results.view()], extent)?;
        Ok(units)
    }
}

fn variant() -> Variant {
    Variant::default().constant("WG", 256)
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&MULTIPLY_ADD, &READ];

/// Every pipeline that this family can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    vec![(&MULTIPLY_ADD, variant()), (&READ, variant())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shader_reads_them() {
        assert_params!(MULTIPLY_ADD, MultiplyAddParams { rounds, limit });
        assert_params!(READ, ReadParams { quads });
    }
}
