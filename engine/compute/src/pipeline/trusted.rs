//! The two calls of wgpu that ask for trust: shaders without injected checks, and a pipeline cache from the disk.
#![expect(unsafe_code, reason = "wgpu marks both calls unsafe; see each block")]

/// Makes a module of one of our own kernels. Unless `checked`, wgpu injects no bounds checks and loop limits: on a
/// software driver they cost up to a third of the time.
pub(super) fn shader_module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
    checked: bool,
) -> wgpu::ShaderModule {
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: only kernels of this crate come here, no text from outside. Each guards every load and store by its
    // parameters, whose values its typed call has checked against the bound buffers, and has only loops that end;
    // the tests run them with the checks on, against their CPU twins, over shapes that divide no tile.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// Makes a pipeline cache, from `data` of an earlier process if the driver accepts it.
///
/// `data` must be what [`wgpu::PipelineCache::get_data`] gave to this program for the same adapter and driver; the
/// file it comes from is owned by this user alone and carries a checksum.
pub(super) fn pipeline_cache(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: Some("vectorgpu.pipelines"),
        data,
        fallback: true,
    };
    // SAFETY: the caller read `data` from a file that only this user can write, whose checksum holds, and whose name
    // and header tie it to this adapter, this driver and this version of the program.
    unsafe { device.create_pipeline_cache(&descriptor) }
}
