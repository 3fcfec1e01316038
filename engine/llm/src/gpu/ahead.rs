//! Texts whose tokens the device chooses, a step ahead of whoever reads them.
//!
//! The token that a pass has chosen stays on the device, where the next pass finds it: so that one is handed over while the first runs,
//! and the host reads tokens one step behind. For texts whose next token depends on their logits alone; whatever needs to see the logits
//! (penalties, constraints, probabilities) goes through [`GpuModel::forward`].

use std::collections::VecDeque;

use vectorgpu_compute::{Choice, PendingRead, Step};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::random::Random;

use super::model::{FEW_ROWS, GpuModel};
use super::pass::Choosing;
use crate::batch::{Part, Wants};
use crate::cache::{BLOCK_TOKENS, BlockTable};
use crate::sample::SamplingOptions;

/// Texts that can be written so side by side: a pass has room for the logits of so many rows.
pub const TEXTS_AHEAD: usize = FEW_ROWS;
/// Passes that are under way at a time.
const UNDER_WAY: usize = 2;

/// How the next token of a text is chosen.
#[derive(Debug, Clone)]
pub enum Next {
    /// The likeliest.
    Likeliest,
    /// Drawn among the likeliest.
    Drawn {
        /// Among so many.
        k: u32,
        /// What logits are divided by.
        temperature: f32,
        /// Of the draws.
        random: Random,
    },
}

/// A text that is written so.
#[derive(Debug)]
pub struct AheadText {
    /// Tokens that the model has not read; at least one.
    pub unread: Vec<u32>,
    /// Where it keeps keys and values, with room for all that is to be read.
    pub table: BlockTable,
    /// How its tokens are chosen.
    pub next: Next,
}

/// Texts that are being written.
pub struct Ahead {
    texts: Vec<AheadText>,
    /// Tokens that were chosen and that nobody has taken yet, the oldest first.
    ready: VecDeque<Vec<u32>>,
    under_way: VecDeque<PendingRead<u32>>,
    /// Whether the next pass goes on with what the one before has chosen.
    follows: bool,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead")
            .field("texts", &self.texts)
            .finish_non_exhaustive()
    }
}

impl Next {
    /// What `options` ask for, where a device that knows `vocabulary` tokens can choose so.
    #[must_use]
    pub fn of(options: &SamplingOptions, vocabulary: usize) -> Option<Self> {
        let plain = SamplingOptions {
            temperature: options.temperature,
            top_k: options.top_k,
            seed: options.seed,
            repeat_last_n: options.repeat_last_n,
            ..SamplingOptions::default()
        };
        if *options != plain {
            return None;
        }
        if options.temperature <= 0.0 {
            return Some(Self::Likeliest);
        }
        let can = (1..=Step::sample_max(vocabulary)).contains(&options.top_k);
        can.then(|| Self::Drawn {
            k: u32::try_from(options.top_k).unwrap_or(1),
            temperature: options.temperature,
            random: Random::new(options.seed),
        })
    }

    fn choice(&mut self) -> Choice {
        let (k, temperature, random) = match self {
            Self::Likeliest => (1, 1.0, 0.0),
            Self::Drawn {
                k,
                temperature,
                random,
            } => (*k, *temperature, random.float()),
        };
        Choice {
            k,
            // So small a one would make infinities of logits, and takes the likeliest.
            inverse_temperature: temperature.max(1e-4).recip(),
            random,
            reserved: 0,
        }
    }
}

impl Ahead {
    /// Has the device read `texts`, all but the last token of each. `model` has its ends.
    ///
    /// # Errors
    /// As [`GpuModel::forward`].
    pub fn begin(
        model: &mut GpuModel,
        mut texts: Vec<AheadText>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Self> {
        loop {
            let mut left = model.shape().rows;
            let counts: Vec<usize> = texts
                .iter()
                .map(|text| {
                    let count = text.unread.len().saturating_sub(1).min(left);
                    left -= count;
                    count
                })
                .collect();
            let taken = texts.iter().zip(&counts).filter(|(_, count)| **count > 0);
            let parts = taken.map(|(text, count)| Part {
                tokens: &text.unread[..*count],
                table: &text.table,
                wants: Wants::Nothing,
            });
            let parts: Vec<Part<'_>> = parts.collect();
            if parts.is_empty() {
                break;
            }
            model.submit_reading_prompts(&parts, keep_waiting)?;
            for (text, count) in texts.iter_mut().zip(counts) {
                text.unread.drain(..count);
                text.table.advance(count);
            }
        }
        Ok(Self {
            texts,
            ready: VecDeque::new(),
            under_way: VecDeque::new(),
            follows: false,
        })
    }

    /// The texts, with what was handed over counted as read.
    #[must_use]
    pub fn texts(&self) -> &[AheadText] {
        &self.texts
    }

    /// The next token of each text; `u32::MAX` where no token has a probability. `None` when a text has no more room, and what was
    /// chosen has been taken.
    ///
    /// # Errors
    /// As [`GpuModel::forward`]. After one the texts cannot go on, but their blocks may be used again: the device does all in order.
    pub fn step(
        &mut self,
        model: &mut GpuModel,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Vec<u32>>> {
        while self.ready.len() + self.under_way.len() < UNDER_WAY && self.has_room() {
            self.submit(model, keep_waiting)?;
        }
        if let Some(tokens) = self.ready.pop_front() {
            return Ok(Some(tokens));
        }
        match self.under_way.pop_front() {
            Some(pending) => Ok(Some(self.taken(pending, keep_waiting)?)),
            None => Ok(None),
        }
    }

    /// Lets go of texts that `keep` is false of, by their number, and returns them. Waits for the passes that are under way.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn keep(
        &mut self,
        keep: impl Fn(usize) -> bool,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<AheadText>> {
        while let Some(pending) = self.under_way.pop_front() {
            let tokens = self.taken(pending, keep_waiting)?;
            self.ready.push_back(tokens);
        }
        for tokens in &mut self.ready {
            let kept = tokens.iter().enumerate().filter(|(number, _)| keep(*number));
            *tokens = kept.map(|(_, token)| *token).collect();
        }
        let texts = std::mem::take(&mut self.texts).into_iter().enumerate();
        let (kept, gone): (Vec<_>, Vec<_>) = texts.partition(|(number, _)| keep(*number));
        let without_numbers =
            |texts: Vec<(usize, AheadText)>| texts.into_iter().map(|(_, text)| text).collect();
        self.texts = without_numbers(kept);
        if self.texts.is_empty() {
            self.ready.clear();
        }
        // The device has the tokens in their old places.
        self.follows = false;
        Ok(without_numbers(gone))
    }

    fn has_room(&self) -> bool {
        let has_room = |text: &AheadText| text.table.tokens() < text.table.blocks().len() * BLOCK_TOKENS;
        !self.texts.is_empty() && self.texts.iter().all(has_room)
    }

    /// Waits for a pass, and notes what it has chosen as what is read next.
    fn taken(&mut self, pending: PendingRead<u32>, keep_waiting: &mut KeepWaiting<'_>) -> Result<Vec<u32>> {
        let tokens = pending.take(keep_waiting)?;
        for (text, token) in self.texts.iter_mut().zip(&tokens) {
            text.unread.clear();
            text.unread.push(*token);
        }
        Ok(tokens)
    }

    fn submit(&mut self, model: &mut GpuModel, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let is_plain = |text: &AheadText| matches!(text.next, Next::Likeliest);
        let choices = if self.texts.iter().all(is_plain) {
            None
        } else {
            let choices = self.texts.iter_mut().map(|text| text.next.choice());
            Some(choices.collect::<Vec<_>>())
        };
        let parts = self.texts.iter().map(|text| Part {
            tokens: &text.unread[..1],
            table: &text.table,
            wants: Wants::Last,
        });
        let parts: Vec<Part<'_>> = parts.collect();
        let choosing = choices.as_deref().map_or(Choosing::Likeliest, Choosing::Drawn);
        let pending = model.submit_choosing(&parts, choosing, self.follows, keep_waiting)?;
        self.under_way.push_back(pending);
        self.texts.iter_mut().for_each(|text| text.table.advance(1));
        self.follows = true;
        Ok(())
    }
}
