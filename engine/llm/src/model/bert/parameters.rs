//! What a file says of the shape of a BERT, and of how texts become vectors.

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::format::gguf::Metadata;

const MAX_LAYERS: usize = 1024;
const MAX_WIDTH: usize = 1 << 20;
const MAX_CONTEXT: usize = 1 << 24;

/// The shape of a model, and how it makes a vector of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parameters {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) inner_width: usize,
    pub(super) heads: usize,
    pub(super) max_tokens: usize,
    pub(super) epsilon: f32,
    pub(super) pooling: Pooling,
    /// Whether vectors have length 1.
    pub(super) normalizes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token.
    First,
}

impl Parameters {
    pub(super) fn read(metadata: &Metadata) -> Result<Self> {
        let architecture = metadata.text("general.architecture")?.unwrap_or_default();
        if architecture != "bert" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("models of architecture \"{architecture}\" make no embeddings here"),
            ));
        }
        let optional = |name: &str, most: usize| -> Result<Option<usize>> {
            let key = format!("bert.{name}");
            let Some(number) = metadata.unsigned(&key)? else {
                return Ok(None);
            };
            let number = usize::try_from(number).ok();
            let number = number.filter(|number| (1..=most).contains(number));
            number
                .map(Some)
                .ok_or_else(|| corrupt(format!("\"{key}\" is not between 1 and {most}")))
        };
        let required = |name: &str, most: usize| {
            optional(name, most)?.ok_or_else(|| corrupt(format!("the file does not say \"bert.{name}\"")))
        };
        let width = required("embedding_length", MAX_WIDTH)?;
        let heads = required("attention.head_count", width)?;
        let epsilon = metadata.float("bert.attention.layer_norm_epsilon")?;
        let epsilon = epsilon.unwrap_or(1e-12);
        if !width.is_multiple_of(heads) || epsilon <= 0.0 {
            return Err(corrupt(format!(
                "a width of {width}, {heads} heads, and norms with {epsilon}"
            )));
        }
        let context = required("context_length", MAX_CONTEXT)?;
        let pooling = match metadata.unsigned("bert.pooling_type")? {
            None | Some(1) => Pooling::Mean,
            Some(2) => Pooling::First,
            Some(other) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("models that pool in way {other} are not supported"),
                ));
            }
        };
        Ok(Self {
            layers: required("block_count", MAX_LAYERS)?,
            width,
            inner_width: required("feed_forward_length", MAX_WIDTH)?,
            heads,
            max_tokens: optional("max_tokens", MAX_CONTEXT)?.map_or(context, |most| most.min(context)),
            epsilon,
            pooling,
            normalizes: metadata.boolean("bert.normalizes")?.unwrap_or(true),
        })
    }
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}
