//! A model on a GPU, as much of it as fits, and the rest on the CPU.

use std::rc::Rc;
use std::sync::Arc;

use vectorgpu_compute::Engine;
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::Decoder;
use crate::batch::Part;
use crate::cache::{BlockPool, KvCache};
use crate::gpu::plan::Plan;
use crate::gpu::{GpuModel, GpuShape};
use crate::model::llama::{Llama, Pass};
use crate::threads::Threads;

/// A model of which the first layers, or all, are on a GPU.
pub struct OnGpu {
    model: Arc<Llama>,
    threads: Arc<Threads>,
    device: GpuModel,
    /// Of the layers on the CPU.
    cache: KvCache,
    pool: BlockPool,
}

impl OnGpu {
    /// Puts so much of `model` on the device of `engine` as `plan` says; `threads` compute the rest.
    ///
    /// # Errors
    /// `Unsupported` for a model whose shape a GPU's kernels do not come in; `OutOfMemory`, the host's too, `Cancelled`, `DeviceLost`.
    pub fn new(
        engine: &Rc<Engine>,
        model: Arc<Llama>,
        threads: Arc<Threads>,
        shape: GpuShape,
        plan: Plan,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        let device = GpuModel::read(engine, &model, shape, plan, keep_waiting)?;
        let blocks = u32::try_from(shape.blocks).unwrap_or(u32::MAX);
        Ok(Self {
            cache: KvCache::new(model.cache_shape_from(device.layers()), blocks)?,
            pool: BlockPool::new(blocks),
            model,
            threads,
            device,
        })
    }

    /// Layers that are on the device.
    pub fn device_layers(&self) -> usize {
        self.device.layers()
    }
}

impl Decoder for OnGpu {
    fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    fn context(&self) -> usize {
        self.device.shape().context
    }

    fn rows_at_once(&self) -> usize {
        self.device.shape().rows
    }

    fn chooser(&mut self) -> Option<&mut GpuModel> {
        self.device.has_ends().then_some(&mut self.device)
    }

    fn pool(&mut self) -> &mut BlockPool {
        &mut self.pool
    }

    fn forward(
        &mut self,
        parts: &[Part<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        if self.device.has_ends() {
            return self.device.forward(parts, keep_waiting, logits);
        }
        let mut x = self.model.embed(parts)?;
        let first = self.device.layers();
        if first > 0 {
            x = self.device.hidden(parts, &x, keep_waiting)?;
        }
        let (model, cache) = (&*self.model, &mut self.cache);
        self.threads.run(keep_waiting, |team| {
            model.forward_from(first, x, parts, &mut Pass { cache, team }, logits)
        })
    }
}
