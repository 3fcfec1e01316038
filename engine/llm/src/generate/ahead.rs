//! Texts whose tokens a device chooses, a step ahead (`gpu::Ahead`): all that are written side by side, or none of them.
//!
//! A device that goes ahead is not given new texts on the way: those that wait are begun when all before them have ended.

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::{Generation, Piece};
use crate::decoder::Decoder;
use crate::gpu::{Ahead, TEXTS_AHEAD};
use crate::sample::Chosen;
use crate::tokenizer::Tokenizer;

impl Generation {
    /// Has a device read the prompts of the running texts, none of which is read yet, where it can choose the tokens of all.
    pub(super) fn begin_ahead(
        &mut self,
        decoder: &mut dyn Decoder,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Ahead>> {
        if self.running.len() > TEXTS_AHEAD {
            return Ok(None);
        }
        let texts: Option<Vec<_>> = self.running.iter().map(super::text::Text::ahead).collect();
        let (Some(model), Some(texts)) = (decoder.chooser(), texts.filter(|texts| !texts.is_empty())) else {
            return Ok(None);
        };
        match Ahead::begin(model, texts, keep_waiting) {
            Ok(ahead) => Ok(Some(ahead)),
            Err(error) => {
                self.release(decoder.pool());
                Err(error)
            }
        }
    }

    /// Takes the token that the device has chosen for each running text.
    pub(super) fn step_ahead(
        &mut self,
        decoder: &mut dyn Decoder,
        tokenizer: &Tokenizer,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<Piece>> {
        let broken = |what: &str| Error::new(ErrorKind::Internal, what);
        let (Some(ahead), Some(model)) = (&mut self.ahead, decoder.chooser()) else {
            return Err(broken("texts are ahead without a device"));
        };
        let tokens = ahead.step(model, keep_waiting)?;
        let tokens = tokens.ok_or_else(|| broken("a text has no room for the tokens that it may have"))?;
        let mut pieces = Vec::with_capacity(tokens.len());
        for (text, token) in self.running.iter_mut().zip(tokens) {
            if token == u32::MAX {
                return Err(Error::new(
                    ErrorKind::CorruptFile,
                    "the model gives no token a probability",
                ));
            }
            let chosen = Chosen {
                token,
                log_probability: f32::NAN,
                likeliest: Vec::new(),
            };
            pieces.push(text.write_token(chosen, tokenizer));
        }
        if self.running.iter().any(|text| text.finish.is_some()) {
            let running = &self.running;
            ahead.keep(|number| running[number].finish.is_none(), keep_waiting)?;
            self.end_texts(decoder.pool());
            if self.running.is_empty() {
                self.ahead = None;
            }
        }
        Ok(pieces)
    }
}
