//! A model's memory on a device, and how it gets there.

use std::rc::Rc;

use vectorgpu_compute::{
    Array, BLOCK_TOKENS, Choice, Engine, Heads, LinearWeights, RowPlace, Sequences, Step, Tile, Turns,
};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::layer::{DeviceLayer, LayerWeights, LinearRows, WEIGHTS, linear};
use super::plan::{Plan, Sizes};
use crate::model::llama::Llama;

/// Account of what a pass needs between its kernels.
const SCRATCH: &str = "vectorgpu.llm.scratch";

/// Rows whose logits are computed at a time, and of single rows whose attention is.
pub(super) const FEW_ROWS: usize = 64;

/// A model's shape, and how much of its texts it is to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuShape {
    /// Numbers of a token between layers.
    pub width: usize,
    /// Numbers inside a gated layer.
    pub inner_width: usize,
    /// Heads of a layer.
    pub heads: Heads,
    /// Added to a mean square before its root is taken.
    pub epsilon: f32,
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Blocks of 16 positions for keys and values of all texts.
    pub blocks: usize,
    /// Most tokens of a text.
    pub context: usize,
    /// Most rows of a pass.
    pub rows: usize,
    /// Pairs of a head's numbers that positions turn.
    pub pairs: usize,
    /// Whether a pair are numbers beside each other.
    pub adjacent: bool,
}

impl GpuShape {
    /// The shape of `model`, for texts of `context` tokens at most, which have `cache_tokens` together, and passes of `rows` rows.
    #[must_use]
    pub fn of(model: &Llama, context: usize, cache_tokens: usize, rows: usize) -> Self {
        let parameters = model.parameters();
        Self {
            width: parameters.width,
            inner_width: parameters.inner_width,
            heads: Heads {
                queries: parameters.heads,
                keys: parameters.kv_heads,
                numbers: parameters.head,
            },
            epsilon: parameters.epsilon,
            vocabulary: model.vocabulary(),
            blocks: cache_tokens.div_ceil(BLOCK_TOKENS).max(1),
            context: context.min(parameters.context).max(1),
            rows: rows.max(1),
            pairs: model.rope.pairs(),
            adjacent: model.rope.is_adjacent(),
        }
    }

    /// Blocks of a text's table.
    pub(super) fn table_blocks(&self) -> usize {
        self.context.div_ceil(BLOCK_TOKENS)
    }

    /// Numbers that attention gives for a row.
    pub(super) fn attended(&self) -> usize {
        self.heads.queries * self.heads.numbers
    }

    /// Rows of the smaller arrays.
    pub(super) fn few_rows(&self) -> usize {
        self.rows.min(FEW_ROWS)
    }

    /// Numbers of each array of f32 in [`Scratch`], in the order of its fields.
    fn numbers(&self) -> [usize; 7] {
        [
            self.rows * self.width,
            self.rows * self.heads.row_numbers(),
            self.rows * self.attended(),
            self.rows * self.inner_width,
            Step::attention_scratch(self.heads, self.few_rows(), self.context),
            self.few_rows() * self.width,
            self.few_rows() * self.vocabulary,
        ]
    }

    /// What a model of this shape takes, with its layers as `model` has them.
    ///
    /// # Errors
    /// `Unsupported` for widths that a device's kernels do not come in.
    pub fn sizes(&self, model: &Llama) -> Result<Sizes> {
        let layers = model.layers.iter();
        let layers = layers.map(|layer| LayerWeights::of(layer).device_bytes(self));
        let numbers = self.numbers().iter().sum::<usize>() + 2 * self.context * self.pairs;
        let words = self.rows * (4 + self.table_blocks());
        let ends = Ends::of(model);
        Ok(Sizes {
            layers: layers.collect::<Result<_>>()?,
            layer_cache: (self.blocks * BLOCK_TOKENS * self.heads.keys * self.heads.numbers * 4) as u64,
            ends: ends.device_bytes(self.width)?,
            // Buffers are a quarter larger at most, so that their sizes repeat.
            scratch: (4 * (numbers + words)) as u64 / 4 * 5,
        })
    }
}

/// What makes numbers of tokens and logits of numbers, as a file has it.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// `[vocabulary, width]`.
    pub embeddings: LinearRows<'a>,
    /// Of the last norm.
    pub norm: &'a [f32],
    /// `[vocabulary, width]`; `None` where it is the embeddings again.
    pub output: Option<LinearRows<'a>>,
}

impl<'a> Ends<'a> {
    fn of(model: &'a Llama) -> Self {
        let (embeddings, output) = (&model.embeddings, model.output.weights());
        let is_same = std::ptr::eq(embeddings.as_bytes(), output.as_bytes());
        let weight_type = super::layer::weight_type(embeddings.dtype());
        Self {
            embeddings: LinearRows::plain(weight_type, model.vocabulary(), embeddings.as_bytes()),
            norm: &model.norm,
            output: (!is_same).then(|| LinearRows::of(&model.output)),
        }
    }

    fn device_bytes(&self, width: usize) -> Result<u64> {
        let mut bytes = 4 * width as u64;
        for linear in [Some(self.embeddings), self.output].into_iter().flatten() {
            bytes += linear.rows.weight_type.device_bytes(linear.rows.outputs, width)?;
        }
        Ok(bytes)
    }
}

/// The ends on the device.
pub(super) struct DeviceEnds {
    pub(super) embeddings: LinearWeights,
    pub(super) norm: Array<f32>,
    pub(super) output: LinearWeights,
}

/// What kernels of a pass leave to each other, and what the host tells them.
pub(super) struct Scratch {
    pub(super) x: Array<f32>,
    pub(super) rows_in: Array<f32>,
    pub(super) attended: Array<f32>,
    pub(super) inner: Array<f32>,
    pub(super) spans: Array<f32>,
    pub(super) last: Array<f32>,
    pub(super) logits: Array<f32>,
    pub(super) tokens: Array<u32>,
    pub(super) tiles: Array<Tile>,
    pub(super) wanted: Array<u32>,
    pub(super) choices: Array<Choice>,
    /// The tokens that were chosen last.
    pub(super) chosen: Array<u32>,
    pub(super) sequences: Sequences,
}

/// The first layers of a model on a device, or all of it.
pub struct GpuModel {
    pub(super) engine: Rc<Engine>,
    pub(super) shape: GpuShape,
    pub(super) layers: Vec<DeviceLayer>,
    pub(super) ends: Option<DeviceEnds>,
    pub(super) turns: Turns,
    pub(super) scratch: Scratch,
    /// The block tables that the device has; empty where that is not known.
    pub(super) tables_held: Vec<u32>,
}

impl GpuModel {
    /// A model without layers. `turns` are cosines and sines, `[shape.context, shape.pairs]`.
    ///
    /// # Errors
    /// `InvalidArgument` for heads that kernels cannot work with, or other turns; `LimitExceeded` for arrays that are too large for the
    /// device, `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub fn new(
        engine: &Rc<Engine>,
        shape: GpuShape,
        turns: &[[f32; 2]],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        shape.heads.check()?;
        let table = engine.upload(WEIGHTS, turns, keep_waiting)?;
        Ok(Self {
            turns: Turns::new(table, shape.pairs, shape.adjacent)?,
            scratch: Scratch::new(engine, &shape, keep_waiting)?,
            engine: Rc::clone(engine),
            shape,
            layers: Vec::new(),
            ends: None,
            tables_held: Vec::new(),
        })
    }

    /// Sends so much of `model` to the device as `plan` says.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::push_layer`].
    pub fn read(
        engine: &Rc<Engine>,
        model: &Llama,
        shape: GpuShape,
        plan: Plan,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        let turns: Vec<[f32; 2]> = (0..shape.context)
            .flat_map(|position| model.rope.turns(position))
            .collect();
        let mut device = Self::new(engine, shape, &turns, keep_waiting)?;
        for layer in model.layers.iter().take(plan.layers) {
            device.push_layer(&LayerWeights::of(layer), keep_waiting)?;
        }
        if plan.ends && plan.layers >= model.layers.len() {
            device.set_ends(&Ends::of(model), keep_waiting)?;
        }
        Ok(device)
    }

    /// Sends the next layer.
    ///
    /// # Errors
    /// `InvalidArgument` for other shapes, `Unsupported` for rows that are no multiple of 32 long; `OutOfMemory`, `Cancelled`,
    /// `DeviceLost`.
    pub fn push_layer(&mut self, layer: &LayerWeights<'_>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let layer = DeviceLayer::send(&self.engine, layer, &self.shape, self.shape.blocks, keep_waiting)?;
        self.layers.push(layer);
        Ok(())
    }

    /// Sends embeddings and the output layer.
    ///
    /// # Errors
    /// As [`Self::push_layer`].
    pub fn set_ends(&mut self, ends: &Ends<'_>, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let mut send = |rows| linear(&self.engine, self.shape.width, &[rows], keep_waiting);
        let embeddings = send(ends.embeddings)?;
        let output = match ends.output {
            Some(output) => send(output)?,
            None => embeddings.clone(),
        };
        self.ends = Some(DeviceEnds {
            embeddings,
            output,
            norm: self.engine.upload(WEIGHTS, ends.norm, keep_waiting)?,
        });
        Ok(())
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &GpuShape {
        &self.shape
    }

    /// Layers that are on the device.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Whether tokens go in and logits come out: embeddings and output layer are on the device.
    #[must_use]
    pub fn has_ends(&self) -> bool {
        self.ends.is_some()
    }
}

impl Scratch {
    fn new(engine: &Engine, shape: &GpuShape, keep_waiting: &mut KeepWaiting<'_>) -> Result<Self> {
        let [x, rows_in, attended, inner, spans, last, logits] = shape.numbers();
        let rows = shape.rows;
        let mut numbers = |len| engine.array(SCRATCH, len, keep_waiting);
        let (x, rows_in, attended, inner) = (
            numbers(x)?,
            numbers(rows_in)?,
            numbers(attended)?,
            numbers(inner)?,
        );
        let (spans, last, logits) = (numbers(spans)?, numbers(last)?, numbers(logits)?);
        let places: Array<RowPlace> = engine.array(SCRATCH, rows, keep_waiting)?;
        let tables = engine.array(SCRATCH, rows * shape.table_blocks(), keep_waiting)?;
        Ok(Self {
            x,
            rows_in,
            attended,
            inner,
            spans,
            last,
            logits,
            tokens: engine.array(SCRATCH, rows, keep_waiting)?,
            tiles: engine.array(SCRATCH, rows, keep_waiting)?,
            wanted: engine.array(SCRATCH, shape.few_rows(), keep_waiting)?,
            choices: engine.array(SCRATCH, shape.few_rows(), keep_waiting)?,
            chosen: engine.array(SCRATCH, shape.few_rows(), keep_waiting)?,
            sequences: Sequences::new(places, tables, shape.table_blocks())?,
        })
    }
}
