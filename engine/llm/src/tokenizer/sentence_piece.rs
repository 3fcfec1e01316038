//! SentencePiece's encoding with scores: of all neighbours that together are a token, those with the highest score become it, until none
//! are left. What is no token then is written byte by byte.
//!
//! Must not know special tokens. Source: T. Kudo and J. Richardson, "SentencePiece", 2018; as llama.cpp does it: of equal scores the leftmost
//! first, a space wherever the text has one or U+2581.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use vectorgpu_core::{Error, ErrorKind, Result};

use super::{TokenKind, Vocabulary};

/// How vocabularies write a space.
pub(super) const SPACE: char = '\u{2581}';

/// Encodes texts.
#[derive(Debug)]
pub(super) struct SentencePieceEncoder {
    pieces: HashMap<Box<[u8]>, u32>,
    scores: Vec<f32>,
    of_byte: [Option<u32>; 256],
    unknown: Option<u32>,
}

/// A part of the text that is, or may become, a token.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    /// 0 once it has become a part of the one before.
    length: usize,
    before: usize,
    after: usize,
}

const NONE: usize = usize::MAX;

/// Two neighbours that may become one token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Of both: if one of them has grown meanwhile, it is another pair.
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePieceEncoder {
    /// An encoder for `vocabulary`, whose tokens have these `scores`.
    ///
    /// # Errors
    /// `CorruptFile` when they are not as many.
    pub(super) fn new(vocabulary: &Vocabulary, scores: &[f32]) -> Result<Self> {
        if scores.len() != vocabulary.len() {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "the file has {} tokens and {} scores",
                    vocabulary.len(),
                    scores.len()
                ),
            ));
        }
        let mut pieces = HashMap::with_capacity(vocabulary.len());
        let (mut of_byte, mut unknown) = ([None; 256], None);
        for token in 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX) {
            let name = vocabulary.name(token);
            match (vocabulary.kind(token), name) {
                (TokenKind::Byte, [byte]) => of_byte[usize::from(*byte)] = Some(token),
                (TokenKind::Normal | TokenKind::UserDefined, _) => {
                    pieces.entry(name.into()).or_insert(token);
                }
                (TokenKind::Unknown, _) => unknown = unknown.or(Some(token)),
                _ => {}
            }
        }
        Ok(Self {
            pieces,
            scores: scores.to_vec(),
            of_byte,
            unknown,
        })
    }

    /// Appends the tokens of `text` to `tokens`.
    ///
    /// # Errors
    /// `CorruptFile` when a byte has no token, and there is none for what is unknown.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let text = text.replace(SPACE, " ");
        let mut parts = characters(&text);
        let mut pairs = BinaryHeap::new();
        for left in 0..parts.len() {
            self.consider(&text, &parts, left, &mut pairs);
        }
        while let Some(pair) = pairs.pop() {
            let (left, right) = (parts[pair.left], parts[pair.right]);
            if left.length == 0 || right.length == 0 || left.length + right.length != pair.length {
                continue;
            }
            parts[pair.left].length = pair.length;
            parts[pair.left].after = right.after;
            parts[pair.right].length = 0;
            if right.after != NONE {
                parts[right.after].before = pair.left;
            }
            if left.before != NONE {
                self.consider(&text, &parts, left.before, &mut pairs);
            }
            self.consider(&text, &parts, pair.left, &mut pairs);
        }
        let whole = parts.iter().filter(|part| part.length > 0);
        for part in whole {
            self.write(&text.as_bytes()[part.start..part.start + part.length], tokens)?;
        }
        Ok(())
    }

    /// Notes what the part at `left` and the one after it may become.
    fn consider(&self, text: &str, parts: &[Part], left: usize, pairs: &mut BinaryHeap<Pair>) {
        let right = parts[left].after;
        if right == NONE {
            return;
        }
        let length = parts[left].length + parts[right].length;
        let both = &text.as_bytes()[parts[left].start..][..length];
        if let Some(token) = self.pieces.get(both) {
            pairs.push(Pair {
                score: self.scores[*token as usize],
                left,
                right,
                length,
            });
        }
    }

    fn write(&self, part: &[u8], tokens: &mut Vec<u32>) -> Result<()> {
        if let Some(token) = self.pieces.get(part) {
            tokens.push(*token);
            return Ok(());
        }
        for byte in part {
            let token = self.of_byte[usize::from(*byte)].or(self.unknown);
            tokens.push(token.ok_or_else(|| {
                Error::new(
                    ErrorKind::CorruptFile,
                    format!("the tokenizer has no token for the byte {byte:#04x}"),
                )
            })?);
        }
        Ok(())
    }
}

fn characters(text: &str) -> Vec<Part> {
    let part = |(place, (start, character)): (usize, (usize, char))| {
        let length = character.len_utf8();
        Part {
            start,
            length,
            before: place.checked_sub(1).unwrap_or(NONE),
            after: if start + length < text.len() {
                place + 1
            } else {
                NONE
            },
        }
    };
    text.char_indices().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens and their scores; the first ones are unknown, and the bytes of "é".
    fn encoder(pieces: &[(&str, f32)]) -> SentencePieceEncoder {
        let mut vocabulary = Vocabulary::default();
        let mut scores = vec![0.0; 3];
        vocabulary.push(b"<unk>", TokenKind::Unknown).expect("room");
        vocabulary.push(b"\xc3", TokenKind::Byte).expect("room");
        vocabulary.push(b"\xa9", TokenKind::Byte).expect("room");
        for (piece, score) in pieces {
            vocabulary
                .push(piece.as_bytes(), TokenKind::Normal)
                .expect("room");
            scores.push(*score);
        }
        SentencePieceEncoder::new(&vocabulary, &scores).expect("as many scores")
    }

    fn encoded(encoder: &SentencePieceEncoder, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        encoder.encode(text, &mut tokens).expect("encoded");
        tokens
    }

    #[test]
    fn neighbours_of_the_highest_score_come_first_and_of_equals_the_leftmost() {
        let letters = [("a", 0.0), ("b", 0.0), ("c", 0.0)];
        let with = |more: &[(&str, f32)]| encoder(&[&letters[..], more].concat());
        assert_eq!(encoded(&with(&[("ab", -2.0), ("bc", -1.0)]), "abc"), [3, 7]);
        assert_eq!(encoded(&with(&[("ab", -1.0), ("bc", -1.0)]), "abc"), [6, 5]);
        assert_eq!(
            encoded(&with(&[("aa", -1.0), ("aaaa", -2.0)]), "aaaaaaa"),
            [7, 6, 3]
        );
        let longer = with(&[("ab", -3.0), ("abc", -1.0)]);
        assert_eq!(encoded(&longer, "abcab"), [7, 6]);
    }

    #[test]
    fn what_is_no_token_is_written_in_bytes_or_is_unknown() {
        let encoder = encoder(&[("a", 0.0), (" ", 0.0), (" a", -1.0)]);
        assert_eq!(encoded(&encoder, "aéa"), [3, 1, 2, 3]);
        assert_eq!(encoded(&encoder, "ab"), [3, 0]);
        assert_eq!(encoded(&encoder, "a\u{2581}a"), [3, 5]);
        assert_eq!(encoded(&encoder, ""), [0u32; 0]);
    }

    #[test]
    fn scores_have_to_be_as_many_as_tokens() {
        let error = SentencePieceEncoder::new(&Vocabulary::default(), &[1.0])
            .map(|_| ())
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::CorruptFile);
    }
}
