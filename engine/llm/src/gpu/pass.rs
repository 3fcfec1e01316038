//! A pass through the layers on a device.

use vectorgpu_compute::{
    Array, Choice, DecodeRows, LayerInput, LinearInput, Outcome, PendingRead, RmsNorm, Step,
};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::layer::DeviceLayer;
use super::model::{DeviceEnds, FEW_ROWS, GpuModel};
use super::rows::{Arranged, Limits};
use crate::batch::Part;

/// How the tokens of a pass are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choosing<'a> {
    /// The likeliest of each row.
    Likeliest,
    /// Drawn, by a choice for each row.
    Drawn(&'a [Choice]),
}

impl GpuModel {
    /// Reads the tokens of `parts` and writes to `logits` what [`crate::decoder::Decoder::forward`] asks for. Needs the ends.
    ///
    /// # Errors
    /// `InvalidArgument` for a token that is none; `Internal` for a table without room; `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub fn forward(
        &mut self,
        parts: &[Part<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        logits.clear();
        let arranged = self.arrange(parts)?;
        let mut step = self.engine.step();
        let tables = self.tell(&mut step, &arranged, keep_waiting)?;
        let mut chunks = arranged.wanted.chunks(self.shape.few_rows());
        let mut chunk = chunks.next();
        self.tell_wanted(&mut step, &arranged, chunk.unwrap_or_default(), keep_waiting)?;
        self.record_embeddings(&mut step, &arranged, false, keep_waiting)?;
        self.record_layers(&mut step, &arranged, keep_waiting)?;
        while let Some(wanted) = chunk {
            let of_wanted = self.record_output(&mut step, &arranged, wanted, keep_waiting)?;
            let this = std::mem::replace(&mut step, self.engine.step());
            logits.extend(this.run_reading(&of_wanted, keep_waiting)?);
            chunk = chunks.next();
            self.tell_wanted(&mut step, &arranged, chunk.unwrap_or_default(), keep_waiting)?;
        }
        step.submit(keep_waiting)?;
        self.tables_held = tables;
        Ok(())
    }

    /// Reads `x`, `[rows, width]`, what the tokens of `parts` stand for, and returns what the layers on the device make of it.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn hidden(
        &mut self,
        parts: &[Part<'_>],
        x: &[f32],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<f32>> {
        let arranged = self.arrange(parts)?;
        let width = self.shape.width;
        let mut moved = vec![0.0; arranged.rows.len() * width];
        if x.len() != moved.len() {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{} numbers for {} rows", x.len(), arranged.rows.len()),
            ));
        }
        for (row, x) in arranged.rows.iter().zip(x.chunks_exact(width)) {
            moved[row * width..][..width].copy_from_slice(x);
        }
        let mut step = self.engine.step();
        let tables = self.tell(&mut step, &arranged, keep_waiting)?;
        step.write(&self.scratch.x, &moved, keep_waiting)?;
        self.record_layers(&mut step, &arranged, keep_waiting)?;
        let x = self.scratch.x.slice(0..moved.len())?;
        let moved = step.run_reading(&x, keep_waiting)?;
        self.tables_held = tables;
        let rows = arranged.rows.iter();
        Ok(rows
            .flat_map(|row| &moved[row * width..][..width])
            .copied()
            .collect())
    }

    /// Hands a pass to the device that chooses a token after the last one of each part; of each part, in their order, that token is
    /// the result. With `follow`, each part has one token, which is the one that the pass before has chosen for the part of its
    /// number, whatever `tokens` says. Needs the ends.
    ///
    /// # Errors
    /// As [`Self::forward`]; `LimitExceeded` for more parts than the device chooses tokens for at once.
    pub(super) fn submit_choosing(
        &mut self,
        parts: &[Part<'_>],
        choosing: Choosing<'_>,
        follow: bool,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<PendingRead<u32>> {
        if parts.len() > self.shape.few_rows() {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{} texts at once, where {} are possible",
                    parts.len(),
                    self.shape.few_rows()
                ),
            ));
        }
        let arranged = self.arrange(parts)?;
        let mut step = self.engine.step().whole();
        let tables = self.tell(&mut step, &arranged, keep_waiting)?;
        self.tell_wanted(&mut step, &arranged, &arranged.wanted, keep_waiting)?;
        if let Choosing::Drawn(choices) = choosing {
            step.write(&self.scratch.choices, choices, keep_waiting)?;
        }
        self.record_embeddings(&mut step, &arranged, follow, keep_waiting)?;
        self.record_layers(&mut step, &arranged, keep_waiting)?;
        let logits = self.record_output(&mut step, &arranged, &arranged.wanted, keep_waiting)?;
        let chosen = self.scratch.chosen.slice(0..parts.len())?;
        match choosing {
            Choosing::Likeliest => step.likeliest(&logits, &chosen, keep_waiting)?,
            Choosing::Drawn(choices) => {
                let k = choices.iter().map(|choice| choice.k as usize).max().unwrap_or(1);
                let choices = self.scratch.choices.slice(0..parts.len())?;
                step.sample(&logits, k, &choices, &chosen, keep_waiting)?;
            }
        }
        let pending = step.submit_reading(&chosen, keep_waiting)?;
        self.tables_held = tables;
        Ok(pending)
    }

    /// Hands a pass to the device of which nothing comes back.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub(super) fn submit_reading_prompts(
        &mut self,
        parts: &[Part<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let arranged = self.arrange(parts)?;
        let mut step = self.engine.step();
        let tables = self.tell(&mut step, &arranged, keep_waiting)?;
        self.record_embeddings(&mut step, &arranged, false, keep_waiting)?;
        self.record_layers(&mut step, &arranged, keep_waiting)?;
        step.submit(keep_waiting)?;
        self.tables_held = tables;
        Ok(())
    }

    fn ends(&self) -> Result<&DeviceEnds> {
        self.ends
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the output layer is not on the GPU"))
    }

    fn arrange(&self, parts: &[Part<'_>]) -> Result<Arranged> {
        let shape = &self.shape;
        let limits = Limits {
            blocks: shape.blocks,
            table_blocks: shape.table_blocks(),
            tile_rows: self.engine.step().attention_tile_rows(shape.heads),
            own: Step::attention_stores_own(shape.heads),
        };
        let arranged = Arranged::new(parts, limits)?;
        if let Some(token) = arranged
            .tokens
            .iter()
            .find(|token| **token as usize >= shape.vocabulary)
        {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{token} is not a token of the model"),
            ));
        }
        if arranged.tokens.len() > shape.rows || arranged.tokens.is_empty() {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "a pass of {} rows, not {} at most",
                    arranged.tokens.len(),
                    shape.rows
                ),
            ));
        }
        Ok(arranged)
    }

    /// Has the device told where rows stand. Returns the tables that it will know then.
    fn tell(
        &mut self,
        step: &mut Step,
        arranged: &Arranged,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<u32>> {
        // Until the step is on its way nobody knows what the device has.
        let held = std::mem::take(&mut self.tables_held);
        let scratch = &self.scratch;
        step.write(scratch.sequences.rows(), &arranged.places, keep_waiting)?;
        if held != arranged.tables {
            step.write(scratch.sequences.tables(), &arranged.tables, keep_waiting)?;
        }
        if !arranged.tiles.is_empty() {
            step.write(&scratch.tiles, &arranged.tiles, keep_waiting)?;
        }
        Ok(arranged.tables.clone())
    }

    /// Has it told which rows' logits are wanted. Before any kernel is recorded, so that all of them share a pass.
    fn tell_wanted(
        &self,
        step: &mut Step,
        arranged: &Arranged,
        wanted: &[u32],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if wanted.is_empty() || wants_all(arranged, wanted) {
            return Ok(());
        }
        step.write(&self.scratch.wanted, wanted, keep_waiting)
    }

    fn record_embeddings(
        &self,
        step: &mut Step,
        arranged: &Arranged,
        follow: bool,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let rows = arranged.tokens.len();
        let x = self.scratch.x.slice(0..rows * self.shape.width)?;
        let tokens = if follow {
            self.scratch.chosen.slice(0..rows)?
        } else {
            step.write(&self.scratch.tokens, &arranged.tokens, keep_waiting)?;
            self.scratch.tokens.slice(0..rows)?
        };
        step.embed(&self.ends()?.embeddings, &tokens, &x)
    }

    fn record_layers(
        &self,
        step: &mut Step,
        arranged: &Arranged,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (shape, scratch, rows) = (&self.shape, &self.scratch, arranged.tokens.len());
        let x = scratch.x.slice(0..rows * shape.width)?;
        let rows_in = scratch.rows_in.slice(0..rows * shape.heads.row_numbers())?;
        let attended = scratch.attended.slice(0..rows * shape.attended())?;
        let inner = scratch.inner.slice(0..rows * shape.inner_width)?;
        for layer in &self.layers {
            let normed = |weights| LinearInput {
                x: &x,
                norm: Some(RmsNorm {
                    weights,
                    epsilon: shape.epsilon,
                }),
            };
            let plain = |x| LinearInput { x, norm: None };
            let before = normed(&layer.attention_norm);
            step.linear(&layer.attention, before, &rows_in, Outcome::Written, keep_waiting)?;
            self.record_attention(step, layer, arranged, &rows_in)?;
            let output = &layer.attention_output;
            step.linear(output, plain(&attended), &x, Outcome::Added, keep_waiting)?;
            step.gated(&layer.gated, normed(&layer.norm), &inner, keep_waiting)?;
            step.linear(&layer.down, plain(&inner), &x, Outcome::Added, keep_waiting)?;
        }
        Ok(())
    }

    /// Records attention of all rows; the single ones store their keys and values themselves.
    fn record_attention(
        &self,
        step: &mut Step,
        layer: &DeviceLayer,
        arranged: &Arranged,
        rows_in: &Array<f32>,
    ) -> Result<()> {
        let scratch = &self.scratch;
        let input = LayerInput {
            rows_in,
            sequences: &scratch.sequences,
            turns: &self.turns,
            cache: &layer.cache,
        };
        let (singles, rows) = (arranged.singles, arranged.tokens.len());
        step.rope(&input, singles..rows)?;
        let mut runs = vec![(0..singles, arranged.longest[0], true)];
        if arranged.tiles.is_empty() {
            runs.push((singles..rows, arranged.longest[1], false));
        } else {
            let tiles = scratch.tiles.slice(0..arranged.tiles.len())?;
            step.attention_prefill(&input, &tiles, arranged.longest[1], &scratch.attended)?;
        }
        for (range, positions_max, own) in runs {
            let end = range.end;
            for first in range.step_by(FEW_ROWS) {
                let rows = first..end.min(first + FEW_ROWS);
                let numbers = first * self.shape.attended()..rows.end * self.shape.attended();
                let attended = scratch.attended.slice(numbers)?;
                let rows = DecodeRows {
                    rows,
                    positions_max,
                    own,
                };
                step.attention_decode(&input, &rows, &scratch.spans, &attended)?;
            }
        }
        Ok(())
    }

    /// Records the logits of the rows `wanted`; where they will be.
    fn record_output(
        &self,
        step: &mut Step,
        arranged: &Arranged,
        wanted: &[u32],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<f32>> {
        let (shape, scratch, ends) = (&self.shape, &self.scratch, self.ends()?);
        let rows = arranged.tokens.len();
        let logits = scratch.logits.slice(0..wanted.len() * shape.vocabulary)?;
        let last = if wants_all(arranged, wanted) {
            scratch.x.slice(0..rows * shape.width)?
        } else {
            let wanted = scratch.wanted.slice(0..wanted.len())?;
            let x = scratch.x.slice(0..rows * shape.width)?;
            let last = scratch.last.slice(0..wanted.len() * shape.width)?;
            step.take_rows(&x, shape.width, &wanted, &last)?;
            last
        };
        let input = LinearInput {
            x: &last,
            norm: Some(RmsNorm {
                weights: &ends.norm,
                epsilon: shape.epsilon,
            }),
        };
        step.linear(&ends.output, input, &logits, Outcome::Written, keep_waiting)?;
        Ok(logits)
    }
}

/// Whether the logits of all rows are wanted, in their order.
fn wants_all(arranged: &Arranged, wanted: &[u32]) -> bool {
    wanted.len() == arranged.tokens.len() && arranged.is_in_order()
}
