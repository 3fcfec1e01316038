//! Where a text model is computed: on a GPU as many of its first layers as fit the memory limit, the rest on the CPU.
//!
//! `vectorgpu.device` decides. Under `auto` a GPU is taken where the machine has one that is no software, since it reads weights at many
//! times the rate of a CPU; whether there is one is found out when the session reads its first text model.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use vectorgpu_compute::{DeviceChoice, DeviceKind, Engine};
use vectorgpu_core::backend::is_device_failure;
use vectorgpu_core::{ErrorKind, Result};
use vectorgpu_llm::decoder::{Decoder, OnCpu, OnGpu};
use vectorgpu_llm::gpu::GpuShape;
use vectorgpu_llm::gpu::plan::Plan;
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::threads::Threads;

use crate::gpu::lifecycle;
use crate::guc::Device;
use crate::pg::interrupt::{self, keep_waiting};

/// Rows of a pass on a GPU: enough to use each weight often.
const GPU_ROWS: usize = 512;
/// On software Vulkan such a pass would take seconds.
const SOFTWARE_ROWS: usize = 32;

thread_local! {
    /// This session has looked for a GPU under `auto`, and found none.
    static HAS_NONE: Cell<bool> = const { Cell::new(false) };
}

/// Where a model is, and what it takes there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    /// The adapter's name, or `cpu`.
    pub(crate) device: String,
    /// Layers on it.
    pub(crate) gpu_layers: usize,
    /// Weights that the CPU reads, and keys and values there.
    pub(crate) cpu_bytes: u64,
    /// What is in the device's memory.
    pub(crate) gpu_bytes: u64,
}

/// How many tokens there is to be room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Of a text.
    pub(super) context: usize,
    /// Of all texts at the same time.
    pub(super) cache_tokens: usize,
}

/// The engine on which the session wants its text models, if on one.
///
/// # Errors
/// Where a GPU was asked for, what opening it reports.
pub(super) fn wanted_engine() -> Result<Option<Rc<Engine>>> {
    match Device::chosen() {
        Device::Cpu => Ok(None),
        Device::Gpu(choice) => lifecycle::engine(&choice).map(Some),
        Device::Auto => Ok(automatic_engine()),
    }
}

fn automatic_engine() -> Option<Rc<Engine>> {
    if HAS_NONE.get() || !interrupt::is_client_backend() {
        return None;
    }
    let engine = lifecycle::engine(&DeviceChoice::Auto).ok();
    let engine = engine.filter(|engine| engine.adapter().kind != DeviceKind::Software);
    HAS_NONE.set(engine.is_none());
    engine
}

/// Puts `model` where it is to be computed.
///
/// # Errors
/// `OutOfMemory`, `Cancelled`; where a GPU was asked for, what that reports.
pub(super) fn decoder(
    model: &Arc<Llama>,
    threads: Arc<Threads>,
    room: Room,
    engine: Option<&Rc<Engine>>,
) -> Result<(Box<dyn Decoder>, Placement)> {
    if let Some(engine) = engine {
        match on_gpu(model, &threads, room, engine) {
            Ok(placed) => return Ok(placed),
            Err(error) if Device::chosen() == Device::Auto && is_device_failure(&error) => {
                log::warn!("the GPU cannot take the model: {}; the CPU does", error.message());
            }
            Err(error) => return Err(error),
        }
    }
    let shape = model.cache_shape();
    let placement = Placement {
        device: "cpu".to_owned(),
        gpu_layers: 0,
        cpu_bytes: model.layer_bytes_from(0) + model.end_bytes() + shape.bytes(room.cache_tokens),
        gpu_bytes: 0,
    };
    let decoder = OnCpu::new(Arc::clone(model), threads, room.context, room.cache_tokens)?;
    Ok((Box::new(decoder), placement))
}

fn on_gpu(
    model: &Arc<Llama>,
    threads: &Arc<Threads>,
    room: Room,
    engine: &Rc<Engine>,
) -> Result<(Box<dyn Decoder>, Placement)> {
    let is_software = engine.adapter().kind == DeviceKind::Software;
    let rows = if is_software { SOFTWARE_ROWS } else { GPU_ROWS };
    let shape = GpuShape::of(model, room.context, room.cache_tokens, rows);
    let sizes = shape.sizes(model)?;
    let memory = engine.memory();
    let mut plan = Plan::new(&sizes, memory.limit_bytes.saturating_sub(memory.used_bytes));
    let decoder = loop {
        match OnGpu::new(
            engine,
            Arc::clone(model),
            Arc::clone(threads),
            shape,
            plan,
            &mut keep_waiting,
        ) {
            // Memory comes in pieces, and others use the device too: there may be less than was planned for.
            Err(error) if error.kind() == ErrorKind::OutOfMemory && plan.layers > 1 => {
                plan = Plan {
                    layers: plan.layers * 7 / 8,
                    ends: false,
                };
                engine.trim();
            }
            decoder => break decoder?,
        }
    };
    let ends = if plan.ends { 0 } else { model.end_bytes() };
    let placement = Placement {
        device: engine.adapter().name.clone(),
        gpu_layers: plan.layers,
        cpu_bytes: model.layer_bytes_from(plan.layers)
            + ends
            + model.cache_shape_from(plan.layers).bytes(room.cache_tokens),
        gpu_bytes: plan.bytes(&sizes),
    };
    Ok((Box::new(decoder), placement))
}
