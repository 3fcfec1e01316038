//! The tokenizer that a GGUF file carries.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::byte_pair::BytePairEncoder;
use super::byte_text::bytes_of;
use super::pre_tokenizer::PreTokenizer;
use super::sentence_piece::{SPACE, SentencePieceEncoder};
use super::special::SpecialTokens;
use super::{Encoding, TokenKind, Tokenizer, Vocabulary};
use crate::format::gguf::Metadata;

impl Tokenizer {
    /// Reads it from a file's metadata.
    ///
    /// # Errors
    /// `CorruptFile` for what contradicts itself, `Unsupported` for another kind of tokenizer.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let model = metadata.text("tokenizer.ggml.model")?.unwrap_or_default();
        let spelling = match model {
            "gpt2" => Spelling::Bytes,
            "llama" => Spelling::SentencePiece,
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the tokenizer \"{model}\" is not supported"),
                ));
            }
        };
        let pre = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let is_llama3 = ["llama-bpe", "llama3", "llama-v3"].contains(&pre);
        let vocabulary = vocabulary(metadata, spelling)?;
        let encoding = match spelling {
            Spelling::Bytes => {
                let merges = metadata
                    .strings("tokenizer.ggml.merges")?
                    .ok_or_else(|| corrupt("the file has a byte-pair tokenizer without merges"))?;
                let encoder = BytePairEncoder::new(&vocabulary, merges.iter().map(merge), is_llama3)?;
                Encoding::BytePairs(PreTokenizer::named(pre)?, encoder)
            }
            Spelling::SentencePiece => {
                let scores = metadata
                    .floats("tokenizer.ggml.scores")?
                    .ok_or_else(|| corrupt("the file has a SentencePiece tokenizer without scores"))?;
                Encoding::SentencePieces(SentencePieceEncoder::new(&vocabulary, scores)?)
            }
        };
        // What a file that does not say is taken to mean, as by those who wrote the first such files.
        let is_pieces = spelling == Spelling::SentencePiece;
        let adds_begin = metadata.boolean("tokenizer.ggml.add_bos_token")?;
        let begins = match adds_begin.unwrap_or(is_pieces || is_llama3) {
            true => token(metadata, "bos_token_id", vocabulary.len())?,
            false => None,
        };
        let space_before = metadata.boolean("tokenizer.ggml.add_space_prefix")?;
        let special = SpecialTokens::of(&vocabulary);
        let name = |key| -> Result<String> {
            let token = token(metadata, key, vocabulary.len())?;
            let name = token.map_or(&[][..], |token| vocabulary.name(token));
            Ok(String::from_utf8_lossy(name).into_owned())
        };
        Ok(Self {
            names: [name("bos_token_id")?, name("eos_token_id")?],
            ends: ends(metadata, &special, vocabulary.len())?,
            begins,
            space_before: is_pieces && space_before.unwrap_or(true),
            marks_take_space: is_phi3(metadata)?,
            vocabulary,
            encoding,
            special,
        })
    }
}

/// How a file writes text tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Each byte as a printable character.
    Bytes,
    /// As they are, but for spaces; bytes that are no characters as `<0x0A>`.
    SentencePiece,
}

/// The model whose published tokenizer takes white space after marks away; its files do not say so but by their name.
fn is_phi3(metadata: &Metadata) -> Result<bool> {
    let name = metadata.text("general.name")?.unwrap_or_default().to_lowercase();
    Ok(name.contains("phi-3") || name.contains("phi3"))
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}

fn vocabulary(metadata: &Metadata, spelling: Spelling) -> Result<Vocabulary> {
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
        let kind = match kind(kinds.map_or(1, |kinds| kinds[number]))? {
            TokenKind::Normal | TokenKind::UserDefined if is_mark(name) => TokenKind::Control,
            kind => kind,
        };
        match spelled(name, kind, spelling) {
            Some(text) => vocabulary.push(&text, kind)?,
            // A text that is not written as texts are cannot be merged from bytes, and has a twin that can.
            None if kind == TokenKind::Normal => vocabulary.push(name, TokenKind::Unused)?,
            None => vocabulary.push(name, kind)?,
        }
    }
    Ok(vocabulary)
}

/// The text of a token that is written in another way; marks are written as they are.
fn spelled(name: &[u8], kind: TokenKind, spelling: Spelling) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(name).ok()?;
    match (kind, spelling) {
        (TokenKind::Normal, Spelling::Bytes) => bytes_of(text),
        (TokenKind::Normal, Spelling::SentencePiece) => Some(text.replace(SPACE, " ").into_bytes()),
        (TokenKind::Byte, Spelling::SentencePiece) => {
            let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
            Some(vec![u8::from_str_radix(digits, 16).ok()?])
        }
        _ => None,
    }
}

/// Whether a token is a mark by its look, though its file says that it is text: older converters wrote so, and then a user's text could
/// end the user's turn.
fn is_mark(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let between = |start: &str, end: &str| {
        name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    let is_plain = ["<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"].contains(&name);
    is_plain || ((between("<|", "|>") || between("<｜", "｜>")) && !name.contains(' '))
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

fn ends(metadata: &Metadata, special: &SpecialTokens, tokens: usize) -> Result<Vec<u32>> {
    let mut ends = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(token(metadata, key, tokens)?);
    }
    let named = special.marks().filter(|(name, _)| END_NAMES.contains(name));
    ends.extend(named.map(|(_, token)| token));
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}
