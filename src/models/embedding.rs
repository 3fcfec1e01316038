//! An embedding model of this session.

use std::sync::Arc;

use vectorgpu_core::Result;
use vectorgpu_llm::embed::Embedder;
use vectorgpu_llm::format::Files;
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{TooLong, WordPiece};

use super::EmbedOptions;
use crate::pg::interrupt::keep_waiting;

/// Texts of one pass: enough to use each weight often, few enough to be heard of soon.
const TEXTS_AT_ONCE: usize = 32;

/// A model that turns texts into vectors.
#[derive(Debug)]
pub(crate) struct EmbeddingModel {
    embedder: Embedder,
    threads: Arc<Threads>,
}

impl EmbeddingModel {
    pub(super) fn read(files: Files<'_>, path: &str, threads: Arc<Threads>) -> Result<Self> {
        Ok(Self {
            embedder: Embedder::read(files, path)?,
            threads,
        })
    }

    /// Numbers of an embedding.
    pub(crate) fn dims(&self) -> usize {
        self.embedder.model().dims()
    }

    /// Bytes of its weights.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.embedder.model().weight_bytes()
    }

    /// Layers.
    pub(crate) fn layers(&self) -> usize {
        self.embedder.model().layers()
    }

    /// Most tokens of a text, marks at its ends included.
    pub(crate) fn context(&self) -> usize {
        self.embedder.model().max_tokens()
    }

    /// Its tokenizer.
    pub(crate) fn tokenizer(&self) -> &WordPiece {
        self.embedder.tokenizer()
    }

    /// The embeddings of `texts`, `[texts, dims]`.
    ///
    /// # Errors
    /// `LimitExceeded` for a text that is too long, unless that is to be cut; `Cancelled`.
    pub(crate) fn embed(&self, texts: &[&str], options: &EmbedOptions) -> Result<Vec<f32>> {
        texts
            .iter()
            .try_for_each(|text| super::text::check_size(text.len()))?;
        let too_long = if options.truncate {
            TooLong::Truncate
        } else {
            TooLong::Refuse
        };
        // Texts of like lengths go together, so that threads end together.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|number| texts[*number].len());
        let dims = self.dims();
        let mut out = vec![0.0; texts.len() * dims];
        for numbers in order.chunks(TEXTS_AT_ONCE) {
            let texts: Vec<&str> = numbers.iter().map(|number| texts[*number]).collect();
            let vectors = self
                .embedder
                .embed(&texts, too_long, &self.threads, &mut keep_waiting)?;
            for (number, vector) in numbers.iter().zip(vectors.chunks_exact(dims)) {
                out[number * dims..][..dims].copy_from_slice(vector);
            }
        }
        Ok(out)
    }
}
