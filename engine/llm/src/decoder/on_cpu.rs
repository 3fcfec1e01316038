//! A model on the CPU.

use std::sync::Arc;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use super::Decoder;
use crate::batch::Part;
use crate::cache::{BLOCK_TOKENS, BlockPool, KvCache};
use crate::model::llama::{Llama, Pass};
use crate::threads::Threads;

/// Enough for a weight that is unpacked once to be used often; a pass of them takes tens of milliseconds.
const ROWS_AT_ONCE: usize = 64;

/// A model, threads, and keys and values in the host's memory.
#[derive(Debug)]
pub struct OnCpu {
    model: Arc<Llama>,
    threads: Arc<Threads>,
    cache: KvCache,
    pool: BlockPool,
    context: usize,
}

impl OnCpu {
    /// Texts may have `context` tokens each, the model's limit at most, and `cache_tokens` together.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(
        model: Arc<Llama>,
        threads: Arc<Threads>,
        context: usize,
        cache_tokens: usize,
    ) -> Result<Self> {
        let blocks = u32::try_from(cache_tokens.div_ceil(BLOCK_TOKENS)).unwrap_or(u32::MAX);
        Ok(Self {
            cache: KvCache::new(model.cache_shape(), blocks)?,
            pool: BlockPool::new(blocks),
            context: context.min(model.parameters().context),
            model,
            threads,
        })
    }
}

impl Decoder for OnCpu {
    fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    fn context(&self) -> usize {
        self.context
    }

    fn rows_at_once(&self) -> usize {
        ROWS_AT_ONCE
    }

    fn pool(&mut self) -> &mut BlockPool {
        &mut self.pool
    }

    fn forward(
        &mut self,
        parts: &[Part<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let (model, cache) = (&*self.model, &mut self.cache);
        self.threads.run(keep_waiting, |team| {
            model.forward(parts, &mut Pass { cache, team }, logits)
        })
    }
}
