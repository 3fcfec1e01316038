//! Compiled kernels, by kernel and variant, and what they are bound with.
//!
//! Layouts are explicit and come from reflection: wgpu's automatic ones would tie a bind group to a single pipeline.
//! Kernels whose bindings look alike share a layout, and so can share bind groups.

mod bind_group;
mod disk;
mod trusted;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vectorgpu_core::Result;

use crate::context::{Context, Gpu};
use crate::device::PARAMS_BYTES_MAX;
use crate::shader::{self, Binding, Kernel, Module, ParamsPlace, Variant};

pub(crate) use bind_group::BindGroups;

/// Compiling less than this beyond what is on the disk is not worth a write.
const WORTH_SAVING: Duration = Duration::from_millis(20);

/// A compiled kernel.
pub(crate) struct Pipeline {
    pub(crate) kernel: &'static str,
    /// `vectorgpu.KERNEL`, for passes and logs.
    pub(crate) label: String,
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: Rc<Layout>,
    /// Size of the parameters in bytes.
    pub(crate) params_bytes: u32,
    /// Whether a dispatch has finished: drivers compile further at the first one, so its time says nothing.
    pub(crate) warm: Cell<bool>,
}

/// How bind group 0 of some kernels looks.
pub(crate) struct Layout {
    /// Number within the process, for keys.
    pub(crate) number: usize,
    pub(crate) raw: wgpu::BindGroupLayout,
    /// In their order.
    pub(crate) bindings: Vec<Binding>,
}

/// The pipelines compiled so far, their layouts, and the driver's cache.
pub(crate) struct Pipelines {
    place: ParamsPlace,
    checked: bool,
    compiled: RefCell<HashMap<(&'static str, Variant), Rc<Pipeline>>>,
    layouts: Layouts,
    disk: Option<disk::DiskCache>,
    unsaved: Cell<Duration>,
}

/// Layouts by what they describe.
#[derive(Default)]
struct Layouts {
    groups: RefCell<HashMap<Vec<Binding>, Rc<Layout>>>,
    pipelines: RefCell<HashMap<(usize, bool), wgpu::PipelineLayout>>,
    params: RefCell<Option<wgpu::BindGroupLayout>>,
}

impl Pipelines {
    /// No pipelines yet. With `checked`, kernels keep wgpu's bounds checks; with `folder`, the driver's cache is kept
    /// there between processes.
    ///
    /// # Errors
    /// As [`Context::guarded`]; a cache that cannot be used is not an error.
    pub(crate) fn new(context: &Context, checked: bool, folder: Option<PathBuf>) -> Result<Self> {
        let capabilities = context.capabilities();
        let disk = match folder.filter(|_| capabilities.pipeline_cache) {
            Some(folder) => Some(disk::DiskCache::open(context, &folder)?),
            None => None,
        };
        Ok(Self {
            place: if capabilities.immediates {
                ParamsPlace::Immediates
            } else {
                ParamsPlace::Uniform
            },
            checked,
            compiled: RefCell::default(),
            layouts: Layouts::default(),
            disk,
            unsaved: Cell::default(),
        })
    }

    /// Where kernels find their parameters.
    pub(crate) fn params_place(&self) -> ParamsPlace {
        self.place
    }

    /// The layout of the bind group with the parameters: one uniform block at a dynamic offset.
    pub(crate) fn params_layout(&self, device: &wgpu::Device) -> wgpu::BindGroupLayout {
        self.layouts.params(device)
    }

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
        if let Some(pipeline) = self.compiled.borrow().get(&key) {
            context.counters.update(|counters| counters.pipeline_hits += 1);
            return Ok(Rc::clone(pipeline));
        }
        let started = Instant::now();
        let loaded = shader::load(kernel, &key.1, self.place)?;
        let pipeline = context.guarded("compiling a kernel", |gpu| {
            self.compile(gpu, kernel, loaded, &key.1.constants)
        })?;
        let elapsed = started.elapsed();
        self.unsaved.set(self.unsaved.get() + elapsed);
        context.counters.update(|counters| {
            counters.pipelines += 1;
            counters.compile_time += elapsed;
        });
        log::debug!(target: "vectorgpu::gpu", "compiled {} {:?} in {elapsed:?}", kernel.name, key.1);
        let pipeline = Rc::new(pipeline);
        self.compiled.borrow_mut().insert(key, Rc::clone(&pipeline));
        Ok(pipeline)
    }

    /// Writes the driver's cache if enough was compiled since the last time. A failure is only logged.
    pub(crate) fn save(&self, context: &Context) {
        let unsaved = self.unsaved.get();
        if let Some(disk) = &self.disk
            && (unsaved >= WORTH_SAVING || disk.is_new() && !unsaved.is_zero())
        {
            self.unsaved.set(Duration::ZERO);
            disk.save(context);
        }
    }

    fn compile(
        &self,
        gpu: &Gpu,
        kernel: &'static Kernel,
        loaded: Module,
        constants: &[(&'static str, u32)],
    ) -> Pipeline {
        let device = &gpu.device;
        let label = format!("vectorgpu.{}", kernel.name);
        let layout = self.layouts.group(device, loaded.bindings);
        let pipeline_layout = self
            .layouts
            .pipeline(device, &layout, self.place, loaded.params_bytes > 0);
        let shader_module = trusted::shader_module(
            device,
            wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Naga(Cow::Owned(loaded.module)),
            },
            self.checked,
        );
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
            cache: self.disk.as_ref().map(disk::DiskCache::raw),
        });
        Pipeline {
            kernel: kernel.name,
            label,
            raw,
            layout,
            params_bytes: loaded.params_bytes,
            warm: Cell::new(false),
        }
    }
}

impl Layouts {
    fn group(&self, device: &wgpu::Device, bindings: Vec<Binding>) -> Rc<Layout> {
        let mut groups = self.groups.borrow_mut();
        if let Some(layout) = groups.get(&bindings) {
            return Rc::clone(layout);
        }
        let entries: Vec<_> = (0..)
            .zip(&bindings)
            .map(|(binding, of)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage {
                        read_only: of.read_only,
                    },
                    has_dynamic_offset: false,
                    min_binding_size: std::num::NonZero::new(of.bytes_min),
                },
                count: None,
            })
            .collect();
        let raw = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("vectorgpu.bindings"),
            entries: &entries,
        });
        let layout = Rc::new(Layout {
            number: groups.len(),
            raw,
            bindings: bindings.clone(),
        });
        groups.insert(bindings, Rc::clone(&layout));
        layout
    }

    fn pipeline(
        &self,
        device: &wgpu::Device,
        layout: &Layout,
        place: ParamsPlace,
        has_params: bool,
    ) -> wgpu::PipelineLayout {
        let mut pipelines = self.pipelines.borrow_mut();
        let known = pipelines.entry((layout.number, has_params));
        known
            .or_insert_with(|| {
                let params = (has_params && place == ParamsPlace::Uniform).then(|| self.params(device));
                let groups: Vec<_> = std::iter::once(Some(&layout.raw))
                    .chain(params.as_ref().map(Some))
                    .collect();
                device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some("vectorgpu.pipeline"),
                    bind_group_layouts: &groups,
                    immediate_size: if has_params && place == ParamsPlace::Immediates {
                        PARAMS_BYTES_MAX
                    } else {
                        0
                    },
                })
            })
            .clone()
    }

    fn params(&self, device: &wgpu::Device) -> wgpu::BindGroupLayout {
        self.params
            .borrow_mut()
            .get_or_insert_with(|| {
                device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some("vectorgpu.params"),
                    entries: &[wgpu::BindGroupLayoutEntry {
                        binding: 0,
                        visibility: wgpu::ShaderStages::COMPUTE,
                        ty: wgpu::BindingType::Buffer {
                            ty: wgpu::BufferBindingType::Uniform,
                            has_dynamic_offset: true,
                            min_binding_size: std::num::NonZero::new(u64::from(PARAMS_BYTES_MAX)),
                        },
                        count: None,
                    }],
                })
            })
            .clone()
    }
}

#[cfg(test)]
mod tests;
