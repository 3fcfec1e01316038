//! Row codes of the index and their error bounds.
//!
//! Must not know pages. Invariant: [`QueryNorms::lower_bound`] never exceeds the value that the operator (`distance`)
//! returns for the row's own vector, because PostgreSQL's executor raises an error when it does.
//!
//! The rounding model is the standard one (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
//! sections 2.2 and 3.1): `fl(a op b) = (a op b)(1 + e)`, `|e| <= u = 2^-24`, so a value that went through at most `k`
//! roundings carries a factor within `1 ± gamma(k)`, `gamma(k) = ku / (1 - ku)`. A sum of `n` terms in any order
//! passes each term through at most `n - 1` additions. A device may also flush subnormals, of operands and results, to
//! zero: each flush moves a value by less than `ETA = 2^-126`, the smallest normal number.

use crate::cpu::kernels;
use crate::distance::{self, norm_squared};
use crate::error::{Error, ErrorKind, Result};
use crate::metric::{Element, Metric};

pub mod bit_query;
pub mod bits;
pub mod int8;
pub mod int8_query;
pub mod list_row;
pub mod rabitq;
pub mod rotation;
pub mod sketch;
mod summation;

pub use summation::Summation;

/// Unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;
/// Smallest normal f32: more than what one flush to zero, or one rounding of a subnormal, can move.
const ETA: f64 = f32::MIN_POSITIVE as f64;
/// Smallest normal f16, below which a device may read a code as zero.
const F16_MIN_NORMAL: f32 = 1.0 / 16_384.0;
/// Relative slack for the f64 arithmetic of a bound: some twenty roundings of 2^-53, with a wide margin.
const F64_SLACK: f64 = 1e-13;
/// Products of norms beyond this may overflow f32 in some order of summation.
const OVERFLOW: f64 = 1.0e38;

/// Appends the code of `x` to `out`: little-endian f32, or f16 rounded to nearest and clamped to ±65504.
///
/// ```
/// use vectorgpu_core::metric::Element;
/// use vectorgpu_core::quantize::{decode, encode, residual_bound};
///
/// let x = [1.5, 1.0001];
/// let (mut code, mut back) = (Vec::new(), Vec::new());
/// encode(Element::F16, &x, &mut code)?;
/// decode(Element::F16, &code, &mut back)?;
/// assert_eq!(back, [1.5, 1.0]);
/// let error = x[1] - back[1];
/// assert!((error..1.001 * error).contains(&residual_bound(&x, &code)));
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `OutOfMemory`.
pub fn encode(element: Element, x: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let bytes = element.code_bytes(x.len());
    out.try_reserve(bytes)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
    match element {
        Element::F32 => out.extend_from_slice(bytemuck::cast_slice(x)),
        Element::F16 => {
            let start = out.len();
            out.resize(start + bytes, 0);
            kernels().encode_f16(x, &mut out[start..]);
        }
    }
    Ok(())
}

/// Appends the vector that `codes` (one row, or several) stand for to `out`, exactly. Bytes that do not make a whole
/// element are left out.
///
/// # Errors
/// `OutOfMemory`.
pub fn decode(element: Element, codes: &[u8], out: &mut Vec<f32>) -> Result<()> {
    let bytes = element.code_bytes(1);
    let len = codes.len() / bytes;
    out.try_reserve(len)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while decoding a row"))?;
    let start = out.len();
    out.resize(start + len, 0.0);
    match element {
        Element::F32 => {
            for (x, code) in out[start..].iter_mut().zip(codes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*code);
            }
        }
        Element::F16 => kernels().decode_f16(&codes[..len * bytes], &mut out[start..]),
    }
    Ok(())
}

/// An upper bound of `|x - x'|`, where `x'` is what a device reads from the f16 `code` of `x`; infinite when it leaves
/// f32, NaN never.
///
/// It covers a device that reads subnormal f16 as zero: each element counts with the larger of both errors. 0 means
/// that the code is exact.
///
/// # Panics
/// When `code` is not `2 * x.len()` bytes long.
pub fn residual_bound(x: &[f32], code: &[u8]) -> f32 {
    const GROUP: usize = 64;
    assert_eq!(code.len(), Element::F16.code_bytes(x.len()), "code length");
    let mut decoded = [0.0f32; GROUP];
    let mut sum = 0.0f64;
    for (x, code) in x.chunks(GROUP).zip(code.chunks(2 * GROUP)) {
        let decoded = &mut decoded[..x.len()];
        kernels().decode_f16(code, decoded);
        sum += x
            .iter()
            .zip(&*decoded)
            .map(|(x, decoded)| element_error(*x, *decoded).powi(2))
            .sum::<f64>();
    }
    bound_of_squares(sum, x.len())
}

/// An upper bound of the root of `n` squared errors that were summed in f64; infinite for NaN.
fn bound_of_squares(sum: f64, n: usize) -> f32 {
    if sum.is_nan() {
        return f32::INFINITY;
    }
    // A difference and a square of rounding 2^-53 each, n additions, the square root: n + 4 roundings at most.
    let slack = (n as f64 + 8.0) * f64::EPSILON;
    rounded_up((sum * (1.0 + slack)).sqrt() * (1.0 + slack))
}

fn element_error(x: f32, decoded: f32) -> f64 {
    let exact = (f64::from(x) - f64::from(decoded)).abs();
    if decoded.abs() < F16_MIN_NORMAL {
        exact.max(f64::from(x).abs())
    } else {
        exact
    }
}

/// The smallest f32 that is not below `value`, which is not negative.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the rounding is corrected upwards"
)]
fn rounded_up(value: f64) -> f32 {
    let rounded = value as f32;
    if f64::from(rounded) < value {
        rounded.next_up()
    } else {
        rounded
    }
}

/// The relative error bound of a score of `dims` terms that f32 arithmetic summed in any order, with or without fused
/// multiply-adds: `gamma(dims + 4)`.
///
/// A term of `SquaredL2` is rounded at most three times before it is summed (the difference counts twice, because it
/// is squared) and in at most `dims - 1` additions (`dims` where a partial sum starts at zero); a term of `Dot` once
/// and as often. One more rounding is slack, which also pays for `gamma` being evaluated in f64.
pub fn rounding_bound(dims: usize) -> f64 {
    gamma(dims.saturating_add(4))
}

/// The same for the kernels of `cpu`, whose order is known: a term passes through the additions of its partial sum,
/// one of 32, and five more that fold those.
pub fn kernel_rounding_bound(dims: usize) -> f64 {
    gamma(dims.div_ceil(32).saturating_add(5 + 4))
}

fn gamma(roundings: usize) -> f64 {
    let nu = roundings as f64 * U;
    if nu < 0.5 { nu / (1.0 - nu) } else { f64::INFINITY }
}

/// What a row brings to its lower bound, besides its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowFactors {
    /// [`residual_bound`] of an f16 row, 0 for an f32 row.
    pub residual: f32,
    /// [`norm_squared`] of the row's own vector (not of its code); `L2` ignores it.
    pub norm_sq: f32,
    /// Whether every element of the row's own vector is 0; only `Cosine` asks.
    pub is_zero: bool,
}

impl RowFactors {
    /// The factors of `x`, whose code is `code`.
    ///
    /// # Panics
    /// When `code` is not `x.len()` elements long.
    pub fn new(element: Element, x: &[f32], code: &[u8]) -> Self {
        assert_eq!(code.len(), element.code_bytes(x.len()), "code length");
        let residual = match element {
            Element::F32 => 0.0,
            Element::F16 => residual_bound(x, code),
        };
        Self {
            residual,
            norm_sq: norm_squared(x),
            is_zero: x.iter().all(|x| *x == 0.0),
        }
    }
}

/// What a query brings to the lower bounds of all rows, computed once.
#[derive(Debug, Clone, Copy)]
pub struct QueryNorms {
    dims: f64,
    /// At least `|q|`.
    norm: f64,
    /// [`norm_squared`], as the operator computes it.
    norm_sq: f32,
    is_zero: bool,
    /// Relative error of a score, and of the operator's own sums.
    score_gamma: f64,
    operator_gamma: f64,
    summation: Summation,
}

impl QueryNorms {
    /// Prepares the bounds of one query. `exact` says that scores come from the kernels of `cpu`
    /// (`Backend::is_exact`), in a known order; otherwise they may come from any order, flushing subnormals or not.
    pub fn new(query: &[f32], exact: bool) -> Self {
        Self {
            dims: query.len() as f64,
            norm: distance::norm(query) * (1.0 + 1e-11),
            norm_sq: norm_squared(query),
            is_zero: query.iter().all(|x| *x == 0.0),
            score_gamma: if exact {
                kernel_rounding_bound(query.len())
            } else {
                rounding_bound(query.len())
            },
            operator_gamma: kernel_rounding_bound(query.len()),
            summation: Summation::Kernels,
        }
    }

    /// The same for an operator that sums in another order.
    #[must_use]
    pub fn for_operator(self, summation: Summation) -> Self {
        Self {
            operator_gamma: summation.rounding_bound(self.dims()),
            summation,
            ..self
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was a number of dimensions"
    )]
    fn dims(&self) -> usize {
        self.dims as usize
    }

    /// The query's `|q|^2` as the operator computes it.
    pub fn norm_sq(&self) -> f32 {
        self.norm_sq
    }

    /// A lower bound of the operator's value for a row whose code got the raw `score` (`metric.score()`).
    ///
    /// The score must be a direct sum over the elements of query and code (not, say, `|q|^2 + |x|^2 - 2 q.x`).
    /// Minus infinity when nothing can be said, as for scores that are not finite; NaN only for the cosine of a zero
    /// query or a zero row, whose operator value is NaN too.
    pub fn lower_bound(&self, metric: Metric, score: f32, row: RowFactors) -> f64 {
        let bound = match metric {
            Metric::L2 => self.l2_bound(score, row),
            Metric::InnerProduct => -self.dot_upper_bound(score, row),
            Metric::Cosine if self.is_zero || row.is_zero => return f64::NAN,
            Metric::Cosine => self.cosine_bound(score, row),
            Metric::L1 => self.l1_bound(score, row),
            Metric::Hamming | Metric::Jaccard => self.counted(metric, score, row.norm_sq),
        };
        if bound.is_finite() {
            bound
        } else {
            f64::NEG_INFINITY
        }
    }

    /// The operator's value for a row whose vector got the raw `score` from the kernels of `cpu`, where `exact` and the operator
    /// sums as they do; else a lower bound of it, for a row whose code got it.
    #[inline]
    pub fn key(&self, metric: Metric, exact: bool, score: f32, norm_sq: f32, residual: f32) -> f64 {
        if !exact || self.summation != Summation::Kernels {
            // Whether a row whose stored norm underflowed to 0 is all zeroes is not known; false is always a bound.
            let row = RowFactors {
                residual,
                norm_sq,
                is_zero: false,
            };
            return self.lower_bound(metric, score, row);
        }
        match metric {
            Metric::L2 => distance::l2_from_squared(score),
            Metric::InnerProduct => -f64::from(score),
            Metric::Cosine => distance::cosine_from_parts(score, self.norm_sq, norm_sq),
            Metric::L1 => f64::from(score),
            Metric::Hamming | Metric::Jaccard => self.counted(metric, score, norm_sq),
        }
    }

    /// The value for bit strings as zeros and ones: sums of those are exact in f32, in any order.
    fn counted(&self, metric: Metric, score: f32, norm_sq: f32) -> f64 {
        let count = f64::from(score);
        match metric {
            Metric::Jaccard => {
                let either = f64::from(self.norm_sq) + f64::from(norm_sq) - count;
                distance::jaccard_from_counts(count, either)
            }
            _ => count,
        }
    }

    /// With `T'` the exact `|q - x'|^2`: `score <= (1 + gamma) T' + a`, where flushes, at most 7 of `ETA` in the
    /// difference and its square beside 2 in the sum, make `a <= 8 ETA sqrt(n T') + 4 n ETA`; as `2 sqrt(n T') <= n +
    /// T'`, the `T'` part of that is within the slack and `a <= 8 n ETA`. Then `|q - x| >= |q - x'| - |x - x'|`, and
    /// the operator's sum is within the same kind of bound of `|q - x|^2`.
    fn l2_bound(&self, score: f32, row: RowFactors) -> f64 {
        let flushed = 8.0 * self.dims * ETA;
        let squared = (f64::from(score) - flushed).max(0.0) / (1.0 + self.score_gamma);
        // NaN (a NaN score, an infinite residual beside an infinite score) must not pass as 0.
        if f64::from(score).is_finite() && row.residual.is_finite() {
            self.l2_bound_of(squared, row.residual)
        } else {
            f64::NEG_INFINITY
        }
    }

    /// The same from a lower bound of `|q - x'|^2`, finite as `residual` is.
    fn l2_bound_of(&self, squared: f64, residual: f32) -> f64 {
        let flushed = 8.0 * self.dims * ETA;
        let of_row = (squared.sqrt() * (1.0 - F64_SLACK) - f64::from(residual)).max(0.0);
        let squared = (1.0 - self.operator_gamma) * of_row * of_row - flushed;
        squared.max(0.0).sqrt() * (1.0 - F64_SLACK)
    }

    /// All terms are at least 0, so the score is within `gamma` of the exact `|q - x'|_1`, but for flushes of operands and sums, at
    /// most three of `ETA` each. Then `|q - x|_1 >= |q - x'|_1 - |x - x'|_1`, where `|x - x'|_1 <= sqrt(n) |x - x'|`; and the operator's sum
    /// is within the same kind of bound of `|q - x|_1`.
    fn l1_bound(&self, score: f32, row: RowFactors) -> f64 {
        let flushed = 4.0 * self.dims * ETA;
        let sum = (f64::from(score) - flushed).max(0.0) / (1.0 + self.score_gamma);
        let residual = self.dims.sqrt() * f64::from(row.residual) * (1.0 + F64_SLACK);
        // NaN must not pass as 0.
        if !f64::from(score).is_finite() || !residual.is_finite() {
            return f64::NEG_INFINITY;
        }
        let of_row = (sum * (1.0 - F64_SLACK) - residual).max(0.0);
        ((1.0 - self.operator_gamma) * of_row - flushed).max(0.0) * (1.0 - F64_SLACK)
    }

    /// An upper bound of the operator's f32 sum of `q_i x_i`: from the score, its rounding `gamma |q| |x'|`, the
    /// residual `|q| |x - x'|` and the operator's own rounding `gamma |q| |x|` (Cauchy-Schwarz throughout). Flushes
    /// of operands move a term by `ETA (|q_i| + |x_i|)`, together at most `ETA sqrt(n) (|q| + |x|)`; those of products
    /// and sums by `ETA` each. Infinite when some order of summation could overflow.
    fn dot_upper_bound(&self, score: f32, row: RowFactors) -> f64 {
        self.dot_upper_bound_of(f64::from(score), self.norm * self.score_gamma, row)
    }

    /// The same from an estimate of `q.x'` that is off by `error_rate |x'|` at most.
    fn dot_upper_bound_of(&self, estimate: f64, error_rate: f64, row: RowFactors) -> f64 {
        let residual = f64::from(row.residual);
        let row_norm = self.row_norm(row);
        let code_norm = row_norm + residual;
        let product = self.norm * code_norm;
        if !estimate.is_finite() || product.is_nan() || product >= OVERFLOW {
            return f64::INFINITY;
        }
        let flushed = 2.0 * ETA * (self.dims.sqrt() * (self.norm + code_norm + 1.0) + 4.0 * self.dims);
        let slack =
            error_rate * code_norm + self.norm * (residual + self.operator_gamma * row_norm) + 2.0 * flushed;
        let upper = estimate + slack;
        upper + (upper.abs() + slack) * F64_SLACK
    }

    /// At least `|x|`, from the operator's `|x|^2`.
    fn row_norm(&self, row: RowFactors) -> f64 {
        let flushed = 8.0 * self.dims * ETA;
        ((f64::from(row.norm_sq) + flushed) / (1.0 - self.operator_gamma)).sqrt() * (1.0 + F64_SLACK)
    }

    /// The operator divides by the very square root that is computed here, with a handful of roundings of 2^-53; or, where it sums
    /// in another order, by about that.
    fn cosine_bound(&self, score: f32, row: RowFactors) -> f64 {
        self.cosine_bound_of(self.dot_upper_bound(score, row), row)
    }

    fn cosine_bound_of(&self, dot_upper_bound: f64, row: RowFactors) -> f64 {
        let norms = (f64::from(self.norm_sq) * f64::from(row.norm_sq)).sqrt();
        // A zero here is an underflow, since neither vector is zero: the operator's quotient can be anything.
        if !(norms > 0.0 && norms.is_finite()) {
            return f64::NEG_INFINITY;
        }
        let similarity = dot_upper_bound / norms;
        if !similarity.is_finite() {
            return f64::NEG_INFINITY;
        }
        let (query_sq, row_sq) = (f64::from(self.norm_sq), f64::from(row.norm_sq));
        match self.summation.quotient_slack(self.dims(), query_sq, row_sq) {
            Some(slack) => (1.0 - similarity.clamp(-1.0, 1.0) - F64_SLACK - slack).max(0.0),
            None => f64::NEG_INFINITY,
        }
    }
}

#[cfg(test)]
mod tests;
