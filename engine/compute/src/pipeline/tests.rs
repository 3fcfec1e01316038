//! Every pipeline on a device without hardware, which checks layouts as a real one does.
#![expect(
    unsafe_code,
    reason = "wgpu marks the consent to its experimental features unsafe"
)]

use super::*;
use crate::kernels;

fn device() -> (wgpu::Device, wgpu::Queue) {
    use wgpu::Features as F;
    let limits = wgpu::Limits {
        max_immediate_size: PARAMS_BYTES_MAX,
        max_compute_workgroup_storage_size: 48 << 10,
        max_compute_invocations_per_workgroup: 1024,
        max_compute_workgroup_size_x: 1024,
        ..Default::default()
    };
    wgpu::Device::noop(&wgpu::DeviceDescriptor {
        required_features: F::SUBGROUP
            | F::SUBGROUP_BARRIER
            | F::SHADER_F16
            | F::IMMEDIATES
            | F::EXPERIMENTAL_COOPERATIVE_MATRIX,
        required_limits: limits,
        // SAFETY: the device does not carry anything out.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        ..Default::default()
    })
}

fn pipelines(place: ParamsPlace) -> Pipelines {
    Pipelines {
        place,
        checked: true,
        compiled: RefCell::default(),
        layouts: Layouts::default(),
        disk: None,
        unsaved: Cell::default(),
    }
}

#[test]
fn every_pipeline_builds_and_kernels_with_like_bindings_share_a_layout() {
    let (device, queue) = device();
    let gpu = Gpu::without_adapter(device, queue);
    for place in [ParamsPlace::Immediates, ParamsPlace::Uniform] {
        let pipelines = pipelines(place);
        let mut layouts = std::collections::HashSet::new();
        for (kernel, variant) in kernels::variants() {
            let loaded = shader::load(kernel, &variant, place).unwrap();
            layouts.insert(loaded.bindings.clone());
            let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
            pipelines.compile(&gpu, kernel, loaded, &variant.constants);
            let error = pollster::block_on(scope.pop());
            assert!(
                error.is_none(),
                "{} {variant:?} {place:?}: {error:?}",
                kernel.name
            );
        }
        assert_eq!(pipelines.layouts.groups.borrow().len(), layouts.len());
    }
}

#[test]
fn a_device_without_hardware_still_refuses_a_layout_that_lacks_a_binding() {
    let (device, queue) = device();
    let gpu = Gpu::without_adapter(device, queue);
    let (kernel, variant) = kernels::variants().swap_remove(0);
    let mut loaded = shader::load(kernel, &variant, ParamsPlace::Uniform).unwrap();
    loaded.bindings.pop();
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    pipelines(ParamsPlace::Uniform).compile(&gpu, kernel, loaded, &variant.constants);
    assert!(pollster::block_on(scope.pop()).is_some());
}
