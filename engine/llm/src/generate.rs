//! Texts that are written side by side: prompts in, text out, a token a step for each.
//!
//! Bookkeeping only: who is written now, who waits for room in the cache, and what of each is read next. Must not know where a model's
//! file is, on what it is computed, nor who asks. A text begins when the cache has room for all of it, so none is stopped for others.
//! Invariant: what texts took of the cache is with them until `release`, or until each has ended.

mod ahead;
mod text;

use std::collections::VecDeque;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::batch::{Part, Wants};
use crate::cache::{BLOCK_TOKENS, BlockPool};
use crate::decoder::Decoder;
use crate::gpu::Ahead;
use crate::sample::{Chosen, SamplingOptions};
use crate::tokenizer::Tokenizer;
use text::Text;

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// Most tokens to write.
    pub max_tokens: usize,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// It ends with any of these tokens, which add nothing to it.
    pub stop_tokens: Vec<u32>,
    /// It does not end where the model would end it.
    pub ignore_end: bool,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop string or stop token came.
    Stop,
    /// It has as many tokens as were wanted.
    Length,
}

/// What a step wrote of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The number of the text, in the order in which they were added.
    pub of_text: usize,
    /// What can go out; often nothing.
    pub text: String,
    /// The token.
    pub chosen: Chosen,
    /// Why it was the last one, if it was.
    pub finish: Option<Finish>,
}

/// Texts that are being written.
#[derive(Debug)]
pub struct Generation {
    at_once: usize,
    added: usize,
    waiting: VecDeque<Text>,
    running: Vec<Text>,
    /// The same texts as `running`, where a device chooses their tokens.
    ahead: Option<Ahead>,
    logits: Vec<f32>,
}

impl Generation {
    /// No text yet; `at_once` of those to come are written side by side, at most.
    pub fn new(at_once: usize) -> Self {
        Self {
            at_once: at_once.max(1),
            added: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            ahead: None,
            logits: Vec::new(),
        }
    }

    /// Adds a text that follows the tokens `prompt`. One of no tokens has ended at once, without a piece.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty prompt or sampling options that mean nothing, `LimitExceeded` when prompt and text are longer than
    /// the decoder's context.
    pub fn add(&mut self, prompt: Vec<u32>, options: &GenerateOptions, decoder: &dyn Decoder) -> Result<()> {
        let text = Text::new(
            self.added,
            prompt,
            options,
            decoder.context(),
            decoder.vocabulary(),
        )?;
        self.added += 1;
        if text.finish.is_none() {
            self.waiting.push_back(text);
        }
        Ok(())
    }

    /// Whether all texts have ended.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Reads a part of the prompts, and writes one more token of each text whose prompt is read. Nothing when all have ended.
    ///
    /// # Errors
    /// `LimitExceeded` when not even one text has room in the cache: texts are as they were. `Cancelled`, what the decoder reports: texts
    /// are as they were too, but those whose tokens a device chooses have ended.
    pub fn step(
        &mut self,
        decoder: &mut dyn Decoder,
        tokenizer: &Tokenizer,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<Piece>> {
        if self.running.is_empty() {
            self.admit(decoder.pool())?;
            self.ahead = self.begin_ahead(decoder, keep_waiting)?;
        }
        if self.ahead.is_some() {
            let pieces = self.step_ahead(decoder, tokenizer, keep_waiting);
            if pieces.is_err() {
                self.release(decoder.pool());
            }
            return pieces;
        }
        self.admit(decoder.pool())?;
        let counts = shares(&self.running, decoder.rows_at_once());
        let taken = || self.running.iter().zip(&counts).filter(|(_, count)| **count > 0);
        let parts = taken().map(|(text, count)| Part {
            tokens: &text.unread[..*count],
            table: &text.table,
            wants: if *count == text.unread.len() {
                Wants::Last
            } else {
                Wants::Nothing
            },
        });
        let parts: Vec<Part<'_>> = parts.collect();
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        decoder.forward(&parts, keep_waiting, &mut self.logits)?;
        let mut logits = self.logits.chunks_exact(decoder.vocabulary());
        let mut pieces = Vec::new();
        for (text, count) in self.running.iter_mut().zip(counts) {
            text.has_read(count);
            if count > 0 && text.unread.is_empty() {
                let logits = logits.next().ok_or_else(|| {
                    Error::new(
                        ErrorKind::Internal,
                        "the decoder gave fewer logits than were wanted",
                    )
                })?;
                pieces.push(text.write(logits, tokenizer)?);
            }
        }
        self.end_texts(decoder.pool());
        Ok(pieces)
    }

    fn end_texts(&mut self, pool: &mut BlockPool) {
        let ended = self.running.extract_if(.., |text| text.finish.is_some());
        ended.for_each(|text| pool.release(text.table));
    }

    /// Gives back what unfinished texts hold of the cache, and forgets them.
    pub fn release(&mut self, pool: &mut BlockPool) {
        self.waiting.clear();
        self.ahead = None;
        self.running.drain(..).for_each(|text| pool.release(text.table));
    }

    /// Begins texts for which there is room, in their order.
    fn admit(&mut self, pool: &mut BlockPool) -> Result<()> {
        while self.running.len() < self.at_once
            && let Some(mut text) = self.waiting.pop_front()
        {
            let has_room = text.most.div_ceil(BLOCK_TOKENS) <= pool.free();
            if !has_room && !self.running.is_empty() {
                self.waiting.push_front(text);
                break;
            }
            if let Err(error) = pool.reserve(&mut text.table, text.most) {
                self.waiting.push_front(text);
                return Err(error);
            }
            self.running.push(text);
        }
        Ok(())
    }
}

/// How many unread tokens of each text the next pass reads: one of each that is being written, and of prompts what fits in `rows`, those
/// first that came first; one at least.
fn shares(texts: &[Text], rows: usize) -> Vec<usize> {
    let writing = texts.iter().filter(|text| text.unread.len() == 1).count();
    let mut left = rows.saturating_sub(writing).max(1);
    let share = |text: &Text| match text.unread.len() {
        1 => 1,
        unread => {
            let share = unread.min(left);
            left -= share;
            share
        }
    };
    texts.iter().map(share).collect()
}

#[cfg(test)]
mod tests;
