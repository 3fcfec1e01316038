//! Where a model's tensors come from.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::gguf::Metadata;
use crate::tensor::TensorView;

/// A model as files hold it: tensors by name, and what is said of them. Names and keys are those of GGUF files, whatever the format.
pub trait TensorSource {
    /// What the files say of the model.
    fn description(&self) -> &Metadata;

    /// Whether the weights of llama models were permuted so that numbers which rotary positions turn together lie beside each other.
    fn pairs_are_adjacent(&self) -> bool;

    /// Elements of all tensors of numbers.
    fn parameters(&self) -> u64;

    /// The tensor of this name, if there is one.
    ///
    /// # Errors
    /// `CorruptFile` when it lies outside its file, or the file is not what it was; `Unsupported` for elements of a type that is not read;
    /// `OutOfMemory`.
    fn optional(&self, name: &str) -> Result<Option<TensorView>>;

    /// The tensor of this name.
    ///
    /// # Errors
    /// As [`Self::optional`], and `CorruptFile` when there is none.
    fn tensor(&self, name: &str) -> Result<TensorView> {
        self.optional(name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::CorruptFile,
                format!("the model has no tensor \"{name}\""),
            )
        })
    }
}
