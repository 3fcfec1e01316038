//! Decoders of the shape that Llama made common: RMS norms, rotary positions, grouped queries, gated feed-forward layers. Qwen2 differs in
//! the biases of queries, keys and values, and in which numbers its rotary positions pair.

use vectorgpu_core::cpu::kernels;
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::Parameters;
use super::rope::{Pairs, Rope};
use crate::batch::{self, Part, RowPlace};
use crate::cache::{BLOCK_TOKENS, CacheShape, KvCache};
use crate::format::TensorSource;
use crate::linear::{ActivationType, Linear, check_shape};
use crate::quant;
use crate::tensor::TensorView;
use crate::threads::Team;

/// A model.
#[derive(Debug)]
pub struct Llama {
    parameters: Parameters,
    pub(crate) embeddings: TensorView,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    pub(crate) output: Linear,
    pub(crate) rope: Rope,
    activation_type: ActivationType,
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) queries: Linear,
    pub(crate) keys: Linear,
    pub(crate) values: Linear,
    pub(crate) attention_output: Linear,
    pub(crate) norm: Vec<f32>,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

/// The rows of a pass.
#[derive(Debug, Clone, Copy)]
struct Rows<'a> {
    parts: &'a [Part<'a>],
    places: &'a [RowPlace],
}

/// What a forward pass may use.
pub struct Pass<'a> {
    /// Keys and values.
    pub cache: &'a mut KvCache,
    /// Who computes.
    pub team: Team<'a>,
}

impl Llama {
    /// Reads the model of a file, or of a folder with safetensors files.
    ///
    /// # Errors
    /// `CorruptFile` for tensors that are missing or of other shapes than the file says, `Unsupported`, `OutOfMemory`.
    pub fn read(file: &dyn TensorSource) -> Result<Self> {
        let parameters = Parameters::from_gguf(file.description())?;
        let embeddings = file.tensor("token_embd.weight")?;
        let vocabulary = embeddings.shape().rows();
        check_shape("token_embd.weight", &embeddings, &[vocabulary, parameters.width])?;
        let output = file
            .optional("output.weight")?
            .unwrap_or_else(|| embeddings.clone());
        let factors = file.optional("rope_freqs.weight")?;
        let factors = factors.map(|factors| {
            check_shape("rope_freqs.weight", &factors, &[parameters.rope_dims / 2])?;
            factors.to_f32()
        });
        let pairs = match parameters.architecture.as_str() {
            "llama" if file.pairs_are_adjacent() => Pairs::Adjacent,
            _ => Pairs::Halves,
        };
        let rope = Rope::new(
            pairs,
            parameters.rope_dims,
            parameters.rope_base,
            parameters.rope_scaling,
            factors.transpose()?.as_deref(),
        );
        let layers = (0..parameters.layers).map(|number| Layer::read(file, &parameters, number));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            norm: norm(file, "output_norm.weight", parameters.width)?,
            output: Linear::new(output, None, vocabulary, parameters.width)?,
            embeddings,
            rope,
            activation_type: ActivationType::default(),
            parameters,
        })
    }

    /// The same with another type of activations on the CPU.
    #[must_use]
    pub fn with_activations(self, activation_type: ActivationType) -> Self {
        Self {
            activation_type,
            ..self
        }
    }

    /// What the file says of its shape.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Tokens that it knows.
    pub fn vocabulary(&self) -> usize {
        self.output.outputs()
    }

    /// Bytes of the weights of the layers from `first` on, as the file has them.
    pub fn layer_bytes_from(&self, first: usize) -> u64 {
        let layers = self.layers.iter().skip(first);
        let linears = layers.flat_map(|layer| {
            let attention = [
                &layer.queries,
                &layer.keys,
                &layer.values,
                &layer.attention_output,
            ];
            attention.into_iter().chain([&layer.gate, &layer.up, &layer.down])
        });
        linears.map(Linear::weight_bytes).sum()
    }

    /// Bytes of the weights of embeddings and of the output layer; once where they are the same.
    pub fn end_bytes(&self) -> u64 {
        let embeddings = self.embeddings.as_bytes();
        let output = self.output.weight_bytes();
        let is_shared = self.output.is_of(&self.embeddings);
        embeddings.len() as u64 + if is_shared { 0 } else { output }
    }

    /// What a token keeps in the cache.
    pub fn cache_shape(&self) -> CacheShape {
        self.cache_shape_from(0)
    }

    /// What it keeps of the layers from `first` on.
    pub fn cache_shape_from(&self, first: usize) -> CacheShape {
        CacheShape {
            layers: self.parameters.layers - first,
            heads: self.parameters.kv_heads,
            head: self.parameters.head,
        }
    }

    /// Reads the tokens of `parts`, each of which follow those of its table, and writes to `logits`, `[rows, vocabulary]`, how likely each
    /// next token is, for those rows that are wanted, in their order. Tables have room for the tokens; they are the caller's to advance,
    /// when this has succeeded.
    ///
    /// # Errors
    /// `InvalidArgument` for a token that is none, `Cancelled`.
    ///
    /// # Panics
    /// When a table has no room.
    pub fn forward(&self, parts: &[Part<'_>], pass: &mut Pass<'_>, logits: &mut Vec<f32>) -> Result<()> {
        let x = self.embed(parts)?;
        self.forward_from(0, x, parts, pass, logits)
    }

    /// As [`Self::forward`], from layer `first` on: `x`, `[rows, width]`, is what the layers before have left, and `pass.cache` is of the
    /// layers that follow.
    ///
    /// # Errors
    /// `Cancelled`.
    ///
    /// # Panics
    /// When a table has no room.
    pub(crate) fn forward_from(
        &self,
        first: usize,
        mut x: Vec<f32>,
        parts: &[Part<'_>],
        pass: &mut Pass<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let width = self.parameters.width;
        let places = batch::row_places(parts);
        for (number, layer) in self.layers[first..].iter().enumerate() {
            let rows = Rows {
                parts,
                places: &places,
            };
            self.layer(layer, number, &mut x, rows, pass)?;
        }
        let wanted = batch::wanted_rows(parts);
        let mut last = Vec::with_capacity(wanted.len() * width);
        for row in &wanted {
            last.extend_from_slice(&x[row * width..][..width]);
        }
        let mut normed = vec![0.0; last.len()];
        rms_norm(&last, &self.norm, self.parameters.epsilon, &mut normed);
        logits.clear();
        logits.resize(wanted.len() * self.vocabulary(), 0.0);
        if wanted.is_empty() {
            return Ok(());
        }
        self.output
            .apply(&normed, logits, self.activation_type, pass.team)
    }

    /// What the tokens of `parts` stand for, `[rows, width]`.
    ///
    /// # Errors
    /// `InvalidArgument` for a token that is none.
    pub(crate) fn embed(&self, parts: &[Part<'_>]) -> Result<Vec<f32>> {
        let width = self.parameters.width;
        let tokens = || parts.iter().flat_map(|part| part.tokens);
        let mut x = vec![0.0; tokens().count() * width];
        for (token, x) in tokens().zip(x.chunks_exact_mut(width)) {
            let row = self.embeddings.row(*token as usize);
            let row = row.ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{token} is not a token of the model"),
                )
            })?;
            quant::decode(self.embeddings.dtype(), row, x)?;
        }
        Ok(x)
    }

    /// Does a layer, whose keys and values lie in layer `number` of the cache.
    fn layer(
        &self,
        layer: &Layer,
        number: usize,
        x: &mut [f32],
        rows: Rows<'_>,
        pass: &mut Pass<'_>,
    ) -> Result<()> {
        let parameters = &self.parameters;
        let tokens = x.len() / parameters.width;
        let mut normed = vec![0.0; x.len()];
        rms_norm(x, &layer.attention_norm, parameters.epsilon, &mut normed);
        let project = |linear: &Linear, input: &[f32], pass: &mut Pass<'_>| -> Result<Vec<f32>> {
            let mut out = vec![0.0; tokens * linear.outputs()];
            linear.apply(input, &mut out, self.activation_type, pass.team)?;
            Ok(out)
        };
        let mut queries = project(&layer.queries, &normed, pass)?;
        let mut keys = project(&layer.keys, &normed, pass)?;
        let values = project(&layer.values, &normed, pass)?;
        let (q_width, kv_width) = (layer.queries.outputs(), layer.keys.outputs());
        for (token, place) in rows.places.iter().enumerate() {
            let (table, position) = (rows.parts[place.part].table, place.position);
            let keys = &mut keys[token * kv_width..][..kv_width];
            self.rope.turn(
                &mut queries[token * q_width..][..q_width],
                parameters.head,
                position,
            );
            self.rope.turn(keys, parameters.head, position);
            let values = &values[token * kv_width..][..kv_width];
            pass.cache.write(table, number, position, keys, values);
        }
        let attended = self.attention(&queries, number, rows, pass)?;
        add(x, &project(&layer.attention_output, &attended, pass)?);
        rms_norm(x, &layer.norm, parameters.epsilon, &mut normed);
        let mut gate = project(&layer.gate, &normed, pass)?;
        let up = project(&layer.up, &normed, pass)?;
        for (gate, up) in gate.iter_mut().zip(&up) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
        add(x, &project(&layer.down, &gate, pass)?);
        Ok(())
    }

    /// What each head of each token's queries takes from the values so far.
    fn attention(
        &self,
        queries: &[f32],
        layer: usize,
        rows: Rows<'_>,
        pass: &mut Pass<'_>,
    ) -> Result<Vec<f32>> {
        let Parameters {
            heads,
            kv_heads,
            head,
            ..
        } = self.parameters;
        let cache = &*pass.cache;
        let mut attended = vec![0.0; queries.len()];
        pass.team.fill(&mut attended, head, |first, out| {
            let (token, query_head) = (first / head / heads, first / head % heads);
            let query = &queries[first..first + head];
            let kv_head = query_head / (heads / kv_heads);
            let place = rows.places[token];
            let (table, positions) = (rows.parts[place.part].table, place.position + 1);
            let mut weights = vec![0.0f32; positions.next_multiple_of(BLOCK_TOKENS)];
            let blocks = positions.div_ceil(BLOCK_TOKENS);
            for (number, weights) in weights.chunks_exact_mut(BLOCK_TOKENS).enumerate() {
                let keys = bytemuck::cast_slice(cache.keys(table, number, layer, kv_head));
                kernels().block(Score::Dot, Element::F16, query, keys, weights);
            }
            softmax(&mut weights[..positions], (head as f32).sqrt().recip());
            let mut row = vec![0.0f32; BLOCK_TOKENS * head];
            for number in 0..blocks {
                let values = bytemuck::cast_slice(cache.values(table, number, layer, kv_head));
                kernels().decode_f16(values, &mut row);
                let from = number * BLOCK_TOKENS;
                for (weight, row) in weights[from..positions].iter().zip(row.chunks_exact(head)) {
                    for (out, value) in out.iter_mut().zip(row) {
                        *out += weight * value;
                    }
                }
            }
            Ok(())
        })?;
        Ok(attended)
    }
}

impl Layer {
    fn read(file: &dyn TensorSource, parameters: &Parameters, number: usize) -> Result<Self> {
        let Parameters {
            width,
            inner_width,
            heads,
            kv_heads,
            head,
            ..
        } = *parameters;
        let linear = |name: &str, outputs: usize, inputs: usize| {
            let weights = file.tensor(&format!("blk.{number}.{name}.weight"))?;
            let bias = file.optional(&format!("blk.{number}.{name}.bias"))?;
            Linear::new(weights, bias, outputs, inputs)
        };
        let norm = |name: &str| norm(file, &format!("blk.{number}.{name}.weight"), width);
        Ok(Self {
            attention_norm: norm("attn_norm")?,
            queries: linear("attn_q", heads * head, width)?,
            keys: linear("attn_k", kv_heads * head, width)?,
            values: linear("attn_v", kv_heads * head, width)?,
            attention_output: linear("attn_output", width, heads * head)?,
            norm: norm("ffn_norm")?,
            gate: linear("ffn_gate", inner_width, width)?,
            up: linear("ffn_up", inner_width, width)?,
            down: linear("ffn_down", width, inner_width)?,
        })
    }
}

fn norm(file: &dyn TensorSource, name: &str, width: usize) -> Result<Vec<f32>> {
    let tensor = file.tensor(name)?;
    check_shape(name, &tensor, &[width])?;
    tensor.to_f32()
}

/// Divides each token's numbers by the root of their mean square, and multiplies them with `weights`.
fn rms_norm(x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32]) {
    let tokens = x
        .chunks_exact(weights.len())
        .zip(out.chunks_exact_mut(weights.len()));
    for (x, out) in tokens {
        let square = f64::from(kernels().row(Score::Dot, Element::F32, x, bytemuck::cast_slice(x)));
        #[expect(clippy::cast_possible_truncation, reason = "rounding to f32")]
        let scale = (square / x.len() as f64 + f64::from(epsilon)).sqrt().recip() as f32;
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weights) {
            *out = x * scale * weight;
        }
    }
}

/// Turns scores, times `scale`, into shares of 1.
fn softmax(scores: &mut [f32], scale: f32) {
    let largest = scores
        .iter()
        .fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = ((*score - largest) * scale).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
