//! Bounds of 16 rows from the products of their codes, which the compiler fits to each instruction set: a table wraps
//! the function in one of its own target features. `quantize::rabitq` has the formula, and says why it holds.
//!
//! Invariant: each operation is rounded once and none is fused, so every machine computes the same bounds.

use super::LOOKUP_ROWS;

/// One f32 of each row of a block.
pub type BoundLanes = [f32; LOOKUP_ROWS];

/// What a raw bound is turned into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BoundKind {
    /// The root of it, as of a squared distance.
    #[default]
    Root,
    /// Itself, at least 0.
    Plain,
    /// `|q| |x| (bound - 1)`, less the slack of both norms.
    Product,
}

/// What the rows of a list have in common.
#[derive(Debug, Clone, Copy, Default)]
pub struct BoundTerms {
    /// What the bound becomes.
    pub kind: BoundKind,
    /// Where the query lies to the list's centroid: `start + slope * base`.
    pub start: f32,
    /// See `start`.
    pub slope: f32,
    /// What `error` is multiplied with.
    pub reach: f32,
    /// How far a product may be off.
    pub off: f32,
    /// What underflow may have taken from the operator's own sum.
    pub lost: f32,
    /// Relative slack for f32 arithmetic.
    pub slack: f32,
    /// `|q|`, for `Product`.
    pub norm: f32,
    /// Raw bounds up to this say nothing, for `Product`.
    pub unknown_below: f32,
}

/// The factors of the rows of a block.
#[derive(Debug, Clone, Copy)]
pub struct BoundRows<'a> {
    /// The products of the codes with the query.
    pub products: &'a BoundLanes,
    /// Any sign.
    pub base: &'a BoundLanes,
    /// At least 0.
    pub step: &'a BoundLanes,
    /// At least 0.
    pub error: &'a BoundLanes,
    /// `|x|^2`, for `Product`; else anything that is not negative.
    pub norm_sq: &'a BoundLanes,
}

/// Which rows of a block may be near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    /// A bit for each row whose bound lies below the cut.
    pub rows: u16,
    /// Whether all factors are such as an encoder writes.
    pub sound: bool,
}

/// What bounds one row.
#[derive(Debug, Clone, Copy)]
pub struct BoundRow {
    /// `<b, P q>`, as the code's kernel sums it.
    pub product: f32,
    /// The row's factors, as an encoder writes them.
    pub base: f32,
    /// See `base`.
    pub step: f32,
    /// See `base`.
    pub error: f32,
    /// `|x|^2`, for `Product`.
    pub norm_sq: f32,
}

impl BoundTerms {
    /// The bound of one row, minus infinity where the numbers leave f32: what a block's kernel computes for it.
    pub fn bound(&self, row: &BoundRow) -> f32 {
        let raw = raw_bound(self, row);
        match self.kind {
            BoundKind::Root => raw.max(0.0).sqrt(),
            BoundKind::Plain => raw.max(0.0),
            BoundKind::Product => product(self, row.norm_sq, raw),
        }
    }
}

/// The bound of a row before its kind is looked at, minus infinity where the numbers leave f32.
#[inline(always)]
fn raw_bound(terms: &BoundTerms, row: &BoundRow) -> f32 {
    let product = row.step * row.product;
    let base = terms.slope * row.base;
    let slack = terms.slack * (terms.start + base.abs() + product.abs()) + row.step * terms.off + terms.lost;
    let raw = terms.start + base - product - row.error * terms.reach - slack;
    if raw.abs() <= f32::MAX {
        raw
    } else {
        f32::NEG_INFINITY
    }
}

/// Computes the bounds of the rows of a block before their kind is looked at; returns whether all factors are such as an
/// encoder writes.
#[inline(always)]
pub(super) fn raw_bounds(terms: &BoundTerms, rows: &BoundRows<'_>, bounds: &mut BoundLanes) -> bool {
    let mut sound = true;
    #[expect(
        clippy::needless_range_loop,
        reason = "one index for six arrays, which the compiler turns into lanes"
    )]
    for i in 0..LOOKUP_ROWS {
        let row = BoundRow {
            product: rows.products[i],
            base: rows.base[i],
            step: rows.step[i],
            error: rows.error[i],
            norm_sq: rows.norm_sq[i],
        };
        // NaN fails the comparisons, too.
        sound &= (row.step >= 0.0) & (row.error >= 0.0) & (row.norm_sq >= 0.0) & (row.base.abs() <= f32::MAX);
        bounds[i] = raw_bound(terms, &row);
    }
    sound
}

/// Turns a raw bound into a product, as [`BoundKind::Product`] says.
#[inline(always)]
fn product(terms: &BoundTerms, norm_sq: f32, bound: f32) -> f32 {
    let norms = terms.norm * norm_sq.sqrt();
    let product = norms * (bound.clamp(0.0, 2.0) - 1.0) - norms * terms.slack;
    if bound > terms.unknown_below {
        product
    } else {
        f32::NEG_INFINITY
    }
}

/// The same for a block.
#[inline(always)]
pub(super) fn products(terms: &BoundTerms, norm_sq: &BoundLanes, bounds: &mut BoundLanes) {
    for (bound, norm_sq) in bounds.iter_mut().zip(norm_sq) {
        *bound = product(terms, *norm_sq, *bound);
    }
}

/// The whole kernel, where the instruction set has nothing better.
#[inline(always)]
pub(super) fn bound_block(
    terms: &BoundTerms,
    rows: &BoundRows<'_>,
    cut: f32,
    bounds: &mut BoundLanes,
) -> Near {
    let sound = raw_bounds(terms, rows, bounds);
    match terms.kind {
        BoundKind::Root => bounds.iter_mut().for_each(|bound| *bound = bound.max(0.0).sqrt()),
        BoundKind::Plain => bounds.iter_mut().for_each(|bound| *bound = bound.max(0.0)),
        BoundKind::Product => products(terms, rows.norm_sq, bounds),
    }
    let mut near = 0;
    for (i, bound) in bounds.iter().enumerate() {
        near |= if *bound < cut { 1 << i } else { 0 };
    }
    Near { rows: near, sound }
}
