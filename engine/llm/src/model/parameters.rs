//! What a decoder model's file says of its shape.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::rope::RopeScaling;
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
    /// How turns are slowed down for longer texts.
    pub rope_scaling: RopeScaling,
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
        let context = required("context_length", MAX_CONTEXT)?;
        let original = optional("rope.scaling.original_context_length", MAX_CONTEXT)?.unwrap_or(context);
        let kind = metadata.text(&key("rope.scaling.type"))?;
        let rope_scaling = rope_scaling(kind, original, &positive)?;
        Ok(Self {
            layers: required("block_count", MAX_LAYERS)?,
            width,
            inner_width: required("feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads,
            head,
            context,
            epsilon: positive("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope_dims,
            rope_base: positive("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling,
            architecture,
        })
    }
}

/// How a file says that turns are slowed down. `positive` reads a number of the architecture.
fn rope_scaling(
    kind: Option<&str>,
    original: usize,
    positive: &dyn Fn(&str) -> Result<Option<f32>>,
) -> Result<RopeScaling> {
    let scaling = |name: &str| positive(&format!("rope.scaling.{name}"));
    let factor = scaling("factor")?;
    // Old files have a factor alone, and mean the oldest way.
    let kind = kind.unwrap_or(if factor.is_some() { "linear" } else { "none" });
    let factor = factor.unwrap_or(1.0);
    Ok(match kind {
        "none" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        "yarn" if scaling("mscale")?.is_none() && scaling("yarn_log_multiplier")?.is_none() => {
            let usual = if factor > 1.0 {
                0.1 * factor.ln() + 1.0
            } else {
                1.0
            };
            RopeScaling::Yarn {
                factor,
                original,
                fast: scaling("yarn_beta_fast")?.unwrap_or(32.0),
                slow: scaling("yarn_beta_slow")?.unwrap_or(1.0),
                magnitude: scaling("attention_factor")?.unwrap_or(usual)
                    * scaling("attn_factor")?.unwrap_or(1.0),
            }
        }
        "llama3" => {
            let (low, high) = (
                scaling("low_freq_factor")?.unwrap_or(1.0),
                scaling("high_freq_factor")?.unwrap_or(4.0),
            );
            if low >= high {
                return Err(corrupt(format!(
                    "rotary positions that are slow up to {low} and fast from {high}"
                )));
            }
            RopeScaling::Llama3 {
                factor,
                original,
                low,
                high,
            }
        }
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("rotary positions with scaling \"{kind}\" are not supported"),
            ));
        }
    })
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::description;
    use crate::format::gguf::Gguf;

    const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 3, "intermediate_size": 96, "max_position_embeddings": 512, "rope_theta": 10000.0}"#;

    #[test]
    fn a_sound_description_is_read() {
        let parameters =
            Parameters::from_gguf(&description(CONFIG.as_bytes()).expect("JSON")).expect("sound");
        assert_eq!(
            (parameters.layers, parameters.width, parameters.inner_width),
            (3, 64, 96)
        );
        assert_eq!(
            (parameters.heads, parameters.kv_heads, parameters.head),
            (4, 2, 16)
        );
        assert_eq!((parameters.context, parameters.rope_dims), (512, 16));
    }

    fn scaled(scaling: &str) -> Result<RopeScaling> {
        let config = CONFIG.replace(
            "\"rope_theta\"",
            &format!("\"rope_scaling\": {scaling}, \"rope_theta\""),
        );
        let metadata = description(config.as_bytes())?;
        Parameters::from_gguf(&metadata).map(|parameters| parameters.rope_scaling)
    }

    #[test]
    fn ways_to_slow_turns_down_are_read_and_others_refused_by_name() {
        assert_eq!(scaled("null"), Ok(RopeScaling::None));
        assert_eq!(
            scaled(r#"{"type": "linear", "factor": 2}"#),
            Ok(RopeScaling::Linear { factor: 2.0 })
        );
        assert_eq!(
            scaled(r#"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}"#),
            Ok(RopeScaling::Yarn {
                factor: 4.0,
                original: 128,
                fast: 32.0,
                slow: 1.0,
                magnitude: 1.138_629_4,
            })
        );
        let llama3 =
            r#"{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0}"#;
        assert_eq!(
            scaled(llama3),
            Ok(RopeScaling::Llama3 {
                factor: 8.0,
                original: 512,
                low: 1.0,
                high: 4.0,
            })
        );
        let kind = |scaling: &str| scaled(scaling).expect_err("refused").kind();
        assert_eq!(kind(&llama3.replace("1.0", "4.0")), ErrorKind::CorruptFile);
        assert_eq!(kind(r#"{"type": "linear", "factor": 0}"#), ErrorKind::CorruptFile);
        let error = scaled(r#"{"type": "longrope", "factor": 2}"#).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("\"longrope\""), "{error}");
        assert_eq!(
            kind(r#"{"type": "yarn", "factor": 4.0, "mscale": 1.0}"#),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        for (what, right, wrong) in [
            ("no heads", "attention_heads\": 4", "attention_heads\": 0"),
            (
                "more heads than width",
                "attention_heads\": 4",
                "attention_heads\": 65",
            ),
            (
                "a width that heads do not divide",
                "hidden_size\": 64",
                "hidden_size\": 66",
            ),
            (
                "heads that keys do not divide",
                "value_heads\": 2",
                "value_heads\": 3",
            ),
            (
                "more heads of keys than of queries",
                "value_heads\": 2",
                "value_heads\": 8",
            ),
            ("no layers", "layers\": 3", "layers\": 0"),
            ("2^32 layers", "layers\": 3", "layers\": 4294967296"),
            ("a negative number of layers", "layers\": 3", "layers\": -3"),
            (
                "a width beyond all",
                "hidden_size\": 64",
                "hidden_size\": 18446744073709551615",
            ),
            ("no inner width", "\"intermediate_size\": 96,", ""),
            ("no context", "embeddings\": 512", "embeddings\": 0"),
            ("a frequency base of 0", "10000.0", "0.0"),
            ("a negative frequency base", "10000.0", "-1.0"),
            ("a frequency base beyond f32", "10000.0", "1e300"),
            (
                "heads of an odd length",
                "\"hidden_size\"",
                "\"head_dim\": 15, \"hidden_size\"",
            ),
        ] {
            let config = CONFIG.replace(right, wrong);
            assert_ne!(config, CONFIG, "{what}");
            let metadata = description(config.as_bytes()).expect("JSON");
            let error = Parameters::from_gguf(&metadata).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::CorruptFile, "{what}: {error}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for (name, epsilon) in [("NaN", f32::NAN), ("infinity", f32::INFINITY), ("0", 0.0)] {
            let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
            let numbers = [
                ("embedding_length", 8u32),
                ("attention.head_count", 4),
                ("block_count", 1),
                ("feed_forward_length", 8),
                ("context_length", 8),
            ];
            let mut file = [
                &b"GGUF"[..],
                &3u32.to_le_bytes(),
                &0u64.to_le_bytes(),
                &7u64.to_le_bytes(),
            ]
            .concat();
            file.extend(
                [
                    string("general.architecture"),
                    8u32.to_le_bytes().to_vec(),
                    string("llama"),
                ]
                .concat(),
            );
            for (key, number) in numbers {
                file.extend(
                    [
                        string(&format!("llama.{key}")),
                        [4, number].map(u32::to_le_bytes).concat(),
                    ]
                    .concat(),
                );
            }
            file.extend(string("llama.attention.layer_norm_rms_epsilon"));
            file.extend([6u32.to_le_bytes(), epsilon.to_le_bytes()].concat());
            let header = Gguf::read(&file[..], file.len() as u64).expect("a header");
            let error = Parameters::from_gguf(&header.metadata).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::CorruptFile, "{name}: {error}");
            assert!(error.message().contains("epsilon"), "{error}");
        }
    }
}
