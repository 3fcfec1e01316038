//! What an open device can do, as kernels and planning see it.
//!
//! Must not know wgpu's calls, only its answers. A capability is there when the adapter offers it and the caller has
//! not switched it off; kernels choose their variant by it, so that tests can run every variant on one machine.

use std::cell::RefCell;

use crate::adapter::{DeviceKind, Vendor};

/// Something optional of a device. Kernels have a variant without each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Operations between the invocations that run in step. Without: workgroup memory and barriers.
    Subgroups,
    /// Parameters inside the command stream. Without: a ring of uniform blocks.
    Immediates,
    /// Arithmetic in f16. Reading f16 rows does not need it.
    F16,
    /// 16x16x16 matrix multiply-add of f16 with f32 sums. Without: scalar tiles.
    CooperativeMatrix,
    /// Time of each kernel on the device. Without: no profile.
    Timestamps,
    /// Compiled kernels kept on disk by the driver. Without: every process compiles.
    PipelineCache,
}

/// How finely the device can tell the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamps {
    /// Not at all.
    None,
    /// At the ends of a pass.
    Passes,
    /// Between the dispatches of a pass.
    Dispatches,
}

/// The optional features and the limits of an open device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) kind: DeviceKind,
    pub(crate) vendor: Vendor,
    /// Smallest and largest number of invocations that run in step, where subgroup operations may be used.
    pub(crate) subgroups: Option<(u32, u32)>,
    /// Whether parameters go into the command stream.
    pub(crate) immediates: bool,
    /// Whether kernels can calculate in f16.
    pub(crate) f16_arithmetic: bool,
    /// Whether `unpack2x16float` works.
    pub(crate) f16_rows: bool,
    /// Whether 16x16x16 matrices of f16 with f32 sums can be multiplied cooperatively.
    pub(crate) cooperative_matrix: bool,
    pub(crate) timestamps: Timestamps,
    pub(crate) pipeline_cache: bool,
    /// Largest storage binding in bytes, a multiple of 256.
    pub(crate) binding_bytes: u64,
    /// Largest buffer in bytes, a multiple of 256.
    pub(crate) buffer_bytes: u64,
    /// What the offset of a storage binding is a multiple of, in bytes.
    pub(crate) storage_alignment: u64,
    /// What the offset of a uniform binding is a multiple of, in bytes.
    pub(crate) uniform_alignment: u64,
    /// Most workgroups in one dimension of a dispatch.
    pub(crate) workgroups: u32,
    /// Most invocations of a workgroup.
    pub(crate) invocations: u32,
    /// Memory that a workgroup shares, in bytes.
    pub(crate) workgroup_bytes: u32,
    /// Constants of kernels that the caller has set in place of the table's.
    pub(crate) tuning: RefCell<Vec<Setting>>,
}

/// A kernel's constant set by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) kernel: String,
    pub(crate) constant: String,
    pub(crate) value: u32,
}

#[cfg(test)]
impl Capabilities {
    /// A device that has nothing beyond WebGPU's minimum.
    pub(crate) fn of_nothing() -> Self {
        Self {
            kind: DeviceKind::Other,
            vendor: Vendor::Other,
            subgroups: None,
            immediates: false,
            f16_arithmetic: false,
            f16_rows: true,
            cooperative_matrix: false,
            timestamps: Timestamps::None,
            pipeline_cache: false,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            storage_alignment: 256,
            uniform_alignment: 256,
            workgroups: 65_535,
            invocations: 256,
            workgroup_bytes: 16 << 10,
            tuning: RefCell::default(),
        }
    }
}
