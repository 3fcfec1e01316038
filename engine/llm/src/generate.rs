//! One text after the other: prompt in, text out, a token a step.
//!
//! Must not know where a model's file is, nor who asks. Invariant: a generation that ends, however it ends, gives its blocks of the
//! cache back when it is dropped with its cache.

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::cache::{BLOCK_TOKENS, BlockTable, KvCache};
use crate::model::llama::{Llama, Pass};
use crate::sample::{Sampler, SamplingOptions};
use crate::stream::TextStream;
use crate::threads::Threads;
use crate::tokenizer::Tokenizer;

/// Tokens of a prompt that are read at once: few enough for a request to stop to be heard soon.
const PROMPT_TOKENS: usize = 64;

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// Most tokens to write.
    pub max_tokens: usize,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop string came.
    Stop,
    /// It has as many tokens as were wanted.
    Length,
}

/// A text that is being written.
#[derive(Debug)]
pub struct Generation<'m> {
    model: &'m Llama,
    tokenizer: &'m Tokenizer,
    cache: KvCache,
    table: BlockTable,
    sampler: Sampler,
    stream: TextStream,
    /// Tokens to be read: first the prompt, then the last one written.
    unread: Vec<u32>,
    written: usize,
    max_tokens: usize,
    finish: Option<Finish>,
    logits: Vec<f32>,
}

impl<'m> Generation<'m> {
    /// A text that follows the tokens `prompt`.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty prompt or sampling options that mean nothing, `LimitExceeded` when prompt and text are longer than
    /// the model's context, `OutOfMemory`.
    pub fn begin(
        model: &'m Llama,
        tokenizer: &'m Tokenizer,
        prompt: Vec<u32>,
        options: GenerateOptions,
    ) -> Result<Self> {
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the prompt is empty"));
        }
        let context = model.parameters().context;
        let wanted = prompt.len().saturating_add(options.max_tokens);
        if wanted > context {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{} tokens of prompt and {} of text are more than the model's context of {context}",
                    prompt.len(),
                    options.max_tokens
                ),
            )
            .with_hint("Shorten the prompt, or ask for fewer tokens."));
        }
        let blocks = u32::try_from(wanted.div_ceil(BLOCK_TOKENS)).unwrap_or(u32::MAX);
        Ok(Self {
            sampler: Sampler::new(options.sampling, &prompt)?,
            cache: KvCache::new(model.cache_shape(), blocks)?,
            table: BlockTable::default(),
            stream: TextStream::new(options.stop.iter().map(String::as_str)),
            unread: prompt,
            written: 0,
            max_tokens: options.max_tokens,
            finish: (options.max_tokens == 0).then_some(Finish::Length),
            logits: Vec::new(),
            model,
            tokenizer,
        })
    }

    /// Writes one more token; the text that can go out, often none. `None` when the text has ended.
    ///
    /// # Errors
    /// `Cancelled`; what the model reports.
    pub fn step(&mut self, threads: &Threads, keep_waiting: &mut KeepWaiting<'_>) -> Result<Option<String>> {
        if self.finish.is_some() {
            return Ok(None);
        }
        let unread = std::mem::take(&mut self.unread);
        let (model, cache, table, logits) = (self.model, &mut self.cache, &mut self.table, &mut self.logits);
        threads.run(keep_waiting, |team| {
            let mut pass = Pass { cache, team };
            unread
                .chunks(PROMPT_TOKENS)
                .try_for_each(|tokens| model.forward(tokens, table, &mut pass, logits, false))
        })?;
        let chosen = self.sampler.choose(&self.logits)?;
        self.written += 1;
        if self.tokenizer.ends_text(chosen.token) {
            self.finish = Some(Finish::Stop);
            return Ok(Some(self.stream.finish()));
        }
        let mut text = self.stream.push(self.tokenizer.bytes(chosen.token));
        if self.stream.is_stopped() {
            self.finish = Some(Finish::Stop);
        } else if self.written == self.max_tokens {
            self.finish = Some(Finish::Length);
            text.push_str(&self.stream.finish());
        }
        self.unread.push(chosen.token);
        Ok(Some(text))
    }

    /// Why the text ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Tokens that were written, a last one that ends the text included.
    pub fn written(&self) -> usize {
        self.written
    }
}
