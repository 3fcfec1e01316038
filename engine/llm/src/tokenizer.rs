//! Text into tokens and back.
//!
//! Must not know models. Invariant: special tokens are only made of text that the caller vouches for (`Trust::Template`), never of
//! what a user wrote, so nobody can put words into another role's mouth.

mod bert_text;
mod byte_pair;
mod byte_text;
mod from_gguf;
mod pre_tokenizer;
mod vocabulary;
mod word_piece;
mod word_piece_files;

pub use vocabulary::{TokenKind, Vocabulary};
pub use word_piece::{TooLong, WordPiece};

use vectorgpu_core::Result;

use byte_pair::BytePairEncoder;
use pre_tokenizer::PreTokenizer;

/// Who wrote a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A prompt template: names of special tokens stand for those.
    Template,
    /// A user: they are text like any other.
    User,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    pre_tokenizer: PreTokenizer,
    encoder: BytePairEncoder,
    /// Special tokens by their text, longest first.
    special: Vec<(Vec<u8>, u32)>,
    /// Tokens that end a text.
    ends: Vec<u32>,
    /// The token with which every text begins, if one does.
    begins: Option<u32>,
}

impl Tokenizer {
    /// The tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Appends the tokens of `text` to `tokens`.
    ///
    /// # Errors
    /// `CorruptFile` when the vocabulary lacks a token for a single byte of it.
    pub fn encode(&self, text: &str, trust: Trust, tokens: &mut Vec<u32>) -> Result<()> {
        match trust {
            Trust::User => self.encode_plain(text, tokens),
            Trust::Template => self.encode_with_special(text, tokens),
        }
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.pre_tokenizer
            .for_each(text, &mut |word| self.encoder.encode(word.as_bytes(), tokens))
    }

    fn encode_with_special(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let mut plain_from = 0;
        let mut at = 0;
        while at < text.len() {
            let rest = &text.as_bytes()[at..];
            let Some((name, token)) = self.special.iter().find(|(name, _)| rest.starts_with(name)) else {
                at += 1;
                continue;
            };
            self.encode_plain(&text[plain_from..at], tokens)?;
            tokens.push(*token);
            at += name.len();
            plain_from = at;
        }
        self.encode_plain(&text[plain_from..], tokens)
    }

    /// Whether a text ends with `token`.
    pub fn ends_text(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The token with which every text begins, if one does.
    pub fn begin_token(&self) -> Option<u32> {
        self.begins
    }

    /// The bytes that `token` stands for; none for a control token or a number that is no token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.vocabulary.text_bytes(token)
    }
}
