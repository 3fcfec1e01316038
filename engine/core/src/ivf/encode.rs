//! Turns a vector into what a row of the index holds: factors and codes.

use crate::distance;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::{Element, Storage};
use crate::quantize::rabitq::RabitqEncoder;
use crate::quantize::{self, bits, int8, int8_query, sketch};
use crate::sparse::Sparse;

use super::build::EncodedRow;
use super::layout::{Factors, Meta, Tid};

/// Encodes one vector after the other; memory is kept.
#[derive(Debug)]
pub struct RowEncoder {
    storage: Storage,
    runs: Factors,
    rabitq: Option<RabitqEncoder>,
    factors: Vec<f32>,
    filter: Vec<u8>,
    code: Vec<u8>,
}

impl RowEncoder {
    /// An encoder for the rows of an index.
    pub fn new(meta: &Meta) -> Self {
        let dims = meta.dims as usize;
        let filtered = meta.storage == Storage::Rabitq;
        Self {
            storage: meta.storage,
            runs: Factors::of(meta.metric, meta.storage),
            rabitq: filtered.then(|| RabitqEncoder::new(meta.metric, dims, meta.seed)),
            factors: Vec::new(),
            filter: Vec::new(),
            code: Vec::new(),
        }
    }

    /// Whether the row's list has to be known.
    pub const fn needs_centroid(&self) -> bool {
        self.rabitq.is_some()
    }

    /// Encodes `vector`, a row of list `list` whose heap row is `tid`; `centroid` is that of the list, the same in every call,
    /// and may be empty unless [`Self::needs_centroid`].
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn encode(
        &mut self,
        tid: Tid,
        vector: &[f32],
        list: u32,
        centroid: &[f32],
    ) -> Result<EncodedRow<'_>> {
        self.clear();
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
            Storage::Bits => bits::encode(vector, &mut self.code)?,
            Storage::Sketch => return Err(Error::new(ErrorKind::Internal, "a sketch is of a sparse vector")),
            Storage::Rabitq => {
                if let Some(encoder) = &mut self.rabitq {
                    let factors =
                        encoder.encode(tid.0, vector, list, centroid, &mut self.filter, &mut self.code)?;
                    self.factors.extend([factors.base, factors.step, factors.error]);
                }
                quantize::encode(Element::F32, vector, &mut self.code)?;
            }
        }
        Ok(self.row(tid))
    }

    /// Encodes `vector`, whose heap row is `tid`, whatever its list is.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn encode_sparse(&mut self, tid: Tid, vector: Sparse<'_>) -> Result<EncodedRow<'_>> {
        self.clear();
        let factors = sketch::encode(vector, &mut self.code)?;
        self.factors.extend(factors.runs());
        Ok(self.row(tid))
    }

    /// Forgets the last row.
    fn clear(&mut self) {
        self.code.clear();
        self.filter.clear();
        self.factors.clear();
    }

    /// The row that was encoded.
    fn row(&self, tid: Tid) -> EncodedRow<'_> {
        debug_assert_eq!(self.factors.len(), self.runs.count());
        EncodedRow {
            tid,
            factors: &self.factors,
            filter: &self.filter,
            code: &self.code,
        }
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
