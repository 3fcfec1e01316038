//! Byte-pair encoding: bytes that were often neighbours in the training text become one token, in the order of that text's merges.
//!
//! Source: R. Sennrich, B. Haddow and A. Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use vectorgpu_core::{Error, ErrorKind, Result};

use super::Vocabulary;

/// What two neighbours become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    /// Merges of lower rank come first.
    pub(super) rank: u32,
    pub(super) token: u32,
}

/// Encodes words.
#[derive(Debug)]
pub(super) struct BytePairEncoder {
    of_byte: [Option<u32>; 256],
    merges: HashMap<(u32, u32), Merge>,
    /// Whole words, where those come before all merges.
    words: Option<HashMap<Box<[u8]>, u32>>,
}

/// A token of the word at hand, and its neighbours.
#[derive(Clone, Copy)]
struct Piece {
    token: u32,
    before: usize,
    after: usize,
}

const NONE: usize = usize::MAX;

impl BytePairEncoder {
    /// An encoder for `vocabulary`, whose `merges` name pairs of tokens by their bytes, the first one first. With `takes_words` a word
    /// that is a token becomes that, whatever the merges say.
    ///
    /// # Errors
    /// `CorruptFile` for a merge of, or to, bytes that no token has.
    pub(super) fn new(
        vocabulary: &Vocabulary,
        merges: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>,
        takes_words: bool,
    ) -> Result<Self> {
        let tokens = vocabulary.by_bytes();
        let find = |bytes: &[u8]| {
            tokens.get(bytes).copied().ok_or_else(|| {
                Error::new(
                    ErrorKind::CorruptFile,
                    format!(
                        "the tokenizer merges \"{}\", which is no token",
                        bytes.escape_ascii()
                    ),
                )
            })
        };
        let mut of_pair = HashMap::new();
        for (rank, merge) in (0..).zip(merges) {
            let (left, right) = merge?;
            let merged = Merge {
                rank,
                token: find(&[&left[..], &right].concat())?,
            };
            of_pair.entry((find(&left)?, find(&right)?)).or_insert(merged);
        }
        let mut of_byte = [None; 256];
        for (byte, token) in (0u8..=255).zip(&mut of_byte) {
            *token = tokens.get(&[byte][..]).copied();
        }
        Ok(Self {
            of_byte,
            merges: of_pair,
            words: takes_words.then_some(tokens),
        })
    }

    /// Appends the tokens of `word` to `tokens`.
    ///
    /// # Errors
    /// `CorruptFile` when a byte has no token.
    pub(super) fn encode(&self, word: &[u8], tokens: &mut Vec<u32>) -> Result<()> {
        if let Some(token) = self.words.as_ref().and_then(|words| words.get(word)) {
            tokens.push(*token);
            return Ok(());
        }
        let mut pieces = self.bytes_of(word)?;
        let mut heap = BinaryHeap::new();
        for left in 0..pieces.len() {
            self.consider(&pieces, left, &mut heap);
        }
        while let Some(Reverse((_, left, of_left, of_right))) = heap.pop() {
            let right = pieces[left].after;
            // One of them may have become something else meanwhile.
            if right == NONE || pieces[left].token != of_left || pieces[right].token != of_right {
                continue;
            }
            let Some(merge) = self.merges.get(&(of_left, of_right)) else {
                continue;
            };
            let after = pieces[right].after;
            (pieces[left].token, pieces[left].after) = (merge.token, after);
            // No token has this number, so what waits for this piece is passed over.
            pieces[right].token = u32::MAX;
            if after != NONE {
                pieces[after].before = left;
            }
            self.consider(&pieces, left, &mut heap);
            if pieces[left].before != NONE {
                self.consider(&pieces, pieces[left].before, &mut heap);
            }
        }
        let mut at = if pieces.is_empty() { NONE } else { 0 };
        while at != NONE {
            tokens.push(pieces[at].token);
            at = pieces[at].after;
        }
        Ok(())
    }

    fn bytes_of(&self, word: &[u8]) -> Result<Vec<Piece>> {
        let piece = |(place, byte): (usize, &u8)| {
            let token = self.of_byte[usize::from(*byte)].ok_or_else(|| {
                Error::new(
                    ErrorKind::CorruptFile,
                    format!("the tokenizer has no token for the byte {byte:#04x}"),
                )
            })?;
            Ok(Piece {
                token,
                before: place.checked_sub(1).unwrap_or(NONE),
                after: if place + 1 < word.len() { place + 1 } else { NONE },
            })
        };
        word.iter().enumerate().map(piece).collect()
    }

    /// Notes what the piece at `left` and the one after it may become.
    fn consider(
        &self,
        pieces: &[Piece],
        left: usize,
        heap: &mut BinaryHeap<Reverse<(u32, usize, u32, u32)>>,
    ) {
        let right = pieces[left].after;
        if right == NONE {
            return;
        }
        let pair = (pieces[left].token, pieces[right].token);
        if let Some(merge) = self.merges.get(&pair) {
            heap.push(Reverse((merge.rank, left, pair.0, pair.1)));
        }
    }
}
