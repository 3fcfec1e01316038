//! Texts into vectors.

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::format::{Files, ModelFile, SafeTensors};
use crate::model::bert::Bert;
use crate::threads::Threads;
use crate::tokenizer::{TooLong, WordPiece};

/// A model of embeddings and its tokenizer.
#[derive(Debug)]
pub struct Embedder {
    tokenizer: WordPiece,
    model: Bert,
}

impl Embedder {
    /// Reads the model at `path` of `files`: a GGUF file, or a folder with safetensors files.
    ///
    /// # Errors
    /// What [`ModelFile::read`] or [`SafeTensors::read`], [`Bert::read`] and the readers of [`WordPiece`] report; `CorruptFile` for a
    /// tokenizer that makes tokens which the model does not know.
    pub fn read(files: Files<'_>, path: &str) -> Result<Self> {
        let (tokenizer, model) = if files.is_folder(path)? {
            let model = Bert::read(&SafeTensors::read(files, path)?)?;
            (WordPiece::read(files, path)?, model)
        } else {
            let file = ModelFile::read(files, path)?;
            (WordPiece::from_gguf(file.metadata())?, Bert::read(&file)?)
        };
        if tokenizer.largest_token() as usize >= model.vocabulary() {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "the tokenizer has a token {}, and the model {} tokens",
                    tokenizer.largest_token(),
                    model.vocabulary()
                ),
            ));
        }
        Ok(Self { tokenizer, model })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &WordPiece {
        &self.tokenizer
    }

    /// The model.
    pub fn model(&self) -> &Bert {
        &self.model
    }

    /// The vectors of `texts`: `[texts, dims]`.
    ///
    /// # Errors
    /// `LimitExceeded` for a text with more tokens than the model reads, where those are refused; `Cancelled`.
    pub fn embed(
        &self,
        texts: &[&str],
        too_long: TooLong,
        threads: &Threads,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<f32>> {
        let encode = |text: &&str| self.tokenizer.encode(text, self.model.max_tokens(), too_long);
        let tokens: Vec<Vec<u32>> = texts.iter().map(encode).collect::<Result<_>>()?;
        threads.run(keep_waiting, |team| self.model.embed(&tokens, team))
    }
}
