//! Which of 16 int8 rows may be near, from their products with the first part of a query's code; the compiler fits it to each
//! instruction set, as it does [`super::bounds`]. `quantize::int8_query` has the formulas, and says why they hold.
//!
//! Invariant: each operation is rounded once and none is fused, so every machine keeps the same rows.

use std::ops::Range;

use super::LOOKUP_ROWS;

/// Where the slack of the comparisons is far above every flush to zero (some 1e-33 for the longest vectors), and nothing comes
/// near the end of f32: of `|q|^2 + |x'|^2`, of `|x|^2`. Beyond, rows are kept.
pub const ORDINARY_SUMS: Range<f32> = 1e-20..1e36;
/// See [`ORDINARY_SUMS`].
pub const ORDINARY_SQUARES: Range<f32> = 1e-20..1e30;

/// With what the rows of a block are compared.
#[derive(Debug, Clone, Copy)]
pub enum ScreenLimit {
    /// `|q - x|` may be below it.
    L2(f32),
    /// `q.x` may be at least `floor + share |q| |x|`.
    Dot {
        /// See `Dot`.
        floor: f32,
        /// See `Dot`.
        share: f32,
    },
}

/// The query's share of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct ScreenTerms {
    /// What rows are compared with.
    pub limit: ScreenLimit,
    /// What a product and the row's scale are multiplied with.
    pub step: f32,
    /// `|q|`.
    pub norm: f32,
    /// `|q|^2`.
    pub norm_sq: f32,
    /// What the products leave out of the query: at least the norm of that.
    pub left_out: f32,
    /// Relative to `|q|^2 + |x'|^2`, or to `|q| |x|`: everything that the comparison rounds or leaves out besides.
    pub slack: f32,
}

/// The rows of a block.
#[derive(Debug, Clone, Copy)]
pub struct ScreenRows<'a> {
    /// The products.
    pub products: &'a [i32; LOOKUP_ROWS],
    /// The scales of the codes.
    pub scale: &'a [f32; LOOKUP_ROWS],
    /// How far the codes are from the rows.
    pub residual: &'a [f32; LOOKUP_ROWS],
    /// `|x'|^2` of what the codes stand for, for L2, else `|x|^2`.
    pub norm_sq: &'a [f32; LOOKUP_ROWS],
}

/// The whole kernel: a bit for each row that may be near.
#[inline(always)]
pub(super) fn screen_block(terms: &ScreenTerms, rows: &ScreenRows<'_>) -> u16 {
    match terms.limit {
        ScreenLimit::L2(cut) => by_row(rows, |product, scale, residual, norm_sq| {
            // T' - 2 |q - q'| |x'| > (cut + residual)^2, T' = |q|^2 - 2 q'.x' + |x'|^2.
            let sum = terms.norm_sq + norm_sq;
            let dot = terms.step * scale * product;
            let off = 2.0 * terms.left_out * (1.0 + terms.slack) * norm_sq.sqrt();
            let squared = sum - 2.0 * dot - off;
            // A negative cut (minus infinity) must not reach far by its square.
            let reach = (cut + residual).max(0.0);
            let limit = reach * reach * (1.0 + 2.0 * terms.slack) + terms.slack * sum;
            (squared > limit) & ORDINARY_SUMS.contains(&sum)
        }),
        ScreenLimit::Dot { floor, share } => by_row(rows, |product, scale, residual, norm_sq| {
            // q'.x' + |q - q'| (|x| + residual) + |q| residual < floor + share |q| |x|.
            let row_norm = norm_sq.sqrt();
            let norms = terms.norm * row_norm;
            let dot = terms.step * scale * product;
            let off = terms.norm * residual + terms.left_out * (row_norm + residual);
            let upper = dot + off * (1.0 + terms.slack) + terms.slack * (norms + terms.norm * residual);
            let limit = floor - floor.abs() * terms.slack + share * norms - share.abs() * norms * terms.slack;
            (upper < limit) & ORDINARY_SQUARES.contains(&norm_sq)
        }),
    }
}

/// A bit for each row that is not `far`.
#[inline(always)]
fn by_row(rows: &ScreenRows<'_>, far: impl Fn(f32, f32, f32, f32) -> bool) -> u16 {
    let mut lanes = [0u32; LOOKUP_ROWS];
    for (i, lane) in lanes.iter_mut().enumerate() {
        let far = far(
            rows.products[i] as f32,
            rows.scale[i],
            rows.residual[i],
            rows.norm_sq[i],
        );
        *lane = if far { 0 } else { 1 << i };
    }
    let near = lanes.into_iter().fold(0, |near, lane| near | lane);
    u16::try_from(near).expect("16 bits")
}
