//! The tokenizer that a GGUF file carries.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::byte_pair::BytePairEncoder;
use super::byte_text::bytes_of;
use super::pre_tokenizer::PreTokenizer;
use super::{TokenKind, Tokenizer, Vocabulary};
use crate::format::gguf::Metadata;

impl Tokenizer {
    /// Reads it from a file's metadata.
    ///
    /// # Errors
    /// `CorruptFile` for what contradicts itself, `Unsupported` for another kind of tokenizer.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let model = metadata.text("tokenizer.ggml.model")?.unwrap_or_default();
        if model != "gpt2" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the tokenizer \"{model}\" is not supported"),
            ));
        }
        let pre_tokenizer = PreTokenizer::named(metadata.text("tokenizer.ggml.pre")?.unwrap_or("default"))?;
        let takes_words = metadata.text("tokenizer.ggml.pre")? == Some("llama-bpe");
        let vocabulary = vocabulary(metadata)?;
        let merges = metadata
            .strings("tokenizer.ggml.merges")?
            .ok_or_else(|| corrupt("the file has a byte-pair tokenizer without merges"))?;
        let encoder = BytePairEncoder::new(&vocabulary, merges.iter().map(merge), takes_words)?;
        let special = special_tokens(&vocabulary);
        let ends = ends(metadata, &special, vocabulary.len())?;
        let begins = match metadata.boolean("tokenizer.ggml.add_bos_token")? {
            Some(true) => token(metadata, "bos_token_id", vocabulary.len())?,
            _ => None,
        };
        Ok(Self {
            ends,
            begins,
            vocabulary,
            pre_tokenizer,
            encoder,
            special,
        })
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}

fn vocabulary(metadata: &Metadata) -> Result<Vocabulary> {
    let names = metadata
        .strings("tokenizer.ggml.tokens")?
        .ok_or_else(|| corrupt("the file has no vocabulary"))?;
    let kinds = metadata.integers("tokenizer.ggml.token_type")?;
    if kinds.is_some_and(|kinds| kinds.len() != names.len()) {
        return Err(corrupt(format!(
            "the file has {} tokens and {} types of tokens",
            names.len(),
            kinds.map_or(0, <[i64]>::len)
        )));
    }
    let mut vocabulary = Vocabulary::default();
    for (number, name) in names.iter().enumerate() {
        let kind = kind(kinds.map_or(1, |kinds| kinds[number]))?;
        // Texts are written in printable characters, marks as they are; so are a few texts.
        let bytes = match kind {
            TokenKind::Normal => std::str::from_utf8(name).ok().and_then(bytes_of),
            _ => None,
        };
        vocabulary.push(bytes.as_deref().unwrap_or(name), kind)?;
    }
    Ok(vocabulary)
}

fn kind(number: i64) -> Result<TokenKind> {
    Ok(match number {
        1 => TokenKind::Normal,
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        6 => TokenKind::Byte,
        _ => return Err(corrupt(format!("the file has a token of unknown type {number}"))),
    })
}

/// A merge is two tokens with a space between them, which no token has in its printable form.
fn merge(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let text = std::str::from_utf8(line).ok();
    let pair = text.and_then(|text| text.split_once(' '));
    pair.and_then(|(left, right)| Some((bytes_of(left)?, bytes_of(right)?)))
        .ok_or_else(|| corrupt(format!("\"{}\" is no merge of two tokens", line.escape_ascii())))
}

/// Names of tokens that end a text, whatever else a file says of them.
const END_NAMES: [&str; 7] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
];

/// The token that a key of the tokenizer names.
fn token(metadata: &Metadata, key: &str, tokens: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{key}");
    let Some(number) = metadata.unsigned(&key)? else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(token) if (token as usize) < tokens => Ok(Some(token)),
        _ => Err(corrupt(format!("\"{key}\" is {number}, of {tokens} tokens"))),
    }
}

fn ends(metadata: &Metadata, special: &[(Vec<u8>, u32)], tokens: usize) -> Result<Vec<u32>> {
    let mut ends = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(token(metadata, key, tokens)?);
    }
    let named = special
        .iter()
        .filter(|(name, _)| END_NAMES.iter().any(|end| end.as_bytes() == name));
    ends.extend(named.map(|(_, token)| *token));
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

/// Tokens that a template names, longest first, so that none hides another.
fn special_tokens(vocabulary: &Vocabulary) -> Vec<(Vec<u8>, u32)> {
    let mut special: Vec<(Vec<u8>, u32)> = (0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX))
        .filter(|token| {
            matches!(
                vocabulary.kind(*token),
                TokenKind::Control | TokenKind::UserDefined
            )
        })
        .map(|token| (vocabulary.name(token).to_vec(), token))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    special.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    special
}
