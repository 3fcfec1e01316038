//! Lower bounds of a sparse query's distances from rows of which there are sketches.
//!
//! Let `m_i` be the smaller of the two bytes that the query's element `i` would have, times the row's scale: at least `|x_i|`
//! where both elements have the same sign, and 0 or more. Then
//!
//! * `q.x <= sum(|q_i| m_i) = p`, because elements of other signs make the product smaller;
//! * `|q - x|^2 = |q|^2 + |x|^2 - 2 q.x >= |q|^2 + |x|^2 - 2 p`;
//! * `|q - x|_1 >= |q|_1 + |x|_1 - 2 sum(min(|q_i|, m_i))`, because `|q_i - x_i| = |q_i| + |x_i| - 2 min(|q_i|, |x_i|)` where both have the
//!   same sign, and `|q_i| + |x_i|` where they have not.
//!
//! The operators sum in f32: a sum of `n` terms, each of which was rounded twice before, is off by a share `gamma(n + 2)` of the sum of
//! the terms' magnitudes (`quantize` says where that is from), and by the smallest subnormal for each product that underflows. That
//! holds for any order of the terms, so the bounds are those of another library's operators, too (`quantize::Summation`).

use std::ops::Range;

use super::{SKETCH_BYTES, SketchFactors, places};
use crate::metric::Metric;
use crate::quantize::gamma;
use crate::sparse::{Sparse, distance};

/// More than what `n` products that underflow lose, for each.
const UNDERFLOW: f64 = 1e-44;
/// Relative slack for sums in f64 of up to 32,000 terms.
const F64_SLACK: f64 = 1e-11;
/// Squares of norms that no product of small or large elements has spoilt.
const ORDINARY_SQUARES: Range<f64> = 1e-21..1e31;
/// Sums beyond this may overflow f32.
const OVERFLOW: f64 = 1e37;

/// A sparse query, prepared for sketches.
#[derive(Debug, Clone)]
pub struct SketchQuery {
    metric: Metric,
    elements: Vec<Element>,
    /// Sum of `|q_i|`.
    magnitude: f64,
    /// `|q|^2`, and as the cosine operator computes it.
    square: f64,
    norm_sq: f32,
}

#[derive(Debug, Clone, Copy)]
struct Element {
    magnitude: f32,
    places: [u16; 2],
}

impl SketchQuery {
    /// Prepares `query`.
    pub fn new(metric: Metric, query: Sparse<'_>) -> Self {
        let element = |(&index, &value): (&i32, &f32)| Element {
            magnitude: value.abs(),
            places: places(query.dims, index, value).map(|place| u16::try_from(place).expect("below 1,024")),
        };
        Self {
            metric,
            elements: query.indices.iter().zip(query.values).map(element).collect(),
            magnitude: query.values.iter().map(|x| f64::from(x.abs())).sum(),
            square: distance::norm(query).powi(2),
            norm_sq: distance::norm_squared(query),
        }
    }

    /// A lower bound of the operator's value for a row with this sketch; minus infinity when nothing can be said, NaN for the
    /// cosine of a query or a row that is zero.
    pub fn lower_bound(&self, sketch: &[u8; SKETCH_BYTES], row: SketchFactors) -> f64 {
        let scale = f64::from(row.scale);
        // Of the operator's sum of products.
        let terms = self.elements.len() as f64;
        let bound = match self.metric {
            Metric::L1 => self.l1_bound(sketch, row),
            Metric::L2 => self.l2_bound(self.product(sketch) * scale, row),
            Metric::Cosine if self.norm_sq == 0.0 || row.norm_sq == 0.0 => {
                // The operator's value is NaN where both squares are zero or infinite; else anything.
                return if self.elements.is_empty() || row.count == 0.0 {
                    f64::NAN
                } else {
                    f64::NEG_INFINITY
                };
            }
            _ => {
                let rounding = gamma(self.elements.len() + 2) * self.magnitude * (255.0 * scale);
                let product = self.product(sketch) * scale * (1.0 + F64_SLACK)
                    + rounding * (1.0 + F64_SLACK)
                    + terms * UNDERFLOW;
                if self.metric == Metric::Cosine {
                    self.cosine_bound(product, row)
                } else if self.magnitude * 255.0 * scale < OVERFLOW {
                    -product
                } else {
                    f64::NEG_INFINITY
                }
            }
        };
        if bound.is_finite() {
            bound
        } else {
            f64::NEG_INFINITY
        }
    }

    /// At least `sum(|q_i| m_i)`, in units of the row's scale.
    fn product(&self, sketch: &[u8; SKETCH_BYTES]) -> f64 {
        let mut sums = [0.0f32; 4];
        let (fours, rest) = self.elements.as_chunks::<4>();
        for four in fours {
            for (sum, element) in sums.iter_mut().zip(four) {
                *sum += element.magnitude * element.byte(sketch);
            }
        }
        for (sum, element) in sums.iter_mut().zip(rest) {
            *sum += element.magnitude * element.byte(sketch);
        }
        let sum: f64 = sums.iter().map(|sum| f64::from(*sum)).sum();
        // No term is negative, so the sum is off by a share of itself.
        sum * (1.0 + 2.0 * gamma(self.elements.len() + 2)) + self.elements.len() as f64 * UNDERFLOW
    }

    fn l2_bound(&self, product: f64, row: SketchFactors) -> f64 {
        // A square of the row as f32 sums it is off by a share, too.
        let of_row = f64::from(row.norm_sq) / (1.0 + gamma_of(row.count)) - f64::from(row.count) * UNDERFLOW;
        let exact = (self.square + of_row) * (1.0 - F64_SLACK) - 2.0 * product * (1.0 + F64_SLACK);
        let terms = self.elements.len() as f64 + f64::from(row.count);
        let computed = exact.max(0.0) * (1.0 - gamma_of_terms(terms)) - terms * UNDERFLOW;
        computed.max(0.0).sqrt() * (1.0 - F64_SLACK)
    }

    fn l1_bound(&self, sketch: &[u8; SKETCH_BYTES], row: SketchFactors) -> f64 {
        let scale = row.scale;
        let mut common = 0.0f64;
        for element in &self.elements {
            common += f64::from(element.magnitude).min(f64::from(element.byte(sketch)) * f64::from(scale));
        }
        let exact = (self.magnitude + f64::from(row.magnitude)) * (1.0 - F64_SLACK)
            - 2.0 * common * (1.0 + F64_SLACK);
        let terms = self.elements.len() as f64 + f64::from(row.count);
        let computed = exact.max(0.0) * (1.0 - gamma_of_terms(terms)) - terms * UNDERFLOW;
        computed.max(0.0) * (1.0 - F64_SLACK)
    }

    /// The operator divides by the root of squares that it sums in an order of its own: each is within two `gamma` of the one that is
    /// known, their root is so within half of that, and the quotient counts up to 1.
    fn cosine_bound(&self, product: f64, row: SketchFactors) -> f64 {
        let squares = [self.norm_sq, row.norm_sq].map(f64::from);
        if squares.iter().any(|square| !ORDINARY_SQUARES.contains(square)) || product >= OVERFLOW {
            return f64::NEG_INFINITY;
        }
        let rounding = 2.0 * (gamma(self.elements.len() + 2) + gamma_of(row.count));
        let quotient = product / (squares[0] * squares[1]).sqrt();
        (1.0 - quotient.clamp(-1.0, 1.0) - rounding - 1e-13).max(0.0)
    }
}

impl Element {
    /// The smaller of its two bytes.
    #[inline]
    fn byte(&self, sketch: &[u8; SKETCH_BYTES]) -> f32 {
        let [a, b] = self.places.map(|place| sketch[usize::from(place) % SKETCH_BYTES]);
        f32::from(a.min(b))
    }
}

/// `gamma` of a number of terms, and of two roundings before their sum.
fn gamma_of_terms(terms: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    let roundings = terms as usize;
    gamma(roundings.saturating_add(3)).min(1.0)
}

fn gamma_of(count: f32) -> f64 {
    gamma_of_terms(f64::from(count))
}
