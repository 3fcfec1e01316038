//! From nothing to an open device: instance, adapters, features and limits.
//!
//! Must not decide anything about memory or kernels. Every function here may start driver threads, so callers hold
//! the thread guard. Sources: wgpu 30's `InstanceFlags` (the default asks for validation layers in debug builds) and
//! `MemoryHints` (the default reserves 128 MiB of VRAM for the first small buffer).
#![expect(
    unsafe_code,
    reason = "wgpu marks the consent to its experimental features unsafe"
)]

use std::cell::RefCell;
use std::sync::OnceLock;

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::adapter::{DeviceKind, Vendor};
use crate::capabilities::{Capabilities, Feature, Timestamps};

/// Most bytes of a kernel's parameters.
pub(crate) const PARAMS_BYTES_MAX: u32 = 64;

/// The first instance that had an adapter, and the process that made it. Kept until the process ends: the loader
/// unloads a driver with its last instance, and drivers do not stand that well. One vendor's crashes when it is unloaded
/// after a device could not be opened, and cannot be loaded any more after some thirty times.
static KEPT: OnceLock<(u32, wgpu::Instance)> = OnceLock::new();

/// Lists the adapters, and the instance that they belong to. Without a Vulkan loader or driver the list is empty.
pub(crate) fn adapters() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    // A forked child must not touch its parent's instance.
    let of_this_process = KEPT.get().filter(|(pid, _)| *pid == std::process::id());
    let instance = of_this_process.map_or_else(make_instance, |(_, instance)| instance.clone());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    if !adapters.is_empty() {
        KEPT.get_or_init(|| (std::process::id(), instance.clone()));
    }
    (instance, adapters)
}

fn make_instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    descriptor.flags = wgpu::InstanceFlags::empty();
    wgpu::Instance::new(descriptor)
}

/// Opens `adapter` with the features wanted, less those `without`, and the limits raised.
///
/// # Errors
/// `OutOfMemory`, `DeviceLost` or `Unsupported`, as the driver says.
pub(crate) fn open(
    adapter: &wgpu::Adapter,
    without: &[Feature],
) -> Result<(wgpu::Device, wgpu::Queue, Capabilities)> {
    let features = wanted(adapter, without);
    let experimental = if features.intersects(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        // SAFETY: the only experimental feature asked for is cooperative matrices, whose kernels are tested here
        // against their CPU twins on the hardware that offers them.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("vectorgpu"),
        required_features: features,
        required_limits: raised_limits(&adapter.limits(), features),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        experimental_features: experimental,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| {
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
    })?;
    let capabilities = capabilities(adapter, &device);
    Ok((device, queue, capabilities))
}

/// Whether the adapter multiplies 16x16x16 matrices of f16 with f32 sums, in subgroups of 32 as our kernels do.
pub(crate) fn multiplies_cooperatively(adapter: &wgpu::Adapter) -> bool {
    use wgpu::Features as F;
    use wgpu::wgt::CooperativeScalarType as Scalar;
    let needed = F::EXPERIMENTAL_COOPERATIVE_MATRIX | F::SHADER_F16 | F::SUBGROUP | F::SUBGROUP_BARRIER;
    let info = adapter.get_info();
    adapter.features().contains(needed)
        && (info.subgroup_min_size, info.subgroup_max_size) == (32, 32)
        && adapter.cooperative_matrix_properties().iter().any(|shape| {
            (shape.m_size, shape.n_size, shape.k_size) == (16, 16, 16)
                && shape.ab_type == Scalar::F16
                && shape.cr_type == Scalar::F32
        })
}

fn wanted(adapter: &wgpu::Adapter, without: &[Feature]) -> wgpu::Features {
    use wgpu::Features as F;
    let mut wanted = F::empty();
    for (feature, flags) in [
        (Feature::Subgroups, F::SUBGROUP | F::SUBGROUP_BARRIER),
        (Feature::Immediates, F::IMMEDIATES),
        (Feature::F16, F::SHADER_F16),
        (
            Feature::Timestamps,
            F::TIMESTAMP_QUERY | F::TIMESTAMP_QUERY_INSIDE_PASSES,
        ),
        (Feature::PipelineCache, F::PIPELINE_CACHE),
    ] {
        if !without.contains(&feature) {
            wanted |= flags;
        }
    }
    let needed = [Feature::CooperativeMatrix, Feature::F16, Feature::Subgroups];
    if multiplies_cooperatively(adapter) && !needed.iter().any(|feature| without.contains(feature)) {
        wanted |= F::EXPERIMENTAL_COOPERATIVE_MATRIX;
    }
    adapter.features() & wanted
}

fn capabilities(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Capabilities {
    use wgpu::Features as F;
    let info = adapter.get_info();
    let limits = device.limits();
    let features = device.features();
    let round = |bytes: u64| bytes & !255;
    Capabilities {
        kind: DeviceKind::from(info.device_type),
        vendor: Vendor::of(info.vendor, info.device_type),
        subgroups: features
            .contains(F::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        immediates: features.contains(F::IMMEDIATES) && limits.max_immediate_size >= PARAMS_BYTES_MAX,
        f16_arithmetic: features.contains(F::SHADER_F16),
        f16_rows: adapter
            .get_downlevel_capabilities()
            .flags
            .contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32),
        cooperative_matrix: features.contains(F::EXPERIMENTAL_COOPERATIVE_MATRIX),
        timestamps: if features.contains(F::TIMESTAMP_QUERY | F::TIMESTAMP_QUERY_INSIDE_PASSES) {
            Timestamps::Dispatches
        } else if features.contains(F::TIMESTAMP_QUERY) {
            Timestamps::Passes
        } else {
            Timestamps::None
        },
        pipeline_cache: features.contains(F::PIPELINE_CACHE),
        binding_bytes: round(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)),
        buffer_bytes: round(limits.max_buffer_size),
        storage_alignment: u64::from(limits.min_storage_buffer_offset_alignment),
        uniform_alignment: u64::from(limits.min_uniform_buffer_offset_alignment),
        workgroups: limits.max_compute_workgroups_per_dimension,
        invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        tuning: RefCell::default(),
    }
}

/// WebGPU's defaults, or less where the adapter has less, with what bulk data and large tiles need raised to what it
/// offers.
fn raised_limits(offered: &wgpu::Limits, features: wgpu::Features) -> wgpu::Limits {
    let mut limits = wgpu::Limits::default().or_worse_values_from(offered);
    limits.max_buffer_size = offered.max_buffer_size;
    limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size;
    limits.max_compute_workgroup_storage_size = offered.max_compute_workgroup_storage_size;
    limits.max_compute_invocations_per_workgroup = offered.max_compute_invocations_per_workgroup;
    limits.max_compute_workgroup_size_x = offered.max_compute_workgroup_size_x;
    if features.contains(wgpu::Features::IMMEDIATES) {
        limits.max_immediate_size = offered.max_immediate_size.min(PARAMS_BYTES_MAX);
    }
    limits
}
