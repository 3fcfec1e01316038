//! A query against codes: the kernels' tables, and which rows may be near.

use super::super::Summation;
use super::super::rotation::Rotation;
use super::{ORDINARY_SQUARES, SLACK, fine, point, products};
use crate::cpu::{
    Ahead, BoundKind, BoundLanes, BoundRow, BoundRows, BoundTerms, LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_QUAD,
    LOOKUP_ROWS, NIBBLE_STEP, Near, kernels, lanes,
};
use crate::metric::{Element, Metric, Score};

/// Elements of the query are rounded to so many steps on either side of zero, `127 * 128`, for 4-bit codes: two int8 make
/// one of them.
const STEPS: f32 = 16_256.0;
/// For 1-bit codes, `2^COARSE` of them are one step: the sum of four fits the kernel's 12 bits. It makes a row's bound some
/// hundredth of its error farther.
const COARSE: u32 = 4;
const _: () = assert!(4 * ((16_256 + 8) >> COARSE) < 1 << (2 * LOOKUP_BITS));
/// 1.5 * 2^23: a sum with it of less than 2^22 is an integer.
const ROUNDER: f32 = 12_582_912.0;
/// Bounds of `1 - <u, y>` below this come from [`RabitqFactors::UNKNOWN`]: an error is some `sqrt(d)` at most.
const UNKNOWN_BELOW: f32 = -1e6;
/// The largest element of a 4-bit code.
const FINE_LARGEST: f64 = 15.0;
/// What of a square of a difference is lost to underflow, for each element.
const LOST_SQUARE: f32 = 2e-38;

/// The runs of the rows of a group.
#[derive(Debug, Clone, Copy)]
pub struct RabitqRuns<'a> {
    /// [`RabitqFactors::base`].
    pub base: &'a [f32],
    /// [`RabitqFactors::step`].
    pub step: &'a [f32],
    /// [`RabitqFactors::error`].
    pub error: &'a [f32],
    /// `|x|^2`, for inner products; else empty.
    pub norm_sq: &'a [f32],
}

/// Where a query lies to the centroid of a list; the module says what the parts are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    start: f32,
    slope: f32,
    reach: f32,
}

impl Place {
    /// For L2, the square of the distance.
    pub fn square(self) -> f32 {
        self.start
    }
}

/// A query against codes.
#[derive(Debug, Clone)]
pub struct RabitqQuery {
    metric: Metric,
    point: Vec<f32>,
    norm: f32,
    tables: Vec<u8>,
    /// A coarse step. `<b, P u> = coarse (2 sum - steps)`, where `sum` is what the kernel returns for signs `b`.
    coarse: f32,
    /// The sum of the coarse steps' magnitudes.
    steps: i32,
    /// How far that may be off.
    off: f32,
    /// The steps, as `128 high + low`, for 4-bit codes.
    digits: [Vec<u8>; 2],
    /// The sum of the steps.
    sum: i64,
    /// A step.
    unit: f32,
    /// How far the product of a 4-bit code may be off.
    fine_off: f32,
    /// How far the operator's own sum may be off by underflow.
    lost: f32,
    /// Relative slack for f32 arithmetic, and for an operator that does not sum as the kernels do.
    slack: f32,
    /// Whether nothing can be said of any row.
    unknown: bool,
}

impl RabitqQuery {
    /// Prepares a query; `rotation` is that of the rows.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding that the slack covers, and steps within 15 bits"
    )]
    pub fn new(metric: Metric, rotation: &Rotation, query: &[f32]) -> Self {
        let mut directed = Vec::with_capacity(query.len());
        let norm = point(metric.is_spherical(), query, &mut directed);
        let norm = norm.unwrap_or_else(|| crate::distance::norm(query));
        let mut turned = directed.clone();
        rotation.apply(&mut turned);
        let (largest, all_finite) = largest_of(&turned);
        let (unit, per_unit) = (largest / STEPS, STEPS / largest);
        let ordinary = !metric.is_spherical() || ORDINARY_SQUARES.contains(&norm.powi(2));
        let unknown = !(all_finite && ordinary && unit.is_normal() && per_unit.is_finite());
        let per_unit = if unknown { 0.0 } else { per_unit };
        // The low bits of the rounded sum are the step: faster than to convert it.
        let rounded = |x: &f32| (x * per_unit + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits());
        let steps: Vec<i16> = turned.iter().map(|x| rounded(x) as i16).collect();
        let coarse = unit * (1 << COARSE) as f32;
        let mut coarse_steps: Vec<i16> = Vec::with_capacity(turned.len().next_multiple_of(8 * LOOKUP_QUAD));
        coarse_steps.extend(steps.iter().map(|step| (step + (1 << (COARSE - 1))) >> COARSE));
        let length = if metric.is_spherical() { 1.0 } else { norm };
        let rounding = f64::from(SLACK) * (query.len() as f64).sqrt() * length;
        let off = distance_to(&turned, &coarse_steps, coarse) * 1.01 + rounding;
        let fine_off = FINE_LARGEST * (distance_to(&turned, &steps, unit) * 1.01 + rounding);
        coarse_steps.resize(turned.len().next_multiple_of(8 * LOOKUP_QUAD), 0);
        let digits = [
            split(&steps, |step| (step + 64) >> 7),
            split(&steps, |step| step - ((step + 64) >> 7 << 7)),
        ];
        Self {
            metric,
            norm: norm as f32,
            tables: tables(&coarse_steps),
            coarse,
            steps: coarse_steps.iter().map(|step| i32::from(step.abs())).sum(),
            off: off as f32,
            digits,
            sum: steps.iter().map(|step| i64::from(*step)).sum(),
            unit,
            fine_off: fine_off as f32,
            lost: query.len() as f32 * LOST_SQUARE,
            slack: SLACK,
            unknown: unknown || !(off as f32).is_finite() || !(fine_off as f32).is_finite(),
            point: directed,
        }
    }

    /// The same for an operator that sums in another order.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "rounding that the factor covers")]
    pub fn for_operator(self, summation: Summation) -> Self {
        let slack = summation.code_slack(self.point.len()) as f32;
        Self {
            slack: SLACK + slack,
            ..self
        }
    }

    /// Where the query lies to a list's centroid.
    #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
    pub fn place(&self, centroid: &[f32]) -> Place {
        if self.metric.is_spherical() {
            let along = products(&self.point, centroid);
            // The products are rounded, which matters where hardly anything is left.
            let across = ((1.0 - along.share() * along.dot).max(0.0) + f64::from(SLACK)).sqrt();
            return Place {
                start: 1.0,
                slope: -along.share() as f32,
                reach: across as f32,
            };
        }
        let square = kernels().row(
            Score::SquaredL2,
            Element::F32,
            &self.point,
            bytemuck::cast_slice(centroid),
        );
        Place {
            start: square,
            slope: 1.0,
            reach: square.sqrt(),
        }
    }

    /// What the rows have in common of a list to whose centroid the query lies as `place` says.
    pub fn terms(&self, place: Place) -> BoundTerms {
        BoundTerms {
            kind: match self.metric {
                Metric::Cosine => BoundKind::Plain,
                Metric::InnerProduct => BoundKind::Product,
                // Rows of no other metric have these codes (`Metric::allows`).
                _ => BoundKind::Root,
            },
            start: place.start,
            slope: place.slope,
            reach: place.reach,
            off: self.off,
            lost: self.lost,
            slack: self.slack,
            norm: self.norm,
            unknown_below: UNKNOWN_BELOW,
        }
    }

    /// Tells which of up to 16 rows, the block of `runs` that begins at row `first`, may be nearer than `cut`: those whose
    /// lower bounds of the operator's value, written to `bounds`, lie below it. What `bounds` and the answer say of rows
    /// behind the end of the runs is to be ignored.
    ///
    /// `codes` is the rows' block of codes, as [`crate::cpu::Kernels::lookup_block`] takes it.
    ///
    /// `ahead` is memory to ask for meanwhile.
    ///
    /// # Panics
    /// When `codes` is not one block long.
    #[expect(
        clippy::too_many_arguments,
        reason = "one block of a loop, with all that it is read with"
    )]
    pub fn near_rows(
        &self,
        terms: &BoundTerms,
        codes: &[u8],
        runs: RabitqRuns<'_>,
        first: usize,
        cut: f32,
        bounds: &mut BoundLanes,
        ahead: Ahead,
    ) -> Near {
        let mut sums = [0; LOOKUP_ROWS];
        kernels().lookup_block(&self.tables, codes, &mut sums, ahead);
        let products = sums.map(|sum| self.coarse * (2 * sum.cast_signed() - self.steps) as f32);
        let mut copies = [NO_LANES; 4];
        let [base, step, error, norm_sq] = &mut copies;
        let rows = BoundRows {
            products: &products,
            base: lanes(behind(runs.base, first), base),
            step: lanes(behind(runs.step, first), step),
            error: lanes(behind(runs.error, first), error),
            norm_sq: lanes(behind(runs.norm_sq, first), norm_sq),
        };
        let near = kernels().bound_block(terms, &rows, cut, bounds);
        if !self.unknown {
            return near;
        }
        bounds.fill(f32::NEG_INFINITY);
        Near {
            rows: if cut > f32::NEG_INFINITY { u16::MAX } else { 0 },
            ..near
        }
    }

    /// A lower bound of the operator's value for a row with the 4-bit code `row`, or nothing where no encoder wrote that.
    ///
    /// # Panics
    /// When `row` is not `fine::bytes` long.
    pub fn fine_bound(&self, terms: &BoundTerms, row: &[u8]) -> Option<f32> {
        Some(self.fine_low(terms, &self.fine_row(row)?))
    }

    /// What the operator's value is at most for such a row, or nothing where no encoder wrote that. Other than the lower bound
    /// it leaves no room for underflow and overflow: nothing but speed may depend on it, or which of two rows about equally
    /// far is the nearer one.
    ///
    /// # Panics
    /// When `row` is not `fine::bytes` long.
    pub fn fine_most(&self, terms: &BoundTerms, row: &[u8]) -> Option<f32> {
        Some(self.fine_high(terms, &self.fine_row(row)?))
    }

    /// [`Self::fine_bound`] and [`Self::fine_most`] at once.
    ///
    /// # Panics
    /// When `row` is not `fine::bytes` long.
    pub fn fine_bounds(&self, terms: &BoundTerms, row: &[u8]) -> Option<(f32, f32)> {
        let row = self.fine_row(row)?;
        Some((self.fine_low(terms, &row), self.fine_high(terms, &row)))
    }

    fn fine_low(&self, terms: &BoundTerms, row: &BoundRow) -> f32 {
        if self.unknown {
            return f32::NEG_INFINITY;
        }
        let terms = BoundTerms {
            off: self.fine_off,
            ..*terms
        };
        terms.bound(row)
    }

    fn fine_high(&self, terms: &BoundTerms, row: &BoundRow) -> f32 {
        // All that the lower bound leaves room for, on the other side.
        let terms = BoundTerms {
            reach: -terms.reach,
            off: -self.fine_off,
            lost: -terms.lost,
            slack: -terms.slack,
            ..*terms
        };
        let most = terms.bound(row);
        // What a bound is where the numbers leave f32.
        let nothing = match terms.kind {
            BoundKind::Root | BoundKind::Plain => 0.0,
            BoundKind::Product => f32::NEG_INFINITY,
        };
        if !self.unknown && most > nothing {
            most
        } else {
            f32::INFINITY
        }
    }

    fn fine_row(&self, row: &[u8]) -> Option<BoundRow> {
        let fine::Head { norm_sq, factors, .. } = fine::Head::read(row)?;
        let [high, low] = &self.digits;
        let [high, low] = kernels().dot_nibbles([high, low], fine::code(row));
        // A nibble `n` stands for `2 n - 15`.
        let steps = 2 * (128 * i64::from(high) + i64::from(low)) - 15 * self.sum;
        Some(BoundRow {
            product: self.unit * steps as f32,
            base: factors.base,
            step: factors.step,
            error: factors.error,
            norm_sq,
        })
    }
}

/// Lanes that the compiler keeps apart, so that no sum waits for the one before.
const LANES: usize = 8;

/// The largest magnitude, and whether all are finite numbers.
fn largest_of(x: &[f32]) -> (f32, bool) {
    const INFINITE: u32 = f32::INFINITY.to_bits();
    // Magnitudes order as their bits do, infinity and NaN last.
    let magnitude = |x: &f32| x.to_bits() & (u32::MAX >> 1);
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut largest = [0; LANES];
    for x in whole {
        for (largest, x) in largest.iter_mut().zip(x) {
            *largest = magnitude(x).max(*largest);
        }
    }
    let largest = largest
        .into_iter()
        .chain(rest.iter().map(magnitude))
        .max()
        .unwrap_or(0);
    (f32::from_bits(largest), largest < INFINITE)
}

/// `sum(|x_i - unit * step_i|)`.
fn distance_to(x: &[f32], steps: &[i16], unit: f32) -> f64 {
    let unit = f64::from(unit);
    let one = |(x, step): (&f32, &i16)| (f64::from(*x) - unit * f64::from(*step)).abs();
    let ((x, x_rest), (steps, steps_rest)) = (x.as_chunks::<LANES>(), steps.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (x, steps) in x.iter().zip(steps) {
        for (sum, pair) in sums.iter_mut().zip(x.iter().zip(steps)) {
            *sum += one(pair);
        }
    }
    sums.into_iter()
        .chain(x_rest.iter().zip(steps_rest).map(one))
        .sum()
}

/// A part of each step, one that fits a byte, where a 4-bit code has its element.
fn split(steps: &[i16], part: impl Fn(i16) -> i16) -> Vec<u8> {
    let half = steps.len().div_ceil(2);
    let stride = fine::digit_bytes(steps.len()).next_multiple_of(NIBBLE_STEP);
    let mut split = vec![0; 2 * stride];
    for (steps, split) in steps.chunks(half).zip(split.chunks_mut(stride)) {
        for (step, split) in steps.iter().zip(split) {
            *split = part(*step).to_le_bytes()[0];
        }
    }
    split
}

const NO_LANES: BoundLanes = [0.0; LOOKUP_ROWS];

/// What a run holds from row `first` on.
fn behind(run: &[f32], first: usize) -> &[f32] {
    run.get(first..).unwrap_or_default()
}

/// The kernel's tables: for each nibble of a code, the sums of the coarse steps of the bits that are set in each of its
/// values, less the smallest of them.
fn tables(steps: &[i16]) -> Vec<u8> {
    const PART: usize = 16 * LOOKUP_QUAD;
    const LOW: u16 = (1 << LOOKUP_BITS) - 1;
    let mut tables = vec![0; steps.len() / 8 * LOOKUP_BYTES];
    for (quad, tables) in steps
        .as_chunks::<{ 8 * LOOKUP_QUAD }>()
        .0
        .iter()
        .zip(tables.as_chunks_mut::<{ 4 * PART }>().0)
    {
        for (byte, steps) in quad.as_chunks::<8>().0.iter().enumerate() {
            for (nibble, steps) in steps.as_chunks::<4>().0.iter().enumerate() {
                let sums = subsets(*steps);
                let (mut lows, mut highs) = ([0; 16], [0; 16]);
                for ((low, high), sum) in lows.iter_mut().zip(&mut highs).zip(sums) {
                    [*low, *high] = [sum & LOW, sum >> LOOKUP_BITS].map(|part| part.to_le_bytes()[0]);
                }
                let at = 2 * nibble * PART + 16 * byte;
                tables[at..at + 16].copy_from_slice(&lows);
                tables[PART + at..][..16].copy_from_slice(&highs);
            }
        }
    }
    tables
}

/// For each subset of four steps their sum, less the smallest of all.
#[inline(always)]
fn subsets(steps: [i16; 4]) -> [u16; 16] {
    // Each step counts where its bit makes the sum larger: where it is set, or, for a negative step, where it is not.
    let least: u16 = steps.iter().map(|step| step.min(&0).unsigned_abs()).sum();
    let mut sums = [least; 16];
    for (step, members) in steps.iter().zip(&MEMBERS) {
        for (sum, member) in sums.iter_mut().zip(members) {
            *sum = sum.wrapping_add(member & step.cast_unsigned());
        }
    }
    sums
}

/// For each of four bits all ones where a nibble has it set.
const MEMBERS: [[u16; 16]; 4] = {
    let mut members = [[0; 16]; 4];
    let mut bit = 0;
    while bit < 4 {
        let mut value = 0;
        while value < 16 {
            if value >> bit & 1 == 1 {
                members[bit][value] = u16::MAX;
            }
            value += 1;
        }
        bit += 1;
    }
    members
};
