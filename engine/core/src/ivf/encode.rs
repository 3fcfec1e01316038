//! Turns a vector into what a row of the index holds: factors and code.

use crate::distance;
use crate::error::Result;
use crate::metric::{Element, Metric, Storage};
use crate::quantize::{self, int8, int8_query};

use super::build::EncodedRow;
use super::layout::{Factors, Tid};

/// Encodes one vector after the other; memory is kept.
#[derive(Debug)]
pub struct RowEncoder {
    storage: Storage,
    runs: Factors,
    factors: Vec<f32>,
    code: Vec<u8>,
}

impl RowEncoder {
    /// An encoder for the rows of an index.
    pub fn new(metric: Metric, storage: Storage) -> Self {
        Self {
            storage,
            runs: Factors::of(metric, storage),
            factors: Vec::new(),
            code: Vec::new(),
        }
    }

    /// Encodes `vector`; its heap row is `tid`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn encode(&mut self, tid: Tid, vector: &[f32]) -> Result<EncodedRow<'_>> {
        self.code.clear();
        self.factors.clear();
        if self.runs.norm_sq {
            self.factors.push(distance::norm_squared(vector));
        }
        match self.storage {
            Storage::F32 => quantize::encode(Element::F32, vector, &mut self.code)?,
            Storage::F16 => {
                quantize::encode(Element::F16, vector, &mut self.code)?;
                self.factors.push(quantize::residual_bound(vector, &self.code));
            }
            Storage::Int8 => self.encode_int8(vector)?,
        }
        debug_assert_eq!(self.factors.len(), self.runs.count());
        Ok(EncodedRow {
            tid,
            factors: &self.factors,
            code: &self.code,
        })
    }

    fn encode_int8(&mut self, vector: &[f32]) -> Result<()> {
        let scale = int8::encode(vector, &mut self.code)?;
        self.factors.push(int8::residual_bound(vector, &self.code, scale));
        self.factors.push(scale);
        if self.runs.code_norm_sq {
            self.factors
                .push(int8_query::code_norm_squared(&self.code, scale));
        }
        Ok(())
    }
}
