//! A small seeded BERT as files of each kind. `bench/llm_embeddings.py` makes the same numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const WIDTH: usize = 32;
const INNER: usize = 64;
pub(crate) const TOKENS: usize = 24;
pub(crate) const POSITIONS: usize = 20;
const LAYERS: usize = 2;

pub(crate) const CONFIG: &str = r#"{"model_type": "bert", "num_attention_heads": 4, "layer_norm_eps": 1e-12,
    "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "vocab_size": 24, "max_position_embeddings": 20,
    "type_vocab_size": 2, "hidden_act": "gelu"}"#;
/// Tokens 0 to 3 are special; the others are a letter each.
pub(crate) const VOCABULARY: &str =
    "[UNK]\n[CLS]\n[SEP]\n[PAD]\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\nt\n";

/// A tensor: its names in folders and in GGUF files, its shape and its numbers.
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) gguf_name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Vec<f32>,
}

/// All tensors, in the order in which the script numbers them.
pub(crate) fn tensors() -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut add = |name: String, gguf_name: String, shape: &[usize]| {
        let number = tensors.len() as u64;
        let count = shape.iter().product::<usize>() as u64;
        let is_scale = name.ends_with("LayerNorm.weight");
        let number_at = |place: u64| {
            let mixed = ((place * 2_654_435_761 + number * 40_503) % (1 << 32)) >> 24;
            let spread = f32::from(u8::try_from(mixed).expect("8 bits")) / 128.0 - 1.0;
            if is_scale {
                1.0 + spread / 4.0
            } else {
                spread / 2.0
            }
        };
        let numbers = (0..count).map(number_at).collect();
        tensors.push(Tensor {
            name,
            gguf_name,
            shape: shape.to_vec(),
            numbers,
        });
    };
    for (name, gguf_name, rows) in [
        ("word_embeddings", "token_embd", TOKENS),
        ("position_embeddings", "position_embd", POSITIONS),
        ("token_type_embeddings", "token_types", 2),
    ] {
        add(
            format!("embeddings.{name}.weight"),
            format!("{gguf_name}.weight"),
            &[rows, WIDTH],
        );
    }
    for kind in ["weight", "bias"] {
        add(
            format!("embeddings.LayerNorm.{kind}"),
            format!("token_embd_norm.{kind}"),
            &[WIDTH],
        );
    }
    for layer in 0..LAYERS {
        for (name, gguf_name, rows, columns) in [
            ("attention.self.query", "attn_q", WIDTH, WIDTH),
            ("attention.self.key", "attn_k", WIDTH, WIDTH),
            ("attention.self.value", "attn_v", WIDTH, WIDTH),
            ("attention.output.dense", "attn_output", WIDTH, WIDTH),
            ("intermediate.dense", "ffn_up", INNER, WIDTH),
            ("output.dense", "ffn_down", WIDTH, INNER),
            ("attention.output.LayerNorm", "attn_output_norm", WIDTH, 0),
            ("output.LayerNorm", "layer_output_norm", WIDTH, 0),
        ] {
            let (matrix, vector) = ([rows, columns], [rows]);
            let shape = if columns == 0 { &vector[..] } else { &matrix[..] };
            for (kind, shape) in [("weight", shape), ("bias", &vector[..])] {
                let name = format!("encoder.layer.{layer}.{name}.{kind}");
                add(name, format!("blk.{layer}.{gguf_name}.{kind}"), shape);
            }
        }
    }
    tensors
}

/// A safetensors file with these tensors as F32 or F16, behind an odd number of bytes, so none of them is aligned.
pub(crate) fn safetensors(tensors: &[Tensor], half: bool) -> Vec<u8> {
    let (mut header, mut data) = (String::new(), Vec::new());
    // What real files carry along, and no model reads.
    header.push_str(r#"{"embeddings.position_ids":{"dtype":"I64","shape":[1,1],"data_offsets":[0,8]}"#);
    data.extend([0; 8]);
    for tensor in tensors {
        let from = data.len();
        for number in &tensor.numbers {
            if half {
                data.extend(half::f16::from_f32(*number).to_le_bytes());
            } else {
                data.extend(number.to_le_bytes());
            }
        }
        let (dtype, shape) = (if half { "F16" } else { "F32" }, &tensor.shape);
        header.push_str(&format!(
            r#","{}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{}]}}"#,
            tensor.name,
            data.len()
        ));
    }
    header.push('}');
    if header.len().is_multiple_of(2) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A GGUF file with the model and its tokenizer.
pub(crate) fn gguf() -> Vec<u8> {
    let (u32_type, f32_type, string_type, array_type) = (4u32, 6u32, 8u32, 9u32);
    let mut keys: Vec<(&str, u32, Vec<u8>)> = vec![
        ("general.architecture", string_type, string("bert")),
        (
            "bert.attention.layer_norm_epsilon",
            f32_type,
            1e-12f32.to_le_bytes().to_vec(),
        ),
        ("tokenizer.ggml.model", string_type, string("bert")),
    ];
    for (key, number) in [
        ("bert.block_count", 2u32),
        ("bert.embedding_length", 32),
        ("bert.feed_forward_length", 64),
        ("bert.attention.head_count", 4),
        ("bert.context_length", 20),
        ("bert.pooling_type", 1),
        ("tokenizer.ggml.cls_token_id", 1),
        ("tokenizer.ggml.seperator_token_id", 2),
    ] {
        keys.push((key, u32_type, number.to_le_bytes().to_vec()));
    }
    let mut tokens = [&string_type.to_le_bytes()[..], &(TOKENS as u64).to_le_bytes()].concat();
    for token in VOCABULARY.lines() {
        let mark = if token.starts_with('[') { "" } else { "\u{2581}" };
        tokens.extend(string(&format!("{mark}{token}")));
    }
    keys.push(("tokenizer.ggml.tokens", array_type, tokens));
    let tensors = tensors();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((keys.len() as u64).to_le_bytes());
    for (key, of_type, value) in keys {
        file.extend([string(key), of_type.to_le_bytes().to_vec(), value].concat());
    }
    let mut data: Vec<u8> = Vec::new();
    for tensor in tensors {
        file.extend(string(&tensor.gguf_name));
        file.extend(u32::try_from(tensor.shape.len()).expect("few").to_le_bytes());
        tensor
            .shape
            .iter()
            .rev()
            .for_each(|dim| file.extend((*dim as u64).to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        tensor
            .numbers
            .iter()
            .for_each(|number| data.extend(number.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

/// A folder of a test, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vectorgpu-bert-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder is there");
    }
}
