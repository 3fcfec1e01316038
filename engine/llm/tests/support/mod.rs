//! Small random models for tests, written as GGUF files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use half::f16;
use vectorgpu_core::random::Random;
use vectorgpu_llm::format::ModelFile;
use vectorgpu_llm::model::llama::Llama;

/// The shape of a random model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) architecture: &'static str,
    pub(crate) layers: u64,
    pub(crate) width: u64,
    pub(crate) inner_width: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) vocabulary: u64,
    /// Whether the output layer is not the embeddings.
    pub(crate) has_output: bool,
}

/// Heads in groups, tied ends.
pub(crate) const LLAMA: Shape = Shape {
    architecture: "llama",
    layers: 4,
    width: 96,
    inner_width: 160,
    heads: 6,
    kv_heads: 2,
    vocabulary: 300,
    has_output: false,
};

/// Biases, pairs of halves, an output layer of its own.
pub(crate) const QWEN: Shape = Shape {
    architecture: "qwen2",
    layers: 3,
    width: 64,
    inner_width: 96,
    heads: 4,
    kv_heads: 1,
    vocabulary: 500,
    has_output: true,
};

/// Types of weights: which are a type's number in a file, and how it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weights {
    F16,
    Q8,
}

/// A file that is removed again.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

struct Writer {
    random: Random,
    keys: u64,
    entries: Vec<u8>,
    tensors: u64,
    infos: Vec<u8>,
    data: Vec<u8>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    fn key(&mut self, key: &str, of_type: u32, value: &[u8]) {
        self.keys += 1;
        self.entries.extend(string(key));
        self.entries.extend(of_type.to_le_bytes());
        self.entries.extend(value);
    }

    /// `dims` innermost first.
    fn info(&mut self, name: &str, dims: &[u64], of_type: u32) {
        self.tensors += 1;
        self.infos.extend(string(name));
        self.infos.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| self.infos.extend(dim.to_le_bytes()));
        self.infos.extend(of_type.to_le_bytes());
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.infos.extend((self.data.len() as u64).to_le_bytes());
    }

    fn number(&mut self, size: f32) -> f32 {
        (self.random.float() * 2.0 - 1.0) * size
    }

    fn vector(&mut self, name: &str, len: u64, around: f32, size: f32) {
        self.info(name, &[len], 0);
        for _ in 0..len {
            let number = around + self.number(size);
            self.data.extend(number.to_le_bytes());
        }
    }

    fn matrix(&mut self, name: &str, outputs: u64, inputs: u64, weights: Weights) {
        // Outputs are about as large as inputs.
        let size = (3.0 / inputs as f32).sqrt();
        match weights {
            Weights::F16 => {
                self.info(name, &[inputs, outputs], 1);
                for _ in 0..outputs * inputs {
                    let number = f16::from_f32(self.number(size));
                    self.data.extend(number.to_le_bytes());
                }
            }
            Weights::Q8 => {
                self.info(name, &[inputs, outputs], 8);
                for _ in 0..outputs * inputs / 32 {
                    self.data.extend(f16::from_f32(size / 127.0).to_le_bytes());
                    let bytes: Vec<u8> = (0..32).map(|_| self.random.below(255) as u8 ^ 0x80).collect();
                    self.data.extend(bytes);
                }
            }
        }
    }
}

/// A random model; the same for the same seed.
pub(crate) fn random_model(shape: Shape, weights: Weights, seed: u64) -> Arc<Llama> {
    let mut writer = Writer {
        random: Random::new(seed),
        keys: 0,
        entries: Vec::new(),
        tensors: 0,
        infos: Vec::new(),
        data: Vec::new(),
    };
    let architecture = shape.architecture;
    writer.key("general.architecture", 8, &string(architecture));
    for (name, number) in [
        ("block_count", shape.layers),
        ("context_length", 256),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.inner_width),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
    ] {
        writer.key(&format!("{architecture}.{name}"), 10, &number.to_le_bytes());
    }
    let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
    writer.key(&epsilon, 6, &1e-5f32.to_le_bytes());
    let head = shape.width / shape.heads;
    let kv_width = shape.kv_heads * head;
    writer.matrix("token_embd.weight", shape.vocabulary, shape.width, weights);
    writer.vector("output_norm.weight", shape.width, 1.0, 0.2);
    if shape.has_output {
        writer.matrix("output.weight", shape.vocabulary, shape.width, weights);
    }
    for layer in 0..shape.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        writer.vector(&name("attn_norm.weight"), shape.width, 1.0, 0.2);
        for (part, outputs) in [
            ("attn_q", shape.width),
            ("attn_k", kv_width),
            ("attn_v", kv_width),
        ] {
            writer.matrix(&name(&format!("{part}.weight")), outputs, shape.width, weights);
            if architecture == "qwen2" {
                writer.vector(&name(&format!("{part}.bias")), outputs, 0.0, 0.5);
            }
        }
        writer.matrix(&name("attn_output.weight"), shape.width, shape.width, weights);
        writer.vector(&name("ffn_norm.weight"), shape.width, 1.0, 0.2);
        writer.matrix(&name("ffn_gate.weight"), shape.inner_width, shape.width, weights);
        writer.matrix(&name("ffn_up.weight"), shape.inner_width, shape.width, weights);
        writer.matrix(&name("ffn_down.weight"), shape.width, shape.inner_width, weights);
    }
    let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    bytes.extend(writer.tensors.to_le_bytes());
    bytes.extend(writer.keys.to_le_bytes());
    bytes.extend(&writer.entries);
    bytes.extend(&writer.infos);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(&writer.data);
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("vectorgpu-llm-{}-{number}.gguf", std::process::id());
    let file = TemporaryFile(std::env::temp_dir().join(name));
    std::fs::write(&file.0, bytes).expect("a writable folder");
    let model = ModelFile::open(&file.0).expect("a sound file");
    Arc::new(Llama::read(&model).expect("a sound model"))
}
