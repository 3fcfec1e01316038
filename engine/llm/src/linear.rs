//! Linear layers on the CPU.

use vectorgpu_core::blocks::{Activations, BlockType, Numbers};
use vectorgpu_core::cpu::kernels;
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::quant;
use crate::tensor::TensorView;
use crate::threads::Team;

/// Rows of weights that a thread takes at a time, at most.
const ROWS_AT_ONCE: usize = 256;
/// Into so many runs the rows are cut at least.
const RUNS: usize = 8;

/// A row of weights, decoded.
enum Row {
    Blocks(BlockType, Numbers),
    Floats(Vec<f32>),
}

impl Row {
    fn of(of_type: Option<BlockType>, inputs: usize) -> Result<Self> {
        Ok(match of_type {
            Some(of_type) => Self::Blocks(of_type, Numbers::with_room(inputs)?),
            None => Self::Floats(vec![0.0; inputs]),
        })
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
    pub fn apply(&self, x: &[f32], out: &mut [f32], team: Team<'_>) -> Result<()> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let tokens = x.len() / inputs;
        assert_eq!(
            (x.len(), out.len()),
            (tokens * inputs, tokens * outputs),
            "lengths"
        );
        let mut activations = Activations::default();
        let of_type = self.weights.dtype().block_type();
        if of_type.is_some() {
            activations.round(x, inputs)?;
        }
        // By rows of weights, each of which is decoded once.
        let mut by_row = vec![0.0; out.len()];
        let run = ROWS_AT_ONCE.min(outputs.div_ceil(RUNS)).max(1);
        team.fill(&mut by_row, run * tokens, |first, products| {
            let mut row = Row::of(of_type, inputs)?;
            for (number, products) in (first / tokens..).zip(products.chunks_mut(tokens)) {
                let bytes = self.weights.row(number).unwrap_or_default();
                match &mut row {
                    Row::Blocks(of_type, numbers) => {
                        kernels().multiply_row(*of_type, bytes, &activations, numbers, products);
                    }
                    Row::Floats(row) => {
                        quant::decode(self.weights.dtype(), bytes, row)?;
                        let tokens = bytemuck::cast_slice(x);
                        kernels().block(Score::Dot, Element::F32, row, tokens, products);
                    }
                }
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[number]);
                products.iter_mut().for_each(|product| *product += bias);
            }
            Ok(())
        })?;
        for (token, out) in out.chunks_exact_mut(outputs).enumerate() {
            for (row, out) in out.iter_mut().enumerate() {
                *out = by_row[row * tokens + token];
            }
        }
        Ok(())
    }
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
