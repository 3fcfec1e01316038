//! Rows of a list as a device keeps copies of them, whatever their storage: f16 codes with a scale, and what turns a sum
//! over them into a lower bound of the operator's value.
//!
//! The device computes the bound itself (`shaders/shared/list_key.wgsl`), in f32, so what it needs of a row (its *head*)
//! and of the query is computed here, in f64, and rounded so that the bound only becomes lower. The derivation is that
//! of [`super::QueryNorms`]; `g` stands for twice the any-order rounding bound, which also covers matrix units that cut
//! sums off, and the rounding of `scale * code`; `go` for the operator's own, in the order in which that sums. With `x'` what
//! the code stands for, `r >= |x - x'|`, and ETA for what a flushed subnormal can move:
//!
//! - L2: `|q - x'|^2 (1 + g)` is at least the direct sum, so `sqrt(sum (1 - g - 2 go)) - r` is a bound. From `q.x'` alone it
//!   follows with an error of `2 g |q| |x'|`.
//! - inner product: `q.x` is at most the sum plus `|q| (g |x'| + r + go |x|)`, plus what flushes move.
//! - cosine: the same over `|q| |x|`, with room for the operator's own norms.

use half::f16;

use crate::cpu::kernels;
use crate::distance;
use crate::metric::{Metric, Storage};

use super::{ETA, F16_MIN_NORMAL, Summation, rounded_up, rounding_bound};

pub mod key;
mod query_codes;

pub use query_codes::QueryCodes;

/// Norms from which on sums of products may leave f32 in some order.
const NORM_MAX: f64 = 1e19;
/// Relative error of the few f32 operations that make a key of a sum, twice over: `KEY_SLACK` of the shader.
const KEY_SLACK: f64 = 1.0 / 1_048_576.0;
/// Relative slack for the f64 arithmetic here.
const F64_SLACK: f64 = 1e-12;
/// Partial sums, so that the compiler can use wide registers.
const LANES: usize = 8;
/// Largest magnitudes of a scaled row lie in `[2^14, 2^15)`.
const SCALED_EXPONENT: i32 = 14;

/// What is the same for all rows of an index.
#[derive(Debug, Clone, Copy)]
struct Rounding {
    metric: Metric,
    dims: f64,
    score: f64,
    operator: f64,
    summation: Summation,
}

impl Rounding {
    fn new(metric: Metric, dims: usize, summation: Summation) -> Self {
        Self {
            metric,
            dims: dims as f64,
            score: 2.0 * rounding_bound(dims),
            operator: summation.rounding_bound(dims),
            summation,
        }
    }
}

/// A query as a device compares rows with it.
#[derive(Debug, Clone, Copy)]
pub struct ListQuery<'a> {
    /// The query itself.
    pub values: &'a [f32],
    /// What bounds need of it.
    pub bounds: ListQueryBounds,
}

/// What the bounds of rows need of a query.
#[derive(Debug, Clone, Copy)]
pub struct ListQueryBounds {
    /// The query's record of list_key.wgsl, for sums over the elements of query and row.
    pub head: [f32; 4],
    /// The same for L2 where only `q.x'` is summed; else equal.
    pub product_head: [f32; 4],
    /// The relative error of a directly summed squared distance.
    pub rounding: f32,
}

impl<'a> ListQuery<'a> {
    /// Prepares `query`; `None` where [`ListQueryBounds::new`] has none.
    pub fn new(metric: Metric, query: &'a [f32]) -> Option<Self> {
        Some(Self {
            values: query,
            bounds: ListQueryBounds::new(metric, query)?,
        })
    }

    /// The same for an operator that sums in another order.
    pub fn for_operator(metric: Metric, query: &'a [f32], summation: Summation) -> Option<Self> {
        Some(Self {
            values: query,
            bounds: ListQueryBounds::for_operator(metric, query, summation)?,
        })
    }
}

impl ListQueryBounds {
    /// The bounds' part of `query`. `None` where no bound can be given: its norm is near the limits of f32, or, for cosine, 0; or
    /// copies of rows cannot be searched by this metric.
    pub fn new(metric: Metric, query: &[f32]) -> Option<Self> {
        Self::for_operator(metric, query, Summation::Kernels)
    }

    /// The same for an operator that sums in another order.
    pub fn for_operator(metric: Metric, query: &[f32], summation: Summation) -> Option<Self> {
        let rounding = Rounding::new(metric, query.len(), summation);
        let norm = distance::norm(query) * (1.0 + F64_SLACK);
        if norm.is_nan() || norm >= NORM_MAX {
            return None;
        }
        let head = match metric {
            Metric::L2 => [1.0, 0.0, 0.0, 0.0],
            Metric::InnerProduct => [1.0, rounded_up(norm), 0.0, 0.0],
            Metric::Cosine => {
                // The operator divides by this very root, or about that.
                let norm_sq = f64::from(distance::norm_squared(query));
                summation.quotient_slack(query.len(), norm_sq, 1.0)?;
                let inverse = 1.0 / norm_sq.sqrt();
                if inverse >= NORM_MAX {
                    return None;
                }
                [1.0, rounded_up(norm), 0.0, nearest(inverse)]
            }
            Metric::L1 | Metric::Hamming | Metric::Jaccard => return None,
        };
        let product_head = match metric {
            Metric::L2 => [
                1.0,
                rounded_up(2.0 * rounding.operator + KEY_SLACK),
                rounded_up(rounding.score * norm),
                nearest(norm * norm),
            ],
            _ => head,
        };
        Some(Self {
            head,
            product_head,
            rounding: rounded_up(rounding.score + 2.0 * rounding.operator + KEY_SLACK),
        })
    }
}

/// What a row's code is, as its list's pages hold it.
#[derive(Debug, Clone, Copy)]
pub enum RowCode<'a> {
    /// The vector itself, little-endian f32.
    F32(&'a [u8]),
    /// Its f16 code and [`super::residual_bound`].
    F16(&'a [u8], f32),
    /// Its int8 code, the code's scale, and [`super::int8::residual_bound`].
    Int8(&'a [u8], f32, f32),
}

/// Some rows of a list, converted one after the other; memory is kept.
#[derive(Debug, Clone)]
pub struct ListRows {
    rounding: Rounding,
    dims: usize,
    keeps_vectors: bool,
    /// `[rows, dims]` f16, little-endian.
    pub codes: Vec<u8>,
    /// The rows' records of list_key.wgsl.
    pub heads: Vec<[f32; 4]>,
    /// Their heap rows.
    pub tids: Vec<u64>,
    /// The rows themselves, `[rows, dims]` f32, where the storage holds them; else empty.
    pub vectors: Vec<f32>,
    /// `|x|^2` as the operator computes it, for inner product and cosine; else 0.
    pub norms: Vec<f32>,
    scratch: Vec<f32>,
    scaled: Vec<f32>,
}

impl ListRows {
    /// No rows yet.
    pub fn new(metric: Metric, storage: Storage, dims: usize) -> Self {
        Self {
            rounding: Rounding::new(metric, dims, Summation::Kernels),
            dims,
            keeps_vectors: Self::keeps_vectors(storage),
            codes: Vec::new(),
            heads: Vec::new(),
            tids: Vec::new(),
            vectors: Vec::new(),
            norms: Vec::new(),
            scratch: Vec::new(),
            scaled: Vec::new(),
        }
    }

    /// The same for an operator that sums in another order.
    #[must_use]
    pub fn for_operator(self, summation: Summation) -> Self {
        Self {
            rounding: Rounding::new(self.rounding.metric, self.dims, summation),
            ..self
        }
    }

    /// Whether rows of `storage` come with their vectors.
    pub const fn keeps_vectors(storage: Storage) -> bool {
        matches!(storage, Storage::F32 | Storage::Rabitq)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.tids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tids.is_empty()
    }

    /// Dimensions of a row.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Bytes that the rows take here.
    pub fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.vectors.len() + 28 * self.len()
    }

    /// Forgets the rows.
    pub fn clear(&mut self) {
        self.codes.clear();
        self.heads.clear();
        self.tids.clear();
        self.vectors.clear();
        self.norms.clear();
    }

    /// Appends a row; `norm_sq` is its own `|x|^2` (`L2` ignores it).
    ///
    /// # Panics
    /// When the code does not have the dimensions of the rows.
    pub fn push(&mut self, tid: u64, code: RowCode<'_>, norm_sq: f32) {
        let head = match code {
            RowCode::F32(bytes) => self.push_f32(bytes, norm_sq),
            RowCode::F16(bytes, residual) => self.push_f16(bytes, residual, norm_sq),
            RowCode::Int8(codes, scale, residual) => self.push_int8(codes, scale, residual, norm_sq),
        };
        debug_assert_eq!(self.codes.len(), (self.len() + 1) * self.dims * 2);
        self.heads.push(head);
        self.tids.push(tid);
        self.norms.push(norm_sq);
    }

    fn push_f32(&mut self, bytes: &[u8], norm_sq: f32) -> [f32; 4] {
        assert_eq!(bytes.len(), self.dims * 4, "row length");
        self.scratch.clear();
        let (elements, _) = bytes.as_chunks::<4>();
        self.scratch
            .extend(elements.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        let scale = encode_scaled(&self.scratch, &mut self.scaled, &mut self.codes);
        let is_zero = self.scratch.iter().all(|x| *x == 0.0);
        let residual = squared_error(&self.scratch, &self.scaled, scale).sqrt() * (1.0 + F64_SLACK);
        if self.keeps_vectors {
            self.vectors.extend_from_slice(&self.scratch);
        }
        let squares = CodeSquares::of(&self.scaled, scale);
        self.head(scale, residual, squares, norm_sq, is_zero)
    }

    fn push_f16(&mut self, bytes: &[u8], residual: f32, norm_sq: f32) -> [f32; 4] {
        assert_eq!(bytes.len(), self.dims * 2, "row length");
        self.codes.extend_from_slice(bytes);
        self.scaled.resize(self.dims, 0.0);
        kernels().decode_f16(bytes, &mut self.scaled);
        let squares = CodeSquares::of(&self.scaled, 1.0);
        self.head(1.0, f64::from(residual), squares, norm_sq, false)
    }

    fn push_int8(&mut self, codes: &[u8], scale: f32, residual: f32, norm_sq: f32) -> [f32; 4] {
        assert_eq!(codes.len(), self.dims, "row length");
        let halves = codes
            .iter()
            .flat_map(|code| f16::from(code.cast_signed()).to_le_bytes());
        self.codes.extend(halves);
        let squares: i64 = codes
            .iter()
            .map(|code| i64::from(code.cast_signed()).pow(2))
            .sum();
        let squares = f64::from(scale).powi(2) * squares as f64;
        // The device rounds the product of scale and code.
        let rounding = squares.sqrt() * 2.0 * super::U;
        // Whole numbers are no subnormals.
        let squares = CodeSquares {
            least: squares,
            most: squares,
        };
        self.head(scale, f64::from(residual) + rounding, squares, norm_sq, false)
    }

    /// A row's head; `is_zero` says that all of `x` is known to be 0.
    fn head(&self, scale: f32, residual: f64, squares: CodeSquares, norm_sq: f32, is_zero: bool) -> [f32; 4] {
        let rounding = &self.rounding;
        let dims = rounding.dims;
        if rounding.metric == Metric::L2 {
            let flushed = (16.0 * dims * ETA).sqrt();
            let residual = rounded_up((residual + flushed) * (1.0 + F64_SLACK));
            return [
                scale,
                residual,
                nearest(squares.least),
                rounded_up(squares.most.sqrt()),
            ];
        }
        let norm = (f64::from(norm_sq) + 8.0 * dims * ETA) / (1.0 - rounding.operator);
        let norm = norm.sqrt() * (1.0 + F64_SLACK);
        let code_norm = norm + residual;
        let per_query =
            rounding.score * code_norm + residual + rounding.operator * norm + 4.0 * ETA * dims.sqrt();
        let flushed = 4.0 * ETA * (dims.sqrt() * (code_norm + 1.0) + 4.0 * dims);
        // Nothing can be said of a row near the limits of f32; NaN fails the comparison, too.
        let known = code_norm < NORM_MAX;
        let per_query = if known { per_query } else { f64::INFINITY };
        if rounding.metric == Metric::InnerProduct {
            return [
                scale,
                rounded_up(per_query),
                rounded_up(flushed),
                rounded_up(code_norm),
            ];
        }
        // The operator divides by this very root, or about that.
        let inverse = 1.0 / f64::from(norm_sq).sqrt();
        if is_zero {
            return [scale, 0.0, 0.0, 0.0];
        }
        let quotient = rounding
            .summation
            .quotient_slack(self.dims, 1.0, f64::from(norm_sq));
        let Some(quotient) = quotient.filter(|_| known && inverse < NORM_MAX) else {
            return [scale, f32::INFINITY, 0.0, 1.0];
        };
        [
            scale,
            // What is multiplied by it is about 1, within 1%: `|q|` over its square root.
            rounded_up(per_query * inverse + 1.01 * quotient),
            rounded_up(flushed * inverse),
            nearest(inverse),
        ]
    }
}

/// Calls `add(lane, a, b)` for each pair of elements, `LANES` neighbours of different lanes at a time.
#[inline(always)]
fn for_lanes(a: &[f32], b: &[f32], mut add: impl FnMut(usize, f32, f32)) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            add(lane, a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        add(lane, *a, *b);
    }
}

/// Appends the f16 codes of `x`, scaled, to `codes`, and leaves what they stand for, not yet scaled back, in `scaled`.
/// Returns the scale.
fn encode_scaled(x: &[f32], scaled: &mut Vec<f32>, codes: &mut Vec<u8>) -> f32 {
    // Magnitudes compare as their bits do, which the compiler has instructions for.
    let magnitude = |x: &f32| (x.to_bits() & 0x7fff_ffff).cast_signed();
    let max = x.iter().map(magnitude).fold(0, i32::max);
    let scale = scale_for(f32::from_bits(max.cast_unsigned()));
    let inverse = 1.0 / scale;
    scaled.clear();
    scaled.extend(x.iter().map(|x| x * inverse));
    let start = codes.len();
    codes.resize(start + x.len() * 2, 0);
    kernels().encode_f16(scaled, &mut codes[start..]);
    kernels().decode_f16(&codes[start..], scaled);
    scale
}

/// The power of two that brings `max` into `[2^14, 2^15)`, kept where it and its inverse are normal.
fn scale_for(max: f32) -> f32 {
    if max == 0.0 || !max.is_finite() {
        return 1.0;
    }
    let exponent = i32::try_from(max.to_bits() >> 23).expect("eight bits") - 127 - SCALED_EXPONENT;
    let biased = u32::try_from((exponent + 127).clamp(1, 253)).expect("positive");
    f32::from_bits(biased << 23)
}

/// `|x'|^2`, `x' = scale * codes`: a device may read subnormal codes as 0, and need not do so everywhere.
#[derive(Debug, Clone, Copy)]
struct CodeSquares {
    /// Without the subnormal codes. Beside a sum `q.x'` with or without them, it makes `|q - x'|^2` no larger than the
    /// row's that the residual is of.
    least: f64,
    /// With them.
    most: f64,
}

impl CodeSquares {
    fn of(codes: &[f32], scale: f32) -> Self {
        let (mut least, mut subnormal) = ([0.0f64; LANES], [0.0f64; LANES]);
        for_lanes(codes, codes, |lane, code, _| {
            let square = f64::from(code) * f64::from(code);
            let is_subnormal = code.abs() < F16_MIN_NORMAL;
            least[lane] += if is_subnormal { 0.0 } else { square };
            subnormal[lane] += if is_subnormal { square } else { 0.0 };
        });
        let scale_sq = f64::from(scale).powi(2);
        let least = least.iter().sum::<f64>();
        Self {
            least: least * scale_sq,
            most: (least + subnormal.iter().sum::<f64>()) * scale_sq,
        }
    }
}

/// Upper bound of `|x - x'|^2`, where `x' = scale * codes` and a device may read a subnormal code as 0.
fn squared_error(x: &[f32], codes: &[f32], scale: f32) -> f64 {
    let scale = f64::from(scale);
    let mut errors = [0.0f64; LANES];
    for_lanes(x, codes, |lane, x, code| {
        let flushed = if code.abs() < F16_MIN_NORMAL { x.abs() } else { 0.0 };
        let x = f64::from(x);
        let difference = (x - scale * f64::from(code)).abs();
        let worse = difference.max(f64::from(flushed));
        errors[lane] += worse * worse;
    });
    errors.iter().sum()
}

/// Rounded to f32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the slack of a key covers the rounding"
)]
fn nearest(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
