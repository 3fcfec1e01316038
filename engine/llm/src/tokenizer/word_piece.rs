//! Word pieces: a word is the longest tokens that it is made of, from its start on. The tokenizer of BERT and of models like it.
//!
//! A text is cleaned and cut into words first (`bert_text`). Invariant: a text never becomes a special token, whatever it says.
//! Source: M. Schuster and K. Nakajima, "Japanese and Korean Voice Search", 2012; the library `tokenizers`, whose tokens these are.

use std::collections::HashMap;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::bert_text::Cleaning;

/// Words with more characters are unknown.
pub(super) const MAX_WORD_CHARACTERS: usize = 100;
/// Most tokens of a pieces.
const MAX_TOKENS: usize = 1 << 22;

/// What happens to a text that has more tokens than its model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// An error.
    Refuse,
    /// Its end is left out.
    Truncate,
}

/// A tokenizer.
#[derive(Debug)]
pub struct WordPiece {
    pub(super) cleaning: Cleaning,
    pieces: Pieces,
    /// Tokens before and after each text.
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
}

/// The tokens that text can become.
#[derive(Debug)]
pub(super) struct Pieces {
    starts: HashMap<Box<str>, u32>,
    /// Without what marks that they continue a word.
    continuations: HashMap<Box<str>, u32>,
    unknown: u32,
    /// Bytes of the longest token.
    longest: usize,
    largest: u32,
}

impl WordPiece {
    pub(super) fn new(cleaning: Cleaning, pieces: Pieces, before: Vec<u32>, after: Vec<u32>) -> Self {
        Self {
            cleaning,
            pieces,
            before,
            after,
        }
    }

    /// The largest token there is.
    pub fn largest_token(&self) -> u32 {
        let around = self.before.iter().chain(&self.after);
        around.fold(self.pieces.largest, |largest, token| largest.max(*token))
    }

    /// The tokens of `text`, with those that stand around every text, at most `most` of them.
    ///
    /// # Errors
    /// `LimitExceeded` when there are more and that is to be refused, or when `most` has no room for text.
    pub fn encode(&self, text: &str, most: usize, too_long: TooLong) -> Result<Vec<u32>> {
        let around = self.before.len() + self.after.len();
        let room = most.saturating_sub(around);
        let mut tokens = self.before.clone();
        let full =
            |tokens: &Vec<u32>| tokens.len() - self.before.len() > room && too_long == TooLong::Truncate;
        self.cleaning.for_each_word(text, &mut |word| {
            if !full(&tokens) {
                self.pieces.encode(word, &mut tokens);
            }
        });
        let count = tokens.len() + self.after.len();
        if room == 0 || (count > most && too_long == TooLong::Refuse) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("a text of {count} tokens, and the model reads {most} at most"),
            )
            .with_hint("Cut the text into parts, or let it be truncated."));
        }
        tokens.truncate(self.before.len() + room);
        tokens.extend(&self.after);
        Ok(tokens)
    }
}

impl Pieces {
    /// `tokens` by their text. Those that begin with `mark` continue a word.
    ///
    /// # Errors
    /// `CorruptFile` where `unknown` is no token, `LimitExceeded` for too many.
    pub(super) fn new(
        tokens: impl IntoIterator<Item = (String, u32)>,
        mark: &str,
        unknown: &str,
    ) -> Result<Self> {
        let mut pieces = Self {
            starts: HashMap::new(),
            continuations: HashMap::new(),
            unknown: 0,
            longest: 0,
            largest: 0,
        };
        for (text, token) in tokens {
            pieces.longest = pieces.longest.max(text.len());
            pieces.largest = pieces.largest.max(token);
            if let Some(rest) = text.strip_prefix(mark).filter(|rest| !rest.is_empty()) {
                pieces.continuations.insert(rest.into(), token);
            }
            pieces.starts.insert(text.into(), token);
        }
        if pieces.starts.len() > MAX_TOKENS {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("a vocabulary of more than {MAX_TOKENS} tokens"),
            ));
        }
        pieces.unknown = *pieces.starts.get(unknown).ok_or_else(|| {
            Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "the tokenizer's unknown token \"{}\" is none",
                    unknown.escape_debug()
                ),
            )
        })?;
        Ok(pieces)
    }

    pub(super) fn token(&self, text: &str) -> Option<u32> {
        self.starts.get(text).copied()
    }

    /// Appends the tokens of a word: the unknown one alone if any part of it is unknown.
    fn encode(&self, word: &str, tokens: &mut Vec<u32>) {
        let first = tokens.len();
        let mut rest = word;
        if word.chars().count() > MAX_WORD_CHARACTERS {
            tokens.push(self.unknown);
            return;
        }
        while !rest.is_empty() {
            let of = if rest.len() == word.len() {
                &self.starts
            } else {
                &self.continuations
            };
            let ends = rest
                .char_indices()
                .map(|(at, character)| at + character.len_utf8());
            let ends = ends.take_while(|end| *end <= self.longest).collect::<Vec<_>>();
            let longest = ends
                .iter()
                .rev()
                .find_map(|end| of.get(&rest[..*end]).map(|token| (*end, *token)));
            let Some((end, token)) = longest else {
                tokens.truncate(first);
                tokens.push(self.unknown);
                return;
            };
            tokens.push(token);
            rest = &rest[end..];
        }
    }
}

#[cfg(test)]
mod tests;
