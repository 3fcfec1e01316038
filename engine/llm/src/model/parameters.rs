//! What a decoder model's file says of its shape.

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::format::gguf::Metadata;

const MAX_LAYERS: usize = 1024;
const MAX_WIDTH: usize = 1 << 20;
const MAX_CONTEXT: usize = 1 << 24;

/// The shape of a decoder. All counts are at least 1, heads divide what they have to.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// `llama` or `qwen2`.
    pub architecture: String,
    /// Layers.
    pub layers: usize,
    /// Numbers of a token between layers.
    pub width: usize,
    /// Numbers inside a feed-forward layer.
    pub inner_width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head: usize,
    /// Most positions that the model was trained for.
    pub context: usize,
    /// Added to a mean square before its root is taken.
    pub epsilon: f32,
    /// Numbers of a head that are turned.
    pub rope_dims: usize,
    /// Base of the turns' frequencies.
    pub rope_base: f32,
}

impl Parameters {
    /// Reads them from a file's metadata.
    ///
    /// # Errors
    /// `CorruptFile` for what is missing or cannot be, `Unsupported` for another architecture.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let architecture = metadata
            .text("general.architecture")?
            .unwrap_or_default()
            .to_owned();
        if !["llama", "qwen2"].contains(&architecture.as_str()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("models of architecture \"{architecture}\" are not supported"),
            ));
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |name: &str, most: usize| -> Result<Option<usize>> {
            let key = key(name);
            let Some(number) = metadata.unsigned(&key)? else {
                return Ok(None);
            };
            let number = usize::try_from(number)
                .ok()
                .filter(|number| (1..=most).contains(number));
            number
                .map(Some)
                .ok_or_else(|| corrupt(format!("\"{key}\" is not between 1 and {most}")))
        };
        let required = |name: &str, most: usize| {
            optional(name, most)?.ok_or_else(|| corrupt(format!("the file does not say \"{}\"", key(name))))
        };
        let positive = |name: &str| -> Result<Option<f32>> {
            let number = metadata.float(&key(name))?;
            if number.is_some_and(|number| number <= 0.0) {
                return Err(corrupt(format!("\"{}\" is not positive", key(name))));
            }
            Ok(number)
        };
        let width = required("embedding_length", MAX_WIDTH)?;
        let heads = required("attention.head_count", width)?;
        let kv_heads = optional("attention.head_count_kv", heads)?.unwrap_or(heads);
        let head = optional("attention.key_length", width)?.unwrap_or(width / heads);
        let rope_dims = optional("rope.dimension_count", head)?.unwrap_or(head);
        if !width.is_multiple_of(heads) || !heads.is_multiple_of(kv_heads) || !rope_dims.is_multiple_of(2) {
            return Err(corrupt(format!(
                "a width of {width}, {heads} heads and {kv_heads} heads of keys, of which {rope_dims} numbers turn"
            )));
        }
        if optional("attention.value_length", width)?.is_some_and(|values| values != head) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "heads of keys and of values have different lengths",
            ));
        }
        if let Some(scaling) = metadata.text(&key("rope.scaling.type"))?
            && scaling != "none"
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("rotary positions with scaling \"{scaling}\" are not supported"),
            ));
        }
        Ok(Self {
            layers: required("block_count", MAX_LAYERS)?,
            width,
            inner_width: required("feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads,
            head,
            context: required("context_length", MAX_CONTEXT)?,
            epsilon: positive("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope_dims,
            rope_base: positive("rope.freq_base")?.unwrap_or(10_000.0),
            architecture,
        })
    }
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}
