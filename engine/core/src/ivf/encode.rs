//! Turns a vector into what a row of the index holds: factors and code.

use crate::distance;
use crate::error::Result;
use crate::metric::{Metric, Storage};
use crate::quantize;

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
        quantize::encode(self.storage, vector, &mut self.code)?;
        self.factors.clear();
        if self.runs.norm_sq {
            self.factors.push(distance::norm_squared(vector));
        }
        if self.runs.residual {
            self.factors.push(quantize::residual_bound(vector, &self.code));
        }
        Ok(EncodedRow {
            tid,
            factors: &self.factors,
            code: &self.code,
        })
    }
}
