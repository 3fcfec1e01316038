//! Linear layers on the CPU.

use vectorgpu_core::blocks::{Activations, BlockType, Numbers};
use vectorgpu_core::cpu::{Panels, kernels};
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::quant;
use crate::tensor::{DType, TensorView};
use crate::threads::Team;

/// Rows of weights that a thread takes at a time, at most.
const ROWS_AT_ONCE: usize = 256;
/// Into so many runs the rows are cut at least.
const RUNS: usize = 8;
/// Tokens whose numbers are brought back beside each other by one thread: so many stand in a line of the cache.
const TOKENS_TOGETHER: usize = 16;
/// Rows of weights that are decoded for a tiled product.
const ROWS_OF_TILES: usize = 96;

/// What activations are rounded to before they are multiplied with quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActivationType {
    /// Bytes with a scale for each 32, as other engines do: an error of up to 1/254 of the largest.
    #[default]
    Int8,
    /// The same, and what that loses once more: an error 250 times smaller, for twice the products.
    Int16,
}

impl ActivationType {
    /// The one of this name.
    ///
    /// # Errors
    /// `InvalidArgument` for another name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "int8" => Ok(Self::Int8),
            "int16" => Ok(Self::Int16),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("there are no activations of type \"{name}\""),
            )
            .with_hint("Types are int8 and int16.")),
        }
    }
}

/// A matrix, and what is added to its product.
#[derive(Debug)]
pub struct Linear {
    weights: TensorView,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// `weights` of `[outputs, inputs]`, and `bias` of `[outputs]`.
    ///
    /// # Errors
    /// `CorruptFile` for other shapes.
    pub fn new(weights: TensorView, bias: Option<TensorView>, outputs: usize, inputs: usize) -> Result<Self> {
        check_shape("weights", &weights, &[outputs, inputs])?;
        let bias = bias.map(|bias| check_shape("bias", &bias, &[outputs]).and_then(|()| bias.to_f32()));
        Ok(Self {
            weights,
            bias: bias.transpose()?,
        })
    }

    /// The matrix, as the file has it.
    pub(crate) fn weights(&self) -> &TensorView {
        &self.weights
    }

    /// What is added.
    pub(crate) fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Bytes of the weights as the file has them.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.as_bytes().len() as u64
    }

    /// Whether the weights are the numbers of `tensor`, not only like them.
    pub fn is_of(&self, tensor: &TensorView) -> bool {
        std::ptr::eq(self.weights.as_bytes(), tensor.as_bytes())
    }

    /// Numbers that go in for each token.
    pub fn inputs(&self) -> usize {
        self.weights.shape().row_elements()
    }

    /// Numbers that come out for each token.
    pub fn outputs(&self) -> usize {
        self.weights.shape().rows()
    }

    /// Writes to `out`, `[tokens, outputs]`, what `x`, `[tokens, inputs]`, becomes.
    ///
    /// # Errors
    /// `Cancelled`.
    ///
    /// # Panics
    /// When the lengths do not agree.
    pub fn apply(
        &self,
        x: &[f32],
        out: &mut [f32],
        activation_type: ActivationType,
        team: Team<'_>,
    ) -> Result<()> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let tokens = x.len() / inputs;
        assert_eq!(
            (x.len(), out.len()),
            (tokens * inputs, tokens * outputs),
            "lengths"
        );
        if tokens == 1 {
            // Its products are where they belong; one round of the threads less, of which a token takes hundreds.
            self.multiply(x, out, activation_type, team)?;
            let bias = self.bias.iter().flatten();
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            return Ok(());
        }
        let mut by_row = vec![0.0; out.len()];
        self.multiply(x, &mut by_row, activation_type, team)?;
        team.fill(out, TOKENS_TOGETHER * outputs, |first, out| {
            let (first, count) = (first / outputs, out.len() / outputs);
            for (row, products) in by_row.chunks_exact(tokens).enumerate() {
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[row]);
                for (token, product) in products[first..first + count].iter().enumerate() {
                    out[token * outputs + row] = product + bias;
                }
            }
            Ok(())
        })
    }

    /// Writes to `by_row`, `[outputs, tokens]`, the products: by rows of weights, each of which is decoded once.
    fn multiply(
        &self,
        x: &[f32],
        by_row: &mut [f32],
        activation_type: ActivationType,
        team: Team<'_>,
    ) -> Result<()> {
        match self.weights.dtype().block_type() {
            Some(of_type) => match activation_type {
                ActivationType::Int8 => self.multiply_blocks(of_type, x, by_row, team),
                ActivationType::Int16 => self.multiply_finely(of_type, x, by_row, team),
            },
            None if x.len() == self.inputs() => self.multiply_one(x, by_row, team),
            None => self.multiply_many(x, by_row, team),
        }
    }

    /// Writes to `by_row`, `[outputs, tokens]`, the products of quantised weights with rounded tokens.
    fn multiply_blocks(
        &self,
        of_type: BlockType,
        x: &[f32],
        by_row: &mut [f32],
        team: Team<'_>,
    ) -> Result<()> {
        let tokens = x.len() / self.inputs();
        let mut activations = Activations::default();
        activations.round(x, self.inputs())?;
        let run = ROWS_AT_ONCE.min(self.outputs().div_ceil(RUNS)).max(1);
        team.fill(by_row, run * tokens, |first, products| {
            let mut numbers = Numbers::with_room(self.inputs())?;
            for (number, products) in (first / tokens..).zip(products.chunks_mut(tokens)) {
                let row = self.weights.row(number).unwrap_or_default();
                kernels().multiply_row(of_type, row, &activations, &mut numbers, products);
            }
            Ok(())
        })
    }

    /// The same with tokens and what rounding them loses, as twice as many tokens.
    fn multiply_finely(
        &self,
        of_type: BlockType,
        x: &[f32],
        by_row: &mut [f32],
        team: Team<'_>,
    ) -> Result<()> {
        let (inputs, tokens) = (self.inputs(), x.len() / self.inputs());
        let mut activations = Activations::default();
        activations.round(x, inputs)?;
        let mut both = vec![0.0; 2 * x.len()];
        let (whole, lost) = both.split_at_mut(x.len());
        whole.copy_from_slice(x);
        for (token, (lost, x)) in lost
            .chunks_exact_mut(inputs)
            .zip(x.chunks_exact(inputs))
            .enumerate()
        {
            activations.values(token, lost);
            lost.iter_mut().zip(x).for_each(|(lost, x)| *lost = x - *lost);
        }
        let mut products = vec![0.0; 2 * by_row.len()];
        self.multiply_blocks(of_type, &both, &mut products, team)?;
        for (sums, products) in by_row
            .chunks_exact_mut(tokens)
            .zip(products.chunks_exact(2 * tokens))
        {
            let (whole, lost) = products.split_at(tokens);
            for ((sum, whole), lost) in sums.iter_mut().zip(whole).zip(lost) {
                *sum = whole + lost;
            }
        }
        Ok(())
    }

    /// The same of other weights with one token.
    fn multiply_one(&self, x: &[f32], by_row: &mut [f32], team: Team<'_>) -> Result<()> {
        let run = ROWS_AT_ONCE.min(self.outputs().div_ceil(RUNS)).max(1);
        team.fill(by_row, run, |first, products| {
            let mut row = vec![0.0; self.inputs()];
            for (number, product) in (first..).zip(products) {
                let bytes = self.weights.row(number).unwrap_or_default();
                quant::decode(self.weights.dtype(), bytes, &mut row)?;
                *product = kernels().row(Score::Dot, Element::F32, &row, bytemuck::cast_slice(x));
            }
            Ok(())
        })
    }

    /// The same with many tokens, as a tiled product: each part of the rows packs the tokens for itself, so parts are few.
    fn multiply_many(&self, x: &[f32], by_row: &mut [f32], team: Team<'_>) -> Result<()> {
        let (inputs, tokens) = (self.inputs(), x.len() / self.inputs());
        let vectors: Vec<&[f32]> = x.chunks_exact(inputs).collect();
        let run = self.outputs().div_ceil(team.threads()).max(ROWS_OF_TILES);
        team.fill(by_row, run * tokens, |first, products| {
            let mut panels = Panels::default();
            panels.pack(inputs, &vectors)?;
            let mut decoded = Vec::new();
            for (part, products) in products.chunks_mut(ROWS_OF_TILES * tokens).enumerate() {
                let from = first / tokens + part * ROWS_OF_TILES;
                let rows = self.weights.rows(from..from + products.len() / tokens)?;
                let rows = floats(&rows, &mut decoded)?;
                let width = panels.width();
                panels.multiply(rows, &mut |_| Ok(()), &mut |tile| {
                    let of_rows = products[tile.first_row * tokens..].chunks_exact_mut(tokens);
                    for (products, dots) in of_rows.zip(tile.dots.chunks_exact(width)) {
                        let products = &mut products[tile.first_vector..];
                        let count = products.len().min(width);
                        products[..count].copy_from_slice(&dots[..count]);
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}

/// The elements of `rows`: where they lie, or decoded into `room`.
fn floats<'a>(rows: &'a TensorView, room: &'a mut Vec<f32>) -> Result<&'a [f32]> {
    // No format promises that they are aligned; most are.
    if cfg!(target_endian = "little")
        && rows.dtype() == DType::F32
        && let Ok(aligned) = bytemuck::try_cast_slice(rows.as_bytes())
    {
        return Ok(aligned);
    }
    room.resize(rows.shape().elements(), 0.0);
    quant::decode(rows.dtype(), rows.as_bytes(), room)?;
    Ok(room)
}

/// Checks the shape of a tensor of a model.
///
/// # Errors
/// `CorruptFile` for another one.
pub fn check_shape(name: &str, tensor: &TensorView, expected: &[usize]) -> Result<()> {
    if tensor.shape().dims() == expected {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::CorruptFile,
        format!("{name} of shape {:?}, not {expected:?}", tensor.shape().dims()),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vectorgpu_core::random::Random;

    use super::*;
    use crate::tensor::{Shape, TensorBytes};
    use crate::threads::Threads;

    /// The largest error of a product, as a share of the sum of its terms' magnitudes.
    fn error(activation_type: ActivationType, tokens: usize) -> f64 {
        let (outputs, inputs) = (5, 96);
        let mut random = Random::new(7);
        let mut bytes = Vec::new();
        for _ in 0..outputs * inputs / 32 {
            bytes.extend(half::f16::from_f32(0.01 + random.float()).to_le_bytes());
            bytes.extend((0..32).map(|_| random.below(256).to_le_bytes()[0]));
        }
        let dtype = DType::Blocks(BlockType::Q8_0);
        let shape = Shape::new(&[outputs, inputs]).expect("a shape");
        let length = bytes.len();
        let view =
            TensorView::new(TensorBytes::Owned(Arc::new(bytes)), 0..length, dtype, shape).expect("blocks");
        let weights = view.to_f32().expect("numbers");
        let linear = Linear::new(view, None, outputs, inputs).expect("a layer");
        let x: Vec<f32> = (0..tokens * inputs).map(|_| random.float() - 0.5).collect();
        let mut out = vec![0.0; tokens * outputs];
        let threads = Threads::new(1, || Box::new(())).expect("a thread");
        threads
            .run(&mut || true, |team| {
                linear.apply(&x, &mut out, activation_type, team)
            })
            .expect("products");
        let mut largest = 0.0f64;
        for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact(outputs)) {
            for (row, out) in weights.chunks_exact(inputs).zip(out) {
                let terms = || {
                    row.iter()
                        .zip(x)
                        .map(|(weight, x)| f64::from(*weight) * f64::from(*x))
                };
                let (sum, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                largest = largest.max((f64::from(*out) - sum).abs() / size);
            }
        }
        largest
    }

    #[test]
    fn activations_of_sixteen_bits_lose_hundreds_of_times_less() {
        for tokens in [1, 3] {
            let (coarse, fine) = (
                error(ActivationType::Int8, tokens),
                error(ActivationType::Int16, tokens),
            );
            assert!(coarse > 1e-5 && coarse < 1e-2, "{coarse}");
            assert!(fine < 5e-6 && fine < coarse / 50.0, "{fine} and {coarse}");
        }
    }
}
