//! What Hugging Face calls keys and tensors, in the words of GGUF files: so a model is read in one way whatever its format.
//!
//! Must not know what a model does with them. What the tables do not name is not read; settings that would change what a model computes are
//! refused where they are not the usual ones.

use serde_json::{Map, Value as Json};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::Files;
use super::gguf::{Metadata, Value};

/// Longest file of settings.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Keys that say a size, or another number.
const NUMBERS: [(&str, &str); 21] = [
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("max_position_embeddings", "context_length"),
    ("vocab_size", "vocab_size"),
    ("type_vocab_size", "token_type_count"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("layer_norm_eps", "attention.layer_norm_epsilon"),
    ("rope_theta", "rope.freq_base"),
    ("factor", "rope.scaling.factor"),
    (
        "original_max_position_embeddings",
        "rope.scaling.original_context_length",
    ),
    ("low_freq_factor", "rope.scaling.low_freq_factor"),
    ("high_freq_factor", "rope.scaling.high_freq_factor"),
    ("beta_fast", "rope.scaling.yarn_beta_fast"),
    ("beta_slow", "rope.scaling.yarn_beta_slow"),
    ("attention_factor", "rope.scaling.attention_factor"),
    ("mscale", "rope.scaling.mscale"),
    ("max_seq_length", "max_tokens"),
];

/// Settings, and the one value that models here compute with.
const USUAL: [(&str, &str, &str); 9] = [
    ("llama", "hidden_act", "\"silu\""),
    ("qwen2", "hidden_act", "\"silu\""),
    ("bert", "hidden_act", "\"gelu\""),
    ("bert", "position_embedding_type", "\"absolute\""),
    ("bert", "is_decoder", "false"),
    ("llama", "partial_rotary_factor", "1.0"),
    ("qwen2", "use_sliding_window", "false"),
    ("", "quantization_config", "null"),
    ("", "embedding_size", "null"),
];

/// Tensors of Llama and Qwen2. `*` stands for a layer's number.
const DECODER: [(&str, &str); 12] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("blk.*.attn_norm", "model.layers.*.input_layernorm"),
    ("blk.*.attn_q", "model.layers.*.self_attn.q_proj"),
    ("blk.*.attn_k", "model.layers.*.self_attn.k_proj"),
    ("blk.*.attn_v", "model.layers.*.self_attn.v_proj"),
    ("blk.*.attn_output", "model.layers.*.self_attn.o_proj"),
    ("blk.*.ffn_norm", "model.layers.*.post_attention_layernorm"),
    ("blk.*.ffn_gate", "model.layers.*.mlp.gate_proj"),
    ("blk.*.ffn_up", "model.layers.*.mlp.up_proj"),
    ("blk.*.ffn_down", "model.layers.*.mlp.down_proj"),
];

/// Tensors of BERT.
const BERT: [(&str, &str); 12] = [
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
    ("blk.*.attn_q", "encoder.layer.*.attention.self.query"),
    ("blk.*.attn_k", "encoder.layer.*.attention.self.key"),
    ("blk.*.attn_v", "encoder.layer.*.attention.self.value"),
    ("blk.*.attn_output", "encoder.layer.*.attention.output.dense"),
    (
        "blk.*.attn_output_norm",
        "encoder.layer.*.attention.output.LayerNorm",
    ),
    ("blk.*.ffn_up", "encoder.layer.*.intermediate.dense"),
    ("blk.*.ffn_down", "encoder.layer.*.output.dense"),
    ("blk.*.layer_output_norm", "encoder.layer.*.output.LayerNorm"),
];

/// Names of the tensors of one kind of model.
#[derive(Debug)]
pub(super) struct Names {
    table: &'static [(&'static str, &'static str)],
    /// What may stand before a name: models with a head on top have it, bare ones do not.
    prefixes: &'static [&'static str],
}

impl Names {
    pub(super) fn of(description: &Metadata) -> Result<Self> {
        Ok(match description.text("general.architecture")? {
            Some("bert") => Self {
                table: &BERT,
                prefixes: &["", "bert."],
            },
            _ => Self {
                table: &DECODER,
                prefixes: &[""],
            },
        })
    }

    /// What the tensor `name` may be called in files.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let (module, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        let (pattern, layer) = match module.split('.').collect::<Vec<_>>()[..] {
            ["blk", layer, module] => (format!("blk.*.{module}"), layer),
            _ => (module.to_owned(), ""),
        };
        let found = self.table.iter().filter(|(ours, _)| *ours == pattern);
        found
            .flat_map(|(_, theirs)| {
                let theirs = theirs.replace('*', layer);
                self.prefixes
                    .iter()
                    .map(move |prefix| format!("{prefix}{theirs}.{kind}"))
            })
            .collect()
    }
}

/// Reads what a folder's files say of the model in it.
pub(super) fn read_description(files: Files<'_>, path: &str) -> Result<Metadata> {
    let read = |name: &str| files.small(&format!("{path}/{name}"), MAX_CONFIG_BYTES);
    let config = read("config.json")?.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("the model folder \"{path}\" has no config.json"),
        )
    })?;
    let mut description = description(&config)?;
    if description.text("general.architecture")? == Some("bert") {
        if let Some(settings) = read("sentence_bert_config.json")? {
            numbers(
                &object(&settings, "sentence_bert_config.json")?,
                "bert",
                &mut description,
            )?;
        }
        if let Some(pooling) = read("1_Pooling/config.json")? {
            let pooling = pooling_type(&object(&pooling, "1_Pooling/config.json")?)?;
            description.set("bert.pooling_type", Value::U32(pooling));
        }
        if let Some(modules) = read("modules.json")? {
            description.set("bert.normalizes", Value::Bool(normalizes(&modules)?));
        }
    }
    Ok(description)
}

/// What a `config.json` says, by the keys of GGUF files.
///
/// # Errors
/// `CorruptFile` for what is no such file, `Unsupported` for another kind of model or one that computes in another way.
pub fn description(config: &[u8]) -> Result<Metadata> {
    let config = object(config, "config.json")?;
    let architecture = match config.get("model_type").and_then(Json::as_str) {
        Some(known @ ("llama" | "qwen2" | "bert")) => known,
        Some(other) => {
            return Err(unsupported(format!(
                "models of type \"{}\" are not supported",
                other.escape_debug()
            )));
        }
        None => return Err(corrupt("config.json does not say \"model_type\"".to_owned())),
    };
    for (of, key, usual) in USUAL {
        let said = config.get(key).filter(|value| !value.is_null());
        let said = said.map_or_else(|| usual.to_owned(), Json::to_string);
        if (of.is_empty() || of == architecture) && said != usual {
            return Err(unsupported(format!(
                "models with \"{key}\" {said:.100} are not supported"
            )));
        }
    }
    let mut description = Metadata::default();
    let name = Value::String(architecture.as_bytes().to_vec());
    description.set("general.architecture", name);
    numbers(&config, architecture, &mut description)?;
    // Two generations of files say it in two places.
    for place in ["rope_scaling", "rope_parameters"] {
        let Some(Json::Object(rope)) = config.get(place) else {
            continue;
        };
        numbers(rope, architecture, &mut description)?;
        let kind = rope.get("rope_type").or_else(|| rope.get("type"));
        if let Some(kind) = kind.and_then(Json::as_str).filter(|kind| *kind != "default") {
            let key = format!("{architecture}.rope.scaling.type");
            description.set(&key, Value::String(kind.as_bytes().to_vec()));
        }
    }
    Ok(description)
}

/// Whether a number of this name may have a fraction, even where a file writes it without one.
fn is_fraction(name: &str) -> bool {
    let named = ["rope_theta", "beta_fast", "beta_slow", "mscale"].contains(&name);
    named || name.ends_with("_eps") || name.ends_with("factor")
}

/// Copies the numbers that the table names.
fn numbers(from: &Map<String, Json>, architecture: &str, to: &mut Metadata) -> Result<()> {
    for (theirs, ours) in NUMBERS {
        let value = match from.get(theirs) {
            None | Some(Json::Null) => continue,
            Some(Json::Number(number)) => match number.as_u64() {
                Some(whole) if !is_fraction(theirs) => Value::U64(whole),
                _ => Value::F64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Some(_) => return Err(corrupt(format!("\"{theirs}\" is not a number"))),
        };
        to.set(&format!("{architecture}.{ours}"), value);
    }
    Ok(())
}

/// The number that GGUF files have for how a text's tokens become one vector.
fn pooling_type(pooling: &Map<String, Json>) -> Result<u32> {
    let modes = pooling.iter().filter(|(_, value)| **value == Json::Bool(true));
    let modes: Vec<&str> = modes
        .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
        .collect();
    match modes[..] {
        ["mean_tokens"] => Ok(1),
        ["cls_token"] => Ok(2),
        _ => Err(unsupported(format!(
            "models that pool by \"{}\" are not supported",
            modes.join(", ").escape_debug()
        ))),
    }
}

/// Whether vectors get length 1 at the end.
fn normalizes(modules: &[u8]) -> Result<bool> {
    let modules: Json = serde_json::from_slice(modules)
        .map_err(|error| corrupt("modules.json is no JSON".to_owned()).with_detail(error.to_string()))?;
    let kinds = modules.as_array().into_iter().flatten();
    let kinds: Vec<&str> = kinds
        .filter_map(|module| module.get("type")?.as_str()?.rsplit('.').next())
        .collect();
    match kinds[..] {
        ["Transformer", "Pooling"] => Ok(false),
        ["Transformer", "Pooling", "Normalize"] => Ok(true),
        _ => Err(unsupported(format!(
            "models of the parts \"{}\" are not supported",
            kinds.join(", ").escape_debug()
        ))),
    }
}

fn object(bytes: &[u8], name: &str) -> Result<Map<String, Json>> {
    serde_json::from_slice(bytes)
        .map_err(|error| corrupt(format!("{name} is no JSON object")).with_detail(error.to_string()))
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests;
