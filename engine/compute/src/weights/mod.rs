//! Matrices of a language model's weights in device memory, in any type that a file may have.
//!
//! Must not know kernels. A matrix of `[outputs, inputs]` lies in parts: rows of one type, no more of them than a kernel can
//! see at once. So matrices of the same inputs can be put together whatever their types, and each part is a run of its own.

mod format;
mod size;
mod upload;

use std::rc::Rc;

use vectorgpu_core::Result;
use vectorgpu_core::blocks::BlockType;

use crate::array::Array;
use crate::memory::block::Block;
use crate::memory::view::View;
use crate::rows::invalid;

pub(crate) use format::{Format, Layout, UNIT};

/// How the elements of a matrix of weights are stored in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// IEEE 754 binary32, little-endian.
    F32,
    /// IEEE 754 binary16, little-endian.
    F16,
    /// The upper half of a binary32, little-endian.
    BF16,
    /// Quantised, in blocks.
    Blocks(BlockType),
}

/// A matrix as a file has it: `outputs` rows of whole blocks.
#[derive(Debug, Clone, Copy)]
pub struct WeightRows<'a> {
    /// How its elements are stored.
    pub weight_type: WeightType,
    /// Number of rows.
    pub outputs: usize,
    /// The rows, one after the other.
    pub bytes: &'a [u8],
}

/// Weights of a linear layer on the device, `[outputs, inputs]`, and its bias where it has one.
#[derive(Clone)]
pub struct LinearWeights {
    inputs: usize,
    outputs: usize,
    parts: Vec<Part>,
    bias: Option<Array<f32>>,
}

/// Weights of a gated layer on the device: a gate and what goes through it, both `[outputs, inputs]`.
#[derive(Clone)]
pub struct GatedWeights {
    pub(crate) outputs: usize,
    pub(crate) kind: Gating,
}

/// How the two matrices of a gated layer lie.
#[derive(Clone)]
pub(crate) enum Gating {
    /// Of one type: a row of the gate, one of the other matrix, and so on, for one run that does all.
    Paired(LinearWeights),
    /// The gate, and the other matrix.
    Apart(LinearWeights, LinearWeights),
}

/// Rows of one type in one block of device memory.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) format: Format,
    pub(crate) layout: Layout,
    /// Which of all rows its first is.
    pub(crate) first: usize,
    pub(crate) outputs: usize,
    block: Rc<Block>,
    view: View,
}

impl Part {
    /// The memory, for binding.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }
}

impl LinearWeights {
    /// Length of a row: numbers that go in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of rows: numbers that come out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of device memory that they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.block.bytes()).sum()
    }

    /// With a number to be added to each output.
    ///
    /// # Errors
    /// `InvalidArgument` unless there is one for each.
    pub fn with_bias(mut self, bias: Array<f32>) -> Result<Self> {
        if bias.len() != self.outputs {
            return Err(invalid(format!(
                "{} numbers are no bias of {} outputs",
                bias.len(),
                self.outputs
            )));
        }
        self.bias = Some(bias);
        Ok(self)
    }

    /// The bias.
    pub(crate) fn bias(&self) -> Option<&Array<f32>> {
        self.bias.as_ref()
    }

    /// The parts, in the order of their rows.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl GatedWeights {
    /// Length of a row: numbers that go in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.kind {
            Gating::Paired(both) => both.inputs,
            Gating::Apart(gate, _) => gate.inputs,
        }
    }

    /// Number of rows of either matrix: numbers that come out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of device memory that they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Gating::Paired(both) => both.bytes(),
            Gating::Apart(gate, up) => gate.bytes() + up.bytes(),
        }
    }
}
