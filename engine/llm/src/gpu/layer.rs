//! A layer's weights: as a file has them, and on a device.

use vectorgpu_compute::{Array, Engine, GatedWeights, LayerCache, LinearWeights, WeightRows, WeightType};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::GpuShape;
use crate::linear::Linear;
use crate::model::llama::Layer;
use crate::tensor::DType;

/// Account of weights in device memory.
pub(super) const WEIGHTS: &str = "vectorgpu.llm.weights";
/// Account of keys and values.
const CACHE: &str = "vectorgpu.llm.cache";

/// A matrix and its bias, as a file has them.
#[derive(Debug, Clone, Copy)]
pub struct LinearRows<'a> {
    /// `[outputs, inputs]`.
    pub rows: WeightRows<'a>,
    /// `[outputs]`.
    pub bias: Option<&'a [f32]>,
}

/// A layer's weights, as a file has them.
#[derive(Debug, Clone, Copy)]
pub struct LayerWeights<'a> {
    /// Of the norm before attention.
    pub attention_norm: &'a [f32],
    /// Queries, keys, values.
    pub attention: [LinearRows<'a>; 3],
    /// From what attention gives.
    pub attention_output: LinearRows<'a>,
    /// Of the norm before the gated layer.
    pub norm: &'a [f32],
    /// What goes through the other one.
    pub gate: LinearRows<'a>,
    /// What is let through.
    pub up: LinearRows<'a>,
    /// Back to the layer's width.
    pub down: LinearRows<'a>,
}

/// A layer on the device, with its keys and values.
pub(super) struct DeviceLayer {
    pub(super) attention_norm: Array<f32>,
    pub(super) attention: LinearWeights,
    pub(super) attention_output: LinearWeights,
    pub(super) norm: Array<f32>,
    pub(super) gated: GatedWeights,
    pub(super) down: LinearWeights,
    pub(super) cache: LayerCache,
}

impl<'a> LinearRows<'a> {
    /// A matrix without a bias.
    #[must_use]
    pub fn plain(weight_type: WeightType, outputs: usize, bytes: &'a [u8]) -> Self {
        let rows = WeightRows {
            weight_type,
            outputs,
            bytes,
        };
        Self { rows, bias: None }
    }

    /// A layer of the CPU's.
    pub(super) fn of(linear: &'a Linear) -> Self {
        let weights = linear.weights();
        Self {
            rows: WeightRows {
                weight_type: weight_type(weights.dtype()),
                outputs: linear.outputs(),
                bytes: weights.as_bytes(),
            },
            bias: linear.bias(),
        }
    }
}

impl<'a> LayerWeights<'a> {
    /// A layer of the CPU's.
    pub(super) fn of(layer: &'a Layer) -> Self {
        Self {
            attention_norm: &layer.attention_norm,
            attention: [&layer.queries, &layer.keys, &layer.values].map(LinearRows::of),
            attention_output: LinearRows::of(&layer.attention_output),
            norm: &layer.norm,
            gate: LinearRows::of(&layer.gate),
            up: LinearRows::of(&layer.up),
            down: LinearRows::of(&layer.down),
        }
    }

    /// What it takes on a device, in bytes, without keys and values.
    ///
    /// # Errors
    /// `Unsupported` for widths that a device's kernels do not come in.
    pub(super) fn device_bytes(&self, shape: &GpuShape) -> Result<u64> {
        let attended = shape.heads.queries * shape.heads.numbers;
        let [queries, keys, values] = self.attention;
        let of_inputs = [
            (queries, shape.width),
            (keys, shape.width),
            (values, shape.width),
            (self.attention_output, attended),
            (self.gate, shape.width),
            (self.up, shape.width),
            (self.down, shape.inner_width),
        ];
        let mut bytes = 8 * shape.width as u64;
        for (linear, inputs) in of_inputs {
            let rows = linear.rows;
            bytes += rows.weight_type.device_bytes(rows.outputs, inputs)?;
        }
        Ok(bytes)
    }
}

impl DeviceLayer {
    /// Sends a layer, and takes memory for `blocks` blocks of keys and values.
    pub(super) fn send(
        engine: &Engine,
        layer: &LayerWeights<'_>,
        shape: &GpuShape,
        blocks: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        let attended = shape.heads.queries * shape.heads.numbers;
        if layer.gate.bias.is_some() || layer.up.bias.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "gated layers with a bias are not supported on a GPU",
            ));
        }
        Ok(Self {
            attention_norm: engine.upload(WEIGHTS, layer.attention_norm, keep_waiting)?,
            attention: linear(engine, shape.width, &layer.attention, keep_waiting)?,
            attention_output: linear(engine, attended, &[layer.attention_output], keep_waiting)?,
            norm: engine.upload(WEIGHTS, layer.norm, keep_waiting)?,
            gated: engine.upload_gated(WEIGHTS, shape.width, layer.gate.rows, layer.up.rows, keep_waiting)?,
            down: linear(engine, shape.inner_width, &[layer.down], keep_waiting)?,
            cache: engine.layer_cache(CACHE, shape.heads, blocks, keep_waiting)?,
        })
    }
}

/// Sends matrices of the same inputs, whose outputs come one after the other.
pub(super) fn linear(
    engine: &Engine,
    inputs: usize,
    matrices: &[LinearRows<'_>],
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<LinearWeights> {
    let rows: Vec<WeightRows<'_>> = matrices.iter().map(|linear| linear.rows).collect();
    let weights = engine.upload_weights(WEIGHTS, inputs, &rows, keep_waiting)?;
    if matrices.iter().all(|linear| linear.bias.is_none()) {
        return Ok(weights);
    }
    let mut bias = Vec::with_capacity(weights.outputs());
    for linear in matrices {
        match linear.bias {
            Some(of_linear) => bias.extend_from_slice(of_linear),
            None => bias.resize(bias.len() + linear.rows.outputs, 0.0),
        }
    }
    weights.with_bias(engine.upload(WEIGHTS, &bias, keep_waiting)?)
}

/// The name that the device's crate has for a type.
pub(super) fn weight_type(dtype: DType) -> WeightType {
    match dtype {
        DType::F32 => WeightType::F32,
        DType::F16 => WeightType::F16,
        DType::BF16 => WeightType::BF16,
        DType::Blocks(of_type) => WeightType::Blocks(of_type),
    }
}
