//! BERT as a model of embeddings: a text becomes one vector, and texts that say alike become vectors that point alike.
//!
//! Every token looks at all tokens of its text, so texts are read whole. Several are read in one pass, one after the other without padding:
//! what is done to each token by itself is done to all at once, and attention stays inside each text. Source: J. Devlin et al., "BERT:
//! Pre-training of Deep Bidirectional Transformers for Language Understanding", 2019; N. Reimers and I. Gurevych, "Sentence-BERT", 2019.

mod parameters;

use std::ops::Range;

use vectorgpu_core::cpu::kernels;
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind, Result};

use parameters::{Parameters, Pooling};

use crate::format::TensorSource;
use crate::linear::{ActivationType, Linear, check_shape};
use crate::quant;
use crate::tensor::TensorView;
use crate::threads::Team;

/// Tokens of one pass, unless one text has more: so what is computed in between stays in caches, and memory is
/// used again instead of given back to the system.
const PASS_TOKENS: usize = 128;

/// A model.
#[derive(Debug)]
pub struct Bert {
    parameters: Parameters,
    words: TensorView,
    positions: TensorView,
    /// What is added to every token: all are of the first type.
    of_type: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    queries: Linear,
    keys: Linear,
    values: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// Makes numbers of mean 0 and variance 1 of a token's, then scales and moves each.
#[derive(Debug)]
struct Norm {
    weights: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Bert {
    /// Reads the model of a file, or of a folder with safetensors files.
    ///
    /// # Errors
    /// `CorruptFile` for tensors that are missing or of other shapes than the file says, `Unsupported`, `OutOfMemory`.
    pub fn read(file: &dyn TensorSource) -> Result<Self> {
        let parameters = Parameters::read(file.description())?;
        let Parameters { width, epsilon, .. } = parameters;
        let table = |name: &str, rows: usize| {
            let tensor = file.tensor(name)?;
            let rows = rows.max(tensor.shape().rows());
            check_shape(name, &tensor, &[rows, width]).map(|()| tensor)
        };
        let types = table("token_types.weight", 1)?.rows(0..1)?;
        let layers = (0..parameters.layers).map(|number| Layer::read(file, &parameters, number));
        Ok(Self {
            words: table("token_embd.weight", 1)?,
            positions: table("position_embd.weight", parameters.max_tokens)?,
            of_type: types.to_f32()?,
            norm: Norm::read(file, "token_embd_norm", width, epsilon)?,
            layers: layers.collect::<Result<_>>()?,
            parameters,
        })
    }

    /// Bytes of the weights of the layers, as the file has them.
    pub fn weight_bytes(&self) -> u64 {
        let linears = self.layers.iter().flat_map(|layer| {
            let attention = [
                &layer.queries,
                &layer.keys,
                &layer.values,
                &layer.attention_output,
            ];
            attention.into_iter().chain([&layer.up, &layer.down])
        });
        linears.map(Linear::weight_bytes).sum()
    }

    /// Layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Numbers of a vector.
    pub fn dims(&self) -> usize {
        self.parameters.width
    }

    /// Most tokens of a text.
    pub fn max_tokens(&self) -> usize {
        self.parameters.max_tokens
    }

    /// Tokens that it knows.
    pub fn vocabulary(&self) -> usize {
        self.words.shape().rows()
    }

    /// The vectors of `texts`, which are tokens each: `[texts, dims]`. A text's vector does not depend on the others, but
    /// for the rounding of a text of one token.
    ///
    /// # Errors
    /// `InvalidArgument` for a text without tokens or a token that is none, `LimitExceeded` for a text with more than
    /// [`Self::max_tokens`], `Cancelled`.
    pub fn embed(&self, texts: &[Vec<u32>], team: Team<'_>) -> Result<Vec<f32>> {
        let most = self.max_tokens();
        if let Some(text) = texts.iter().find(|text| text.is_empty() || text.len() > most) {
            return Err(match text.len() {
                0 => Error::new(ErrorKind::InvalidArgument, "a text without tokens"),
                tokens => Error::new(
                    ErrorKind::LimitExceeded,
                    format!("a text of {tokens} tokens, and the model reads {most} at most"),
                ),
            });
        }
        let mut vectors = Vec::with_capacity(texts.len() * self.dims());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|text| {
                tokens += text.len();
                tokens <= PASS_TOKENS
            });
            let (pass, after) = rest.split_at(fits.count().max(1));
            self.pass(pass, team, &mut vectors)?;
            rest = after;
        }
        Ok(vectors)
    }

    /// Appends the vectors of `texts`, all of which are read at once.
    fn pass(&self, texts: &[Vec<u32>], team: Team<'_>, vectors: &mut Vec<f32>) -> Result<()> {
        let width = self.dims();
        let (mut places, mut first) = (Vec::new(), 0);
        for text in texts {
            places.push(first..first + text.len());
            first += text.len();
        }
        let mut x = self.look_up(texts)?;
        self.norm.apply(&mut x);
        for layer in &self.layers {
            layer.apply(&mut x, &places, self.parameters.heads, team)?;
        }
        for place in places {
            let tokens = &x[place.start * width..place.end * width];
            let mut vector = match self.parameters.pooling {
                Pooling::First => tokens[..width].to_vec(),
                Pooling::Mean => mean(tokens, width),
            };
            if self.parameters.normalizes {
                normalize(&mut vector);
            }
            vectors.extend(vector);
        }
        Ok(())
    }

    /// What each token is by itself and by its place.
    fn look_up(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
        let width = self.dims();
        let mut x = Vec::new();
        let (mut word, mut position) = (vec![0.0; width], vec![0.0; width]);
        for text in texts {
            for (place, token) in text.iter().enumerate() {
                let row = self.words.row(*token as usize).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidArgument,
                        format!("{token} is not a token of the model"),
                    )
                })?;
                quant::decode(self.words.dtype(), row, &mut word)?;
                let row = self.positions.row(place).unwrap_or_default();
                quant::decode(self.positions.dtype(), row, &mut position)?;
                let parts = word.iter().zip(&position).zip(&self.of_type);
                x.extend(parts.map(|((word, position), of_type)| word + of_type + position));
            }
        }
        Ok(x)
    }
}

impl Layer {
    fn read(file: &dyn TensorSource, parameters: &Parameters, number: usize) -> Result<Self> {
        let Parameters {
            width,
            inner_width,
            epsilon,
            ..
        } = *parameters;
        let linear = |name: &str, outputs: usize, inputs: usize| {
            let weights = file.tensor(&format!("blk.{number}.{name}.weight"))?;
            let bias = file.tensor(&format!("blk.{number}.{name}.bias"))?;
            Linear::new(weights, Some(bias), outputs, inputs)
        };
        let norm = |name: &str| Norm::read(file, &format!("blk.{number}.{name}"), width, epsilon);
        Ok(Self {
            queries: linear("attn_q", width, width)?,
            keys: linear("attn_k", width, width)?,
            values: linear("attn_v", width, width)?,
            attention_output: linear("attn_output", width, width)?,
            attention_norm: norm("attn_output_norm")?,
            up: linear("ffn_up", inner_width, width)?,
            down: linear("ffn_down", width, inner_width)?,
            norm: norm("layer_output_norm")?,
        })
    }

    fn apply(&self, x: &mut [f32], texts: &[Range<usize>], heads: usize, team: Team<'_>) -> Result<()> {
        let tokens = x.len() / self.queries.inputs();
        let project = |linear: &Linear, input: &[f32]| -> Result<Vec<f32>> {
            let mut out = vec![0.0; tokens * linear.outputs()];
            linear.apply(input, &mut out, ActivationType::Int8, team)?;
            Ok(out)
        };
        let (queries, keys) = (project(&self.queries, x)?, project(&self.keys, x)?);
        let values = project(&self.values, x)?;
        let mut attended = vec![0.0; x.len()];
        attend(&queries, &keys, &values, texts, heads, &mut attended, team)?;
        add(x, &project(&self.attention_output, &attended)?);
        self.attention_norm.apply(x);
        let mut inner = project(&self.up, x)?;
        team.fill(&mut inner, self.up.outputs(), |_, inner| {
            inner.iter_mut().for_each(|x| *x = gelu(*x));
            Ok(())
        })?;
        add(x, &project(&self.down, &inner)?);
        self.norm.apply(x);
        Ok(())
    }
}

/// Writes to `out` what each head of each token's queries takes from the values of its text. All are `[tokens, heads, head]`.
fn attend(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    texts: &[Range<usize>],
    heads: usize,
    out: &mut [f32],
    team: Team<'_>,
) -> Result<()> {
    let tokens = texts.last().map_or(0, |text| text.end);
    let (width, head) = (out.len() / tokens, out.len() / tokens / heads);
    let mut rest = out;
    for text in texts {
        let here;
        (here, rest) = rest.split_at_mut(text.len() * width);
        let part = |numbers: &[f32]| numbers[text.start * width..text.end * width].to_vec();
        let (queries, count) = (part(queries), text.len());
        // Numbers that are multiplied with each other lie beside each other: keys by head, values by number of a head.
        let keys = by_head(&part(keys), heads, head);
        let values = transposed(&part(values), width);
        team.fill(here, width, |first, out| {
            let mut weights = vec![0.0; count];
            for (number, out) in out.chunks_exact_mut(head).enumerate() {
                let query = &queries[first + number * head..][..head];
                let of_head = number * head * count..(number + 1) * head * count;
                let keys = bytemuck::cast_slice(&keys[of_head.clone()]);
                kernels().block(Score::Dot, Element::F32, query, keys, &mut weights);
                softmax(&mut weights, (head as f32).sqrt().recip());
                let values = bytemuck::cast_slice(&values[of_head]);
                kernels().block(Score::Dot, Element::F32, &weights, values, out);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// `[tokens, heads, head]` as `[heads, tokens, head]`.
fn by_head(numbers: &[f32], heads: usize, head: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(numbers.len());
    for number in 0..heads {
        let of_tokens = numbers.chunks_exact(heads * head);
        of_tokens.for_each(|token| out.extend(&token[number * head..][..head]));
    }
    out
}

/// `[rows, width]` as `[width, rows]`.
fn transposed(numbers: &[f32], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(numbers.len());
    for column in 0..width {
        out.extend(numbers.iter().skip(column).step_by(width));
    }
    out
}

impl Norm {
    fn read(file: &dyn TensorSource, name: &str, width: usize, epsilon: f32) -> Result<Self> {
        let numbers = |kind: &str| {
            let name = format!("{name}.{kind}");
            let tensor = file.tensor(&name)?;
            check_shape(&name, &tensor, &[width])?;
            tensor.to_f32()
        };
        Ok(Self {
            weights: numbers("weight")?,
            bias: numbers("bias")?,
            epsilon,
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32")]
    fn apply(&self, x: &mut [f32]) {
        for x in x.chunks_exact_mut(self.weights.len()) {
            let count = x.len() as f64;
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
            x.iter_mut().for_each(|x| *x -= mean as f32);
            let variance = kernels().square(x) / count;
            let scale = (variance + f64::from(self.epsilon)).sqrt().recip() as f32;
            for ((x, weight), bias) in x.iter_mut().zip(&self.weights).zip(&self.bias) {
                *x = *x * scale * weight + bias;
            }
        }
    }
}

/// The mean of rows of `width` numbers.
fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let count = (rows.len() / width) as f64;
    let mut sums = vec![0.0f64; width];
    for row in rows.chunks_exact(width) {
        kernels().add(&mut sums, row, 1.0);
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32")]
    sums.iter().map(|sum| (sum / count) as f32).collect()
}

/// Gives a vector length 1, if it has a length.
fn normalize(vector: &mut [f32]) {
    let length = kernels().square(vector).sqrt();
    kernels().scale(vector, length.max(1e-12).recip());
}

/// Turns scores, times `scale`, into shares of 1.
fn softmax(scores: &mut [f32], scale: f32) {
    let most = scores
        .iter()
        .fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = ((*score - most) * scale).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// `x` times the share of the normal distribution below it.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + error_function(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function, to 1e-6, by operations that the compiler does for several numbers at once. Source: M. Abramowitz and I. Stegun,
/// "Handbook of Mathematical Functions", 1964, 7.1.28.
#[inline(always)]
fn error_function(x: f32) -> f32 {
    const FACTORS: [f32; 7] = [
        0.000_043_063_8,
        0.000_276_567_2,
        0.000_152_014_3,
        0.009_270_527,
        0.042_282_01,
        0.070_523_08,
        1.0,
    ];
    // Beyond, it is 1 to every digit, and the power would overflow.
    let distance = x.abs().clamp(0.0, 6.0);
    let sum = FACTORS.iter().fold(0.0, |sum, factor| sum * distance + factor);
    let power = sum * sum;
    let power = power * power;
    let power = power * power;
    (1.0 - 1.0 / (power * power)).copysign(x)
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests;
