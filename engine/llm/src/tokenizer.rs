//! Text into tokens and back.
//!
//! Must not know models. Invariant: marks, which are control tokens, are only made of text that the caller vouches for
//! (`Trust::Template`), never of what a user wrote, so nobody can put words into another role's mouth.

mod bert_text;
mod byte_pair;
mod byte_text;
mod from_gguf;
mod pre_tokenizer;
mod sentence_piece;
mod special;
mod vocabulary;
mod word_piece;
mod word_piece_files;

pub use vocabulary::{TokenKind, Vocabulary};
pub use word_piece::{TooLong, WordPiece};

use vectorgpu_core::Result;

use byte_pair::BytePairEncoder;
use pre_tokenizer::PreTokenizer;
use sentence_piece::SentencePieceEncoder;
use special::SpecialTokens;

/// Who wrote a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A prompt template: names of marks stand for those.
    Template,
    /// A user: they are text like any other.
    User,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    encoding: Encoding,
    special: SpecialTokens,
    /// A text is encoded as if a space stood before it.
    space_before: bool,
    /// White space after a mark is a part of it.
    marks_take_space: bool,
    /// Tokens that end a text.
    ends: Vec<u32>,
    /// The token with which every text begins, if one does.
    begins: Option<u32>,
    /// The names of what begins and ends a text, whether or not it has to.
    names: [String; 2],
}

/// How plain text becomes tokens.
#[derive(Debug)]
enum Encoding {
    BytePairs(PreTokenizer, BytePairEncoder),
    SentencePieces(SentencePieceEncoder),
}

/// Marks after which white space stays, where it is a part of others.
const MARKS_WITHOUT_SPACE: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];

impl Tokenizer {
    /// The tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Appends the tokens of `text` to `tokens`, which are what stands before it.
    ///
    /// # Errors
    /// `CorruptFile` when the vocabulary lacks a token for a single byte of it.
    pub fn encode(&self, text: &str, trust: Trust, tokens: &mut Vec<u32>) -> Result<()> {
        let mut plain_from = 0;
        let mut at = 0;
        while at < text.len() {
            let Some((name, token)) = self.special.at_start(&text.as_bytes()[at..], trust) else {
                at += 1;
                continue;
            };
            self.encode_plain(&text[plain_from..at], tokens)?;
            tokens.push(token);
            at += name.len();
            plain_from = at;
        }
        self.encode_plain(&text[plain_from..], tokens)
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let before = tokens.last().copied();
        let kind = before.map(|token| self.vocabulary.kind(token));
        let text = match before {
            Some(mark) if self.takes_space(mark) => {
                text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r'])
            }
            _ => text,
        };
        if text.is_empty() {
            return Ok(());
        }
        match &self.encoding {
            Encoding::BytePairs(pre_tokenizer, encoder) => {
                pre_tokenizer.for_each(text, &mut |word| encoder.encode(word.as_bytes(), tokens))
            }
            // A text begins where there is none before it, or a special token.
            Encoding::SentencePieces(encoder) => match kind {
                None | Some(TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown)
                    if self.space_before =>
                {
                    encoder.encode(&format!(" {text}"), tokens)
                }
                _ => encoder.encode(text, tokens),
            },
        }
    }

    /// Whether white space after this token is a part of it.
    fn takes_space(&self, token: u32) -> bool {
        self.marks_take_space
            && self.vocabulary.kind(token) == TokenKind::Control
            && !MARKS_WITHOUT_SPACE.contains(&self.vocabulary.name(token))
    }

    /// The text of `tokens` from its beginning: without the space that [`Self::encode`] put before it.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        let mut text = Vec::new();
        let mut strips = self.space_before;
        for bytes in tokens.iter().map(|token| self.bytes(*token)) {
            let without = bytes.strip_prefix(b" ").filter(|_| strips);
            text.extend_from_slice(without.unwrap_or(bytes));
            strips &= bytes.is_empty();
        }
        text
    }

    /// The names of marks, with their tokens: what must not become of a user's text.
    pub fn marks(&self) -> impl Iterator<Item = (&str, u32)> {
        self.special.marks()
    }

    /// Whether a text ends with `token`.
    pub fn ends_text(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The token with which every text begins, if one does.
    pub fn begin_token(&self) -> Option<u32> {
        self.begins
    }

    /// The name of the mark that begins a text, for templates; empty where there is none.
    pub fn begin_name(&self) -> &str {
        &self.names[0]
    }

    /// The name of the mark that ends a text, for templates; empty where there is none.
    pub fn end_name(&self) -> &str {
        &self.names[1]
    }

    /// The bytes that `token` stands for; none for a control token or a number that is no token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.vocabulary.text_bytes(token)
    }
}

#[cfg(test)]
mod tests;
