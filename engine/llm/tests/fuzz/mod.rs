//! Every reader of model files against seeded inputs: changed valid ones and random bytes.
//!
//! What a reader accepts must keep its promises (tensors inside the file, tokens of the vocabulary, names of files beside the index); it must
//! not panic on anything. A finding stops the run with the input that led to it.

#[path = "../../../core/tests/fuzz/target.rs"]
mod target;

use vectorgpu_core::Result;
use vectorgpu_core::random::Random;
use vectorgpu_llm::format::gguf::{Gguf, Metadata};
use vectorgpu_llm::format::{Header, Index, TensorSource, description};
use vectorgpu_llm::model::bert::Bert;
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::tensor::TensorView;
use vectorgpu_llm::tokenizer::{Tokenizer, TooLong, Trust, WordPiece};

use target::{Outcome, Target as Reader};

/// Random inputs have fewer bytes.
const RANDOM_BYTES: usize = 60;
/// Changes cut, or repeat, fewer bytes.
const CUT_BYTES: usize = 9;

/// All readers.
pub(crate) const READERS: [Reader; 6] = [
    Reader {
        name: "GGUF header",
        valid: gguf,
        tokens: BINARY_TOKENS,
        check: check_gguf,
    },
    Reader {
        name: "safetensors header",
        valid: safetensors,
        tokens: JSON_TOKENS,
        check: check_safetensors,
    },
    Reader {
        name: "safetensors index",
        valid: index,
        tokens: JSON_TOKENS,
        check: check_index,
    },
    Reader {
        name: "config.json",
        valid: config,
        tokens: JSON_TOKENS,
        check: check_config,
    },
    Reader {
        name: "tokenizer.json",
        valid: tokenizer,
        tokens: JSON_TOKENS,
        check: check_tokenizer,
    },
    Reader {
        name: "vocab.txt",
        valid: vocabulary,
        tokens: JSON_TOKENS,
        check: check_vocabulary,
    },
];

/// What is worth writing over binary numbers.
const BINARY_TOKENS: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x08\0\0\0",
    b"\x09\0\0\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\0\0\0\0\0\x80",
    b"\0\0\0\0\x01\0\0\0",
    b"\0\0\x01\0\0\0\0\0",
    b"\x20\0\0\0\0\0\0\0",
    b"\0\0\x80\x7f",
    b"\0\0\xc0\x7f",
    b"GGUF",
];

/// What is worth inserting into JSON.
const JSON_TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1.5",
    b"1e999",
    b"4294967296",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"[[[[[[[[[[[[[[[[",
    b"../",
    b".safetensors",
    b"/",
    b"\"F32\"",
    b"\"I64\"",
    b"[0,4]",
    b"[]",
    b"##",
    b"[UNK]",
    b"\xff",
    b"\0",
    b"\xe2\x96\x81",
    b"\n",
];

/// A description without any tensor.
struct Described(Metadata);

impl TensorSource for Described {
    fn description(&self) -> &Metadata {
        &self.0
    }

    fn pairs_are_adjacent(&self) -> bool {
        false
    }

    fn parameters(&self) -> u64 {
        0
    }

    fn optional(&self, _name: &str) -> Result<Option<TensorView>> {
        Ok(None)
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn strings(texts: &[&str]) -> Vec<u8> {
    let head = [&8u32.to_le_bytes()[..], &(texts.len() as u64).to_le_bytes()].concat();
    texts.iter().fold(head, |all, text| [all, string(text)].concat())
}

/// A GGUF file of some keys and tensors, with all that a tokenizer and a model ask for.
fn gguf(random: &mut Random) -> Vec<u8> {
    let number = |number: u32| (4u32, number.to_le_bytes().to_vec());
    let text = |text: &str| (8u32, string(text));
    let architecture = ["llama", "qwen2", "bert"][random.below(3)];
    let (model, tokens): (&str, &[&str]) = match random.below(3) {
        0 => ("bert", &["[UNK]", "[CLS]", "[SEP]", "\u{2581}a", "b"]),
        1 => ("gpt2", &["a", "b", "ab", "<|im_end|>"]),
        _ => ("llama", &["<unk>", "\u{2581}a", "<0x41>", "b"]),
    };
    let mut keys = vec![
        ("general.architecture".to_owned(), text(architecture)),
        ("tokenizer.ggml.model".to_owned(), text(model)),
        ("tokenizer.ggml.tokens".to_owned(), (9, strings(tokens))),
        ("tokenizer.ggml.merges".to_owned(), (9, strings(&["a b"]))),
        ("tokenizer.ggml.bos_token_id".to_owned(), number(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), number(2)),
        (
            format!("{architecture}.attention.layer_norm_epsilon"),
            (6, 1e-5f32.to_le_bytes().to_vec()),
        ),
    ];
    for (key, value) in [
        ("embedding_length", 32),
        ("block_count", 2),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
        ("context_length", 64),
    ] {
        keys.push((format!("{architecture}.{key}"), number(value)));
    }
    let tensors = random.below(4);
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &(tensors as u64).to_le_bytes()].concat();
    file.extend((keys.len() as u64).to_le_bytes());
    for (key, (of_type, value)) in keys {
        file.extend([string(&key), of_type.to_le_bytes().to_vec(), value].concat());
    }
    for tensor in 0..tensors {
        file.extend(string(&format!("t{tensor}")));
        file.extend([&2u32.to_le_bytes()[..], &32u64.to_le_bytes(), &1u64.to_le_bytes()].concat());
        let of_type = [0u32, 1, 8, 2][random.below(4)];
        file.extend([&of_type.to_le_bytes()[..], &(tensor as u64 * 128).to_le_bytes()].concat());
    }
    file.resize(file.len().next_multiple_of(32) + tensors * 128, 0);
    file
}

fn check_gguf(input: &[u8]) -> Outcome {
    let length = input.len() as u64;
    let Ok(file) = Gguf::read(input, length) else {
        return Ok(false);
    };
    for tensor in &file.tensors {
        let end = file.data_start + tensor.offset + tensor.bytes;
        if end > length || tensor.shape.bytes(tensor.dtype).map(|bytes| bytes as u64) != Ok(tensor.bytes) {
            return Err(format!("tensor {tensor:?} is not in the file"));
        }
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(&file.metadata) {
        let mut tokens = Vec::new();
        // A vocabulary need not have a token for every byte.
        let encoded = tokenizer.encode("ab <|im_end|>", Trust::Template, &mut tokens);
        let known = tokenizer.vocabulary().len();
        if encoded.is_ok() && tokens.iter().any(|token| *token as usize >= known) {
            return Err(format!("tokens {tokens:?} of {known}"));
        }
    }
    if let Ok(pieces) = WordPiece::from_gguf(&file.metadata) {
        check_pieces(&pieces)?;
    }
    check_models(file.metadata)?;
    Ok(true)
}

/// No model is read without tensors.
fn check_models(metadata: Metadata) -> Result<(), String> {
    let source = Described(metadata);
    if Llama::read(&source).is_ok() || Bert::read(&source).is_ok() {
        return Err("a model without tensors".to_owned());
    }
    Ok(())
}

fn check_pieces(pieces: &WordPiece) -> Result<(), String> {
    for text in ["", "a b ab abba", "[CLS] \u{e9}\u{4e1c}!", "##b\0"] {
        let Ok(tokens) = pieces.encode(text, 6, TooLong::Truncate) else {
            continue;
        };
        if tokens.len() > 6 || tokens.iter().any(|token| *token > pieces.largest_token()) {
            return Err(format!("tokens {tokens:?}"));
        }
    }
    Ok(())
}

fn safetensors(random: &mut Random) -> Vec<u8> {
    let (mut entries, mut at) = (vec![r#""__metadata__":{"format":"pt"}"#.to_owned()], 0);
    for tensor in 0..random.below(4) {
        let (dtype, bytes) = [("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("BOOL", 1)][random.below(5)];
        let (rows, columns) = (random.below(4), 1 + random.below(3));
        let end = at + rows * columns * bytes;
        entries.push(format!(
            r#""t{tensor}":{{"dtype":"{dtype}","shape":[{rows},{columns}],"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    file.resize(file.len() + at, 7);
    file
}

fn check_safetensors(input: &[u8]) -> Outcome {
    // A change inside the header moves its end: most such inputs are given the right length, so that more than that is tried.
    let mut input = input.to_vec();
    if let Some(end) = input
        .iter()
        .rposition(|byte| *byte == b'}')
        .filter(|end| *end >= 8 && !input.len().is_multiple_of(4))
    {
        let header_bytes = (end + 1 - 8) as u64;
        input[..8].copy_from_slice(&header_bytes.to_le_bytes());
    }
    let length = input.len() as u64;
    let Ok(header) = Header::read(&input[..], length) else {
        return Ok(false);
    };
    for name in header.names() {
        if let Ok(Some((dtype, shape, start))) = header.tensor(&name) {
            let end = shape.bytes(dtype).map(|bytes| start.saturating_add(bytes as u64));
            if end.is_err() || end.is_ok_and(|end| end > length) {
                return Err(format!("tensor {name} is not in the file"));
            }
        }
    }
    Ok(true)
}

fn index(random: &mut Random) -> Vec<u8> {
    let entries: Vec<String> = (0..=random.below(4))
        .map(|number| format!(r#""t{number}":"model-0000{}-of-00002.safetensors""#, number % 2))
        .collect();
    format!(
        r#"{{"metadata":{{"total_size":8}},"weight_map":{{{}}}}}"#,
        entries.join(",")
    )
    .into_bytes()
}

fn check_index(input: &[u8]) -> Outcome {
    let Ok(index) = Index::read(input) else {
        return Ok(false);
    };
    for name in index.files() {
        if name.contains(['/', '\\', '\0']) || name.starts_with('.') || !name.ends_with(".safetensors") {
            return Err(format!("the file {name:?}"));
        }
    }
    Ok(true)
}

fn config(random: &mut Random) -> Vec<u8> {
    let (model, activation) = [("llama", "silu"), ("qwen2", "silu"), ("bert", "gelu")][random.below(3)];
    let heads = [1, 4, 8][random.below(3)];
    format!(
        concat!(
            r#"{{"model_type":"{}","hidden_act":"{}","hidden_size":32,"num_hidden_layers":2,"intermediate_size":64,"#,
            r#""num_attention_heads":{},"max_position_embeddings":64,"rms_norm_eps":1e-6,"layer_norm_eps":1e-12,"#,
            r#""rope_theta":10000.0,"rope_scaling":{{"type":"default"}},"head_dim":null,"vocab_size":24}}"#
        ),
        model, activation, heads
    )
    .into_bytes()
}

fn check_config(input: &[u8]) -> Outcome {
    let Ok(metadata) = description(input) else {
        return Ok(false);
    };
    check_models(metadata)?;
    Ok(true)
}

fn tokenizer(random: &mut Random) -> Vec<u8> {
    let lowers = random.below(2) == 0;
    format!(
        concat!(
            r#"{{"normalizer":{{"type":"BertNormalizer","clean_text":true,"lowercase":{}}},"#,
            r#""pre_tokenizer":{{"type":"BertPreTokenizer"}},"post_processor":{{"type":"TemplateProcessing","#,
            r#""single":[{{"SpecialToken":{{"id":"[CLS]"}}}},{{"Sequence":{{"id":"A"}}}}],"#,
            r#""special_tokens":{{"[CLS]":{{"ids":[1]}}}}}},"#,
            r###""model":{{"type":"WordPiece","unk_token":"[UNK]","vocab":{{"[UNK]":0,"[CLS]":1,"a":2,"##b":3}}}}}}"###
        ),
        lowers
    )
    .into_bytes()
}

fn check_tokenizer(input: &[u8]) -> Outcome {
    let Ok(pieces) = WordPiece::from_json(input) else {
        return Ok(false);
    };
    check_pieces(&pieces)?;
    Ok(true)
}

fn vocabulary(random: &mut Random) -> Vec<u8> {
    let mut lines = vec!["[UNK]", "[CLS]", "[SEP]"];
    lines.extend((0..random.below(6)).map(|_| ["a", "##b", "ab", "!", "##", ""][random.below(6)]));
    lines.join("\n").into_bytes()
}

fn check_vocabulary(input: &[u8]) -> Outcome {
    let Ok(pieces) = WordPiece::from_list(input, input.len().is_multiple_of(2)) else {
        return Ok(false);
    };
    check_pieces(&pieces)?;
    Ok(true)
}
