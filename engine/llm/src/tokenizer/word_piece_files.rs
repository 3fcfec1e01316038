//! The word pieces that models carry: in a folder's `tokenizer.json`, as a list of tokens in its `vocab.txt`, or in a GGUF file.

use std::collections::HashMap;

use serde::Deserialize;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::WordPiece;
use super::bert_text::Cleaning;
use super::word_piece::{MAX_WORD_CHARACTERS, Pieces};
use crate::format::Files;
use crate::format::gguf::Metadata;

/// Longest file of a vocabulary.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// What marks tokens that continue a word.
const MARK: &str = "##";
/// What marks, in GGUF files, tokens that begin one.
const START_MARK: &str = "\u{2581}";

#[derive(Deserialize)]
struct TokenizerFile {
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<Named>,
    post_processor: Option<PostProcessor>,
    model: Model,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Normalizer {
    #[serde(rename = "type")]
    kind: String,
    clean_text: Option<bool>,
    handle_chinese_chars: Option<bool>,
    strip_accents: Option<bool>,
    lowercase: Option<bool>,
}

#[derive(Deserialize)]
struct Model {
    /// Old files do not say it.
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    TemplateProcessing {
        single: Vec<Part>,
        special_tokens: HashMap<String, Special>,
    },
    BertProcessing {
        cls: (String, u32),
        sep: (String, u32),
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
enum Part {
    SpecialToken { id: String },
    Sequence {},
}

#[derive(Deserialize)]
struct Special {
    ids: Vec<u32>,
}

#[derive(Deserialize, Default)]
struct TokenizerConfig {
    do_lower_case: Option<bool>,
}

impl WordPiece {
    /// Reads the tokenizer in folder `path` of `files`.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none, and what [`Self::from_json`] and [`Self::from_list`] report.
    pub fn read(files: Files<'_>, path: &str) -> Result<Self> {
        let read = |name: &str| files.small(&format!("{path}/{name}"), MAX_FILE_BYTES);
        if let Some(bytes) = read("tokenizer.json")? {
            return Self::from_json(&bytes);
        }
        let list = read("vocab.txt")?.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("the model folder \"{path}\" has neither tokenizer.json nor vocab.txt"),
            )
        })?;
        let config = read("tokenizer_config.json")?.map(|bytes| {
            serde_json::from_slice::<TokenizerConfig>(&bytes)
                .map_err(|error| corrupt("tokenizer_config.json").with_detail(error.to_string()))
        });
        let config = config.transpose()?.unwrap_or_default();
        Self::from_list(&list, config.do_lower_case.unwrap_or(true))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// `CorruptFile` for what is no such file, `Unsupported` for another kind of tokenizer, `LimitExceeded`.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file: TokenizerFile = serde_json::from_slice(bytes)
            .map_err(|error| corrupt("tokenizer.json").with_detail(error.to_string()))?;
        let kind = file.model.kind.as_deref().unwrap_or("WordPiece");
        expect("model", kind, "WordPiece")?;
        let pre_tokenizer = file.pre_tokenizer.as_ref().map_or("none", |named| &named.kind);
        expect("pre-tokenizer", pre_tokenizer, "BertPreTokenizer")?;
        let normalizer = file.normalizer.ok_or_else(|| unsupported("normalizer", "none"))?;
        expect("normalizer", &normalizer.kind, "BertNormalizer")?;
        let longest = file.model.max_input_chars_per_word;
        if longest.is_some_and(|longest| longest != MAX_WORD_CHARACTERS) {
            return Err(unsupported(
                "longest word",
                &longest.unwrap_or_default().to_string(),
            ));
        }
        let lowers = normalizer.lowercase.unwrap_or(true);
        let cleaning = Cleaning {
            cleans: normalizer.clean_text.unwrap_or(true),
            splits_chinese: normalizer.handle_chinese_chars.unwrap_or(true),
            strips_accents: normalizer.strip_accents.unwrap_or(lowers),
            lowers,
        };
        let mark = file.model.continuing_subword_prefix.as_deref().unwrap_or(MARK);
        let unknown = file.model.unk_token.as_deref().unwrap_or("[UNK]");
        let pieces = Pieces::new(file.model.vocab, mark, unknown)?;
        let (before, after) = match file.post_processor {
            None => (Vec::new(), Vec::new()),
            Some(processor) => processor.around()?,
        };
        Ok(Self::new(cleaning, pieces, before, after))
    }

    /// Reads a `vocab.txt`, which has a token in each line, for models that make no difference between small letters and capitals, or do.
    ///
    /// # Errors
    /// `CorruptFile` for what is no such list, `LimitExceeded`.
    pub fn from_list(bytes: &[u8], lowers: bool) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt("vocab.txt"))?;
        let lines = text.lines().map(|line| line.trim_end().to_owned());
        let pieces = Pieces::new(lines.zip(0..), MARK, "[UNK]")?;
        let special = |name: &str| pieces.token(name).ok_or_else(|| corrupt("vocab.txt"));
        let (before, after) = (vec![special("[CLS]")?], vec![special("[SEP]")?]);
        Ok(Self::new(Cleaning::usual(lowers), pieces, before, after))
    }

    /// Reads the tokenizer of a GGUF file. Such a file does not say whether capitals differ from small letters; they do not.
    ///
    /// # Errors
    /// `CorruptFile` for what contradicts itself, `Unsupported` for another kind of tokenizer, `LimitExceeded`.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let corrupt = |what: &str| Error::new(ErrorKind::CorruptFile, format!("the file has no {what}"));
        let kind = metadata.text("tokenizer.ggml.model")?.unwrap_or_default();
        expect("model", kind, "bert")?;
        let names = metadata
            .strings("tokenizer.ggml.tokens")?
            .ok_or_else(|| corrupt("vocabulary"))?;
        let named = |name: &[u8]| {
            let name = std::str::from_utf8(name).map_err(|_| corrupt("vocabulary of UTF-8 texts"))?;
            // Special tokens stand in brackets and have no mark.
            Ok(match name.strip_prefix(START_MARK) {
                Some(start) => start.to_owned(),
                None if name.starts_with('[') && name.ends_with(']') => name.to_owned(),
                None => format!("{MARK}{name}"),
            })
        };
        let tokens: Vec<String> = names.iter().map(named).collect::<Result<_>>()?;
        let special = |keys: [&str; 2]| -> Result<u32> {
            for key in keys {
                if let Some(number) = metadata.unsigned(&format!("tokenizer.ggml.{key}"))? {
                    let token = u32::try_from(number).ok();
                    let token = token.filter(|token| (*token as usize) < tokens.len());
                    return token.ok_or_else(|| corrupt(&format!("token {number}, its {key}")));
                }
            }
            Err(corrupt(keys[0]))
        };
        let before = vec![special(["cls_token_id", "bos_token_id"])?];
        // The key's name is misspelt in every file.
        let after = vec![special(["seperator_token_id", "eos_token_id"])?];
        let pieces = Pieces::new(tokens.into_iter().zip(0..), MARK, "[UNK]")?;
        Ok(Self::new(Cleaning::usual(true), pieces, before, after))
    }
}

impl PostProcessor {
    /// The tokens before and after a text.
    fn around(self) -> Result<(Vec<u32>, Vec<u32>)> {
        match self {
            Self::BertProcessing { cls, sep } => Ok((vec![cls.1], vec![sep.1])),
            Self::TemplateProcessing {
                single,
                special_tokens,
            } => {
                let mut around = (Vec::new(), Vec::new());
                let mut is_after = false;
                for part in single {
                    match part {
                        Part::Sequence {} if is_after => return Err(corrupt("tokenizer.json")),
                        Part::Sequence {} => is_after = true,
                        Part::SpecialToken { id } => {
                            let special = special_tokens.get(&id).ok_or_else(|| corrupt("tokenizer.json"))?;
                            let to = if is_after { &mut around.1 } else { &mut around.0 };
                            to.extend(&special.ids);
                        }
                    }
                }
                if is_after {
                    Ok(around)
                } else {
                    Err(corrupt("tokenizer.json"))
                }
            }
            Self::Other => Err(unsupported("post-processor", "another")),
        }
    }
}

fn expect(what: &str, found: &str, expected: &str) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(unsupported(what, found))
    }
}

fn unsupported(what: &str, found: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "tokenizers with the {what} \"{}\" are not supported",
            found.escape_debug()
        ),
    )
}

fn corrupt(name: &str) -> Error {
    Error::new(
        ErrorKind::CorruptFile,
        format!("{name} says what no tokenizer's says"),
    )
}
