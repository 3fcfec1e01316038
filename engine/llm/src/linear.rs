//! Linear layers on the CPU.

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::cpu::kernels;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::quant;
use crate::tensor::TensorView;

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
    pub fn apply(
        &self,
        x: &[f32],
        out: &mut [f32],
        crew: Crew,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let tokens = x.len() / inputs;
        assert_eq!((x.len(), out.len()), (tokens * inputs, tokens * outputs), "lengths");
        // By rows of weights, each of which is decoded once.
        let mut by_row = vec![0.0; out.len()];
        const RUN: usize = 32;
        crew.fill(&mut by_row, RUN * tokens, keep_waiting, |first, products| {
            let mut row = vec![0.0; inputs];
            for (number, products) in (first / tokens..).zip(products.chunks_mut(tokens)) {
                let bytes = self.weights.row(number).unwrap_or_default();
                quant::decode(self.weights.dtype(), bytes, &mut row)?;
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[number]);
                let tokens = bytemuck::cast_slice(x);
                kernels().block(Score::Dot, Element::F32, &row, tokens, products);
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
