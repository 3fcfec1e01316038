//! Queries as f16 codes, for devices that multiply them with rows' codes on matrix units.
//!
//! What rounding moves a product `q.x'` by is at most `|q - q'| |x'|`: it goes into the part of the query's record that is
//! multiplied by `|x'|`. The codes may be a little longer than the query, which the other errors of the record are taken
//! up for.

use half::f16;

use super::{F16_MIN_NORMAL, LANES, ListQuery, encode_scaled, for_lanes, rounded_up};
use crate::error::{Error, ErrorKind, Result};

/// What `|q'|` may exceed `|q|` by, and the rounding of the sums here.
const LONGER: f64 = 1.0 + 1.0 / 1024.0;
/// More than all errors together whose squares vanish in f32, beside codes of up to 2^15: 2^-40.
const VANISHED: f64 = 1.0 / (1u64 << 40) as f64;

/// Codes of some queries, one after the other.
#[derive(Debug, Clone, Default)]
pub struct QueryCodes {
    /// `[queries, dims]` f16, little-endian: the query is about `heads[query][0]` times its codes.
    pub codes: Vec<u8>,
    /// The codes' records of list_key.wgsl, for products.
    pub heads: Vec<[f32; 4]>,
    scaled: Vec<f32>,
}

impl QueryCodes {
    /// Makes room for `queries` more queries of `dims` elements.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn reserve(&mut self, queries: usize, dims: usize) -> Result<()> {
        let bytes = queries * dims * size_of::<f16>();
        let reserved =
            self.codes.try_reserve_exact(bytes).is_ok() && self.heads.try_reserve_exact(queries).is_ok();
        if reserved {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::OutOfMemory,
            format!("no memory for {bytes} bytes of codes"),
        ))
    }

    /// Appends a query.
    pub fn push(&mut self, query: &ListQuery<'_>) {
        let scale = encode_scaled(query.values, &mut self.scaled, &mut self.codes);
        let error = f64::from(scale) * error_of(query.values, &self.scaled, 1.0 / scale);
        let [_, y, z, w] = query.bounds.product_head;
        self.heads.push([
            scale,
            rounded_up(f64::from(y) * LONGER),
            rounded_up((f64::from(z) + error) * LONGER),
            w,
        ]);
    }
}

/// At least `|x inverse - codes|`, `inverse` being a power of two, where a device may read a subnormal code as 0. In f32: a
/// difference is exact, as the two are close, and there is one for each query of a batch.
fn error_of(x: &[f32], codes: &[f32], inverse: f32) -> f64 {
    let mut squares = [0.0f32; LANES];
    for_lanes(x, codes, |lane, x, code| {
        let scaled = x * inverse;
        let flushed = if code.abs() < F16_MIN_NORMAL {
            scaled.abs()
        } else {
            0.0
        };
        let off = (scaled - code).abs();
        let worse = if off > flushed { off } else { flushed };
        squares[lane] += worse * worse;
    });
    f64::from(squares.iter().sum::<f32>()).sqrt() * LONGER + VANISHED
}
