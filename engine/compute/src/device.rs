//! From nothing to an open device: instance, adapters, features and limits.
//!
//! Must not decide anything about memory or kernels. Every function here may start driver threads, so callers hold
//! the thread guard. Sources: wgpu 30's `InstanceFlags` (the default asks for validation layers in debug builds) and
//! `MemoryHints` (the default reserves 128 MiB of VRAM for the first small buffer).

use vectorgpu_core::{Error, ErrorKind, Result};

/// What the kernels here can use when it is there. Reading f16 rows needs none of these.
const WANTED: wgpu::Features = wgpu::Features::empty();

/// Limits of an open device that callers plan with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Largest storage binding in bytes, a multiple of 256.
    pub(crate) binding_bytes: u64,
    /// Largest buffer in bytes, a multiple of 256.
    pub(crate) buffer_bytes: u64,
    /// Most workgroups in one dimension of a dispatch.
    pub(crate) workgroups: u32,
    /// Whether `unpack2x16float` works.
    pub(crate) f16_rows: bool,
}

/// Makes an instance and lists its adapters. Without a Vulkan loader or driver the list is empty.
pub(crate) fn adapters() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    (instance, adapters)
}

/// Opens `adapter` with the features wanted and the limits raised.
///
/// # Errors
/// `OutOfMemory`, `DeviceLost` or `Unsupported`, as the driver says.
pub(crate) fn open(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("vectorgpu"),
        required_features: adapter.features() & WANTED,
        required_limits: raised_limits(&adapter.limits()),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| {
        let text = error.to_string();
        // wgpu keeps the cause private; these are the texts of its out-of-memory and loss cases.
        let kind = if text.contains("Not enough memory") {
            ErrorKind::OutOfMemory
        } else if text.contains("device is lost") {
            ErrorKind::DeviceLost
        } else {
            ErrorKind::Unsupported
        };
        Error::new(kind, "could not open the GPU").with_detail(text)
    })
}

/// The planning limits of an open device.
pub(crate) fn limits(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Limits {
    let limits = device.limits();
    let round = |bytes: u64| bytes & !255;
    Limits {
        binding_bytes: round(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)),
        buffer_bytes: round(limits.max_buffer_size),
        workgroups: limits.max_compute_workgroups_per_dimension,
        f16_rows: adapter
            .get_downlevel_capabilities()
            .flags
            .contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32),
    }
}

/// WebGPU's defaults, or less where the adapter has less, with what bulk data needs raised to what it offers.
fn raised_limits(offered: &wgpu::Limits) -> wgpu::Limits {
    let mut limits = wgpu::Limits::default().or_worse_values_from(offered);
    limits.max_buffer_size = offered.max_buffer_size;
    limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size;
    limits
}
