//! Compiled kernels, by kernel, row format and constants.
//!
//! Bind group layouts are explicit and come from reflection: wgpu's automatic ones would tie a bind group to a single
//! pipeline. Modules keep wgpu's bounds checks; dropping them needs `unsafe` and showed no gain on Mesa 22.3.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use vectorgpu_core::Result;
use vectorgpu_core::metric::Storage;

use crate::context::Context;
use crate::shader::{self, Binding, Kernel};

/// What distinguishes the pipelines of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    /// The row format.
    pub(crate) rows: Storage,
    /// The kernel's `override` constants.
    pub(crate) constants: Vec<(&'static str, u32)>,
}

/// A compiled kernel.
pub(crate) struct Pipeline {
    pub(crate) kernel: &'static str,
    /// `vectorgpu.KERNEL`, for passes and logs.
    pub(crate) label: String,
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// Whether a dispatch has finished: drivers compile further at the first one, so its time says nothing.
    pub(crate) warm: Cell<bool>,
}

/// The pipelines compiled so far.
#[derive(Default)]
pub(crate) struct Pipelines(RefCell<HashMap<(&'static str, Variant), Rc<Pipeline>>>);

impl Pipelines {
    /// The pipeline of `kernel` in `variant`, compiled at first use.
    ///
    /// # Errors
    /// `Internal` with file and line for a broken shader, or as [`Context::guarded`].
    pub(crate) fn pipeline(
        &self,
        context: &Context,
        kernel: &'static Kernel,
        variant: Variant,
    ) -> Result<Rc<Pipeline>> {
        let key = (kernel.name, variant);
        if let Some(pipeline) = self.0.borrow().get(&key) {
            return Ok(Rc::clone(pipeline));
        }
        let started = Instant::now();
        let loaded = shader::load(kernel, key.1.rows)?;
        let pipeline = context.guarded("compiling a kernel", |gpu| {
            compile(
                &gpu.device,
                kernel,
                loaded.module,
                &loaded.bindings,
                &key.1.constants,
            )
        })?;
        context.counters.update(|counters| counters.pipelines += 1);
        log::debug!(target: "vectorgpu::gpu", "compiled {} {:?} in {:?}", kernel.name, key.1, started.elapsed());
        let pipeline = Rc::new(pipeline);
        self.0.borrow_mut().insert(key, Rc::clone(&pipeline));
        Ok(pipeline)
    }
}

fn compile(
    device: &wgpu::Device,
    kernel: &'static Kernel,
    module: wgpu::naga::Module,
    bindings: &[Binding],
    constants: &[(&'static str, u32)],
) -> Pipeline {
    let label = format!("vectorgpu.{}", kernel.name);
    let entries: Vec<_> = bindings
        .iter()
        .map(|binding| wgpu::BindGroupLayoutEntry {
            binding: binding.number,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: binding.kind,
                has_dynamic_offset: false,
                min_binding_size: std::num::NonZero::new(binding.bytes_min),
            },
            count: None,
        })
        .collect();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(&label),
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let shader_module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&label),
        source: wgpu::ShaderSource::Naga(Cow::Owned(module)),
    });
    let constants: Vec<_> = constants
        .iter()
        .map(|&(name, value)| (name, f64::from(value)))
        .collect();
    let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &shader_module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline {
        kernel: kernel.name,
        label,
        raw,
        layout,
        warm: Cell::new(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn every_pipeline_builds_on_a_device_without_hardware() {
        let (device, _queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        for (kernel, variant) in kernels::variants() {
            let loaded = shader::load(kernel, variant.rows).unwrap();
            let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
            compile(
                &device,
                kernel,
                loaded.module,
                &loaded.bindings,
                &variant.constants,
            );
            let error = pollster::block_on(scope.pop());
            assert!(error.is_none(), "{} {variant:?}: {error:?}", kernel.name);
        }
    }

    #[test]
    fn every_constant_is_one_of_its_kernels_overrides() {
        for (kernel, variant) in kernels::variants() {
            let module = shader::load(kernel, variant.rows).unwrap().module;
            let names: Vec<_> = module
                .overrides
                .iter()
                .filter_map(|(_, constant)| constant.name.clone())
                .collect();
            for (constant, _) in variant.constants {
                assert!(
                    names.iter().any(|name| name == constant),
                    "{} has no {constant}",
                    kernel.name
                );
            }
        }
    }

    #[test]
    fn a_device_without_hardware_still_refuses_a_layout_that_lacks_a_binding() {
        let (device, _queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let loaded = shader::load(&shader::SCORE, Storage::F32).unwrap();
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        compile(&device, &shader::SCORE, loaded.module, &loaded.bindings[..3], &[]);
        assert!(pollster::block_on(scope.pop()).is_some());
    }
}
