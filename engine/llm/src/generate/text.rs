//! One text that is being written.

use vectorgpu_core::{Error, ErrorKind, Result};

use super::{Finish, GenerateOptions, Piece};
use crate::cache::BlockTable;
use crate::gpu::{AheadText, Next};
use crate::sample::{Chosen, Sampler};
use crate::stream::TextStream;
use crate::tokenizer::Tokenizer;

/// A text, its place in the cache, and what chooses its tokens.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) number: usize,
    pub(super) table: BlockTable,
    /// Tokens that the model has not read: of the prompt, then the last one written.
    pub(super) unread: Vec<u32>,
    /// Tokens that it may have in the end.
    pub(super) most: usize,
    sampler: Sampler,
    stream: TextStream,
    stop_tokens: Vec<u32>,
    ignores_end: bool,
    /// How a device chooses its tokens, where one could.
    next: Option<Next>,
    written: usize,
    max_tokens: usize,
    pub(super) finish: Option<Finish>,
}

impl Text {
    pub(super) fn new(
        number: usize,
        prompt: Vec<u32>,
        options: &GenerateOptions,
        context: usize,
        vocabulary: usize,
    ) -> Result<Self> {
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the prompt is empty"));
        }
        let most = prompt.len().saturating_add(options.max_tokens);
        if most > context {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{} tokens of prompt and {} of text are more than the context of {context}",
                    prompt.len(),
                    options.max_tokens
                ),
            )
            .with_hint("Shorten the prompt, or ask for fewer tokens."));
        }
        Ok(Self {
            number,
            most,
            next: Next::of(&options.sampling, vocabulary),
            sampler: Sampler::new(options.sampling.clone(), &prompt)?,
            table: BlockTable::default(),
            stream: TextStream::new(options.stop.iter().map(String::as_str)),
            stop_tokens: options.stop_tokens.clone(),
            ignores_end: options.ignore_end,
            unread: prompt,
            written: 0,
            max_tokens: options.max_tokens,
            finish: (options.max_tokens == 0).then_some(Finish::Length),
        })
    }

    /// Notes that the model has read the first `count` of the unread tokens.
    pub(super) fn has_read(&mut self, count: usize) {
        self.unread.drain(..count);
        self.table.advance(count);
    }

    /// It as a device writes it, if one could: with its prompt unread.
    pub(super) fn ahead(&self) -> Option<AheadText> {
        Some(AheadText {
            unread: self.unread.clone(),
            table: self.table.clone(),
            next: self.next.clone()?,
        })
    }

    /// Writes the token that `logits` lead to.
    pub(super) fn write(&mut self, logits: &[f32], tokenizer: &Tokenizer) -> Result<Piece> {
        let chosen = self.sampler.choose(logits)?;
        Ok(self.write_token(chosen, tokenizer))
    }

    /// Writes a token that was chosen elsewhere.
    pub(super) fn write_token(&mut self, chosen: Chosen, tokenizer: &Tokenizer) -> Piece {
        self.written += 1;
        let ends = !self.ignores_end && tokenizer.ends_text(chosen.token);
        let mut text = String::new();
        if ends || self.stop_tokens.contains(&chosen.token) {
            self.finish = Some(Finish::Stop);
            text = self.stream.finish();
        } else {
            text.push_str(&self.stream.push(tokenizer.bytes(chosen.token)));
            if self.stream.is_stopped() {
                self.finish = Some(Finish::Stop);
            } else if self.written == self.max_tokens {
                self.finish = Some(Finish::Length);
                text.push_str(&self.stream.finish());
            }
            self.unread.push(chosen.token);
        }
        Piece {
            of_text: self.number,
            text,
            chosen,
            finish: self.finish,
        }
    }
}
