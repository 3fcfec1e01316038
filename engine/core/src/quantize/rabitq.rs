//! 1-bit codes of rotated residuals, and bounds of distances from them: RaBitQ (J. Gao and C. Long, "RaBitQ: quantizing
//! high-dimensional vectors with a theoretical error bound for approximate nearest neighbor search", SIGMOD 2024,
//! arXiv 2405.12497), written from the paper.
//!
//! With a vector `y`, its list's centroid `c`, the residual `r`, the rotation `P`, `w = P r` and `b` the signs of `w`, each
//! ±1, `t = |w|^2 / <b, w>`: the product `<r, v>` with any `v` is estimated as `t <b, P v>`, without a bias. `t b - w` is
//! orthogonal to `w`, and `P v` is a vector of random direction to it, so the estimate is off by more than
//! `t |b - w / t| |v| EPSILON / sqrt(d - 1)` with a chance of some 1e-8; never by more than `t |b - w / t| |v|`.
//!
//! - L2: `y` is the row and `r = y - c`. `|q - y|^2 = |q - c|^2 + |r|^2 - 2 <r, q - c>`.
//! - Spherical metrics: `y` is the row's direction and `r` what of it is at right angles to `c`. With the query's direction
//!   `u`, the share `a = <u, c> / <c, c>` and `u' = u - a c`, `<u, y> = a <y, c> + <r, u'>`.
//!
//! In both cases the bound is `start + slope * base - step <b, P q> - error * reach`, where `start`, `slope` and `reach` (`|q - c|` or
//! `|u'|`) follow from query and list ([`Place`]), and `base`, `step` and `error` are stored with the row: `|r|^2 + 2 t <b, P c>` or
//! `<y, c> - t <b, P c>`; `2 t` or `t`; and the estimate's error for a `v` of length 1.
//!
//! A bound only decides which rows are compared exactly, so one that does not hold can lose a row, never misplace one.

use std::ops::Range;

use super::bits;
use super::rotation::Rotation;
use crate::cpu::{
    BoundKind, BoundLanes, BoundRows, BoundTerms, LOOKUP_BYTES, LOOKUP_QUAD, LOOKUP_ROWS, Near, kernels,
};
use crate::error::{Error, ErrorKind, Result};
use crate::metric::{Element, Metric, Score};

pub mod fine;

/// How many standard deviations an estimate may be off. The paper's 1.9 loses one row in some hundreds.
const EPSILON: f64 = 5.5;
/// Elements of the query are rounded to so many steps on either side of zero, `127 * 128`: two int8 make one of them, and
/// the sum of four fits 16 bits.
const STEPS: f32 = 16_256.0;
/// 1.5 * 2^23: a sum with it of less than 2^22 is an integer.
const ROUNDER: f32 = 12_582_912.0;
/// Squares of norms whose f32 arithmetic the slack covers: it neither underflows nor comes near the end of f32.
const ORDINARY_SQUARES: Range<f64> = 1e-20..1e30;
/// Bounds of `1 - <u, y>` below this come from [`RabitqFactors::UNKNOWN`]: an error is some `sqrt(d)` at most.
const UNKNOWN_BELOW: f32 = -1e6;
/// What of a square of a difference is lost to underflow, for each element.
const LOST_SQUARE: f32 = 2e-38;
/// Relative slack for f32 arithmetic: some dozens of roundings of 2^-24.
const SLACK: f32 = 4e-6;

/// Bytes of a row's code: whole quads, as the kernel takes them.
pub const fn code_bytes(dims: usize) -> usize {
    bits::code_bytes(dims)
}

/// What is stored with a row besides its code; the module says what it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RabitqFactors {
    /// Any sign.
    pub base: f32,
    /// At least 0.
    pub step: f32,
    /// At least 0.
    pub error: f32,
}

impl RabitqFactors {
    /// Says nothing: for rows whose numbers leave f32.
    const UNKNOWN: Self = Self {
        base: 0.0,
        step: 0.0,
        error: f32::MAX,
    };
}

/// Encodes rows; memory is kept.
#[derive(Debug)]
pub struct RabitqEncoder {
    spherical: bool,
    rotation: Rotation,
    row: Vec<f32>,
    centroid: Vec<f32>,
}

impl RabitqEncoder {
    /// An encoder of rows of `dims` elements.
    pub fn new(metric: Metric, dims: usize, seed: u64) -> Self {
        Self {
            spherical: metric.is_spherical(),
            rotation: Rotation::new(dims, seed),
            row: Vec::new(),
            centroid: Vec::new(),
        }
    }

    /// Appends the 1-bit code of `x`, a row of the list of `centroid`, to `code`, and the 4-bit one with its factors to
    /// `fine_code`; returns the factors of the first.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn encode(
        &mut self,
        x: &[f32],
        centroid: &[f32],
        code: &mut Vec<u8>,
        fine_code: &mut Vec<u8>,
    ) -> Result<RabitqFactors> {
        point(self.spherical, x, &mut self.row);
        let along = if self.spherical {
            products(&self.row, centroid)
        } else {
            Products::default()
        };
        #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
        let share = if self.spherical { along.share() as f32 } else { 1.0 };
        for (x, c) in self.row.iter_mut().zip(centroid) {
            *x -= share * c;
        }
        self.centroid.clear();
        self.centroid.extend_from_slice(centroid);
        self.rotation.apply(&mut self.row);
        self.rotation.apply(&mut self.centroid);
        bits::encode(&self.row, code)?;
        fine_code
            .try_reserve(fine::bytes(x.len()))
            .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
        let ordinary = !self.spherical || ORDINARY_SQUARES.contains(&crate::distance::norm(x).powi(2));
        let signs = self.row.iter().map(|w| if *w > 0.0 { 1 } else { -1 });
        let coarse = self.factors(signs, along.dot, ordinary);
        let square = self.row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
        let digits = fine::digits(&self.row, square);
        let factors = self.factors(digits.clone().map(fine::value), along.dot, ordinary);
        fine::pack(factors, digits, x.len(), fine_code);
        Ok(coarse)
    }

    /// The factors of code `b` of the rotated residual; `dot` is `<y, c>`.
    #[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
    fn factors(&self, b: impl Iterator<Item = i8>, dot: f64, ordinary: bool) -> RabitqFactors {
        let (mut square, mut along, mut own, mut centre) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for ((w, c), b) in self.row.iter().zip(&self.centroid).zip(b) {
            let (w, c, b) = (f64::from(*w), f64::from(*c), f64::from(b));
            square += w * w;
            along += b * w;
            own += b * b;
            centre += b * c;
        }
        let t = if along > 0.0 { square / along } else { 0.0 };
        // |b - w / t|^2 = |b|^2 - |w|^2 / t^2, since <b, w> = |w|^2 / t.
        let across = if square > 0.0 {
            (own - along * along / square).max(0.0).sqrt()
        } else {
            0.0
        };
        let certain = (EPSILON / (self.row.len() as f64 - 1.0).sqrt()).min(1.0);
        let factors = if self.spherical {
            RabitqFactors {
                base: (dot - t * centre) as f32,
                step: t as f32,
                error: (t * across * certain) as f32,
            }
        } else {
            RabitqFactors {
                base: (square + 2.0 * t * centre) as f32,
                step: (2.0 * t) as f32,
                error: (2.0 * t * across * certain) as f32,
            }
        };
        let finite = factors.base.is_finite() && factors.step.is_finite() && factors.error.is_finite();
        if ordinary && finite {
            factors
        } else {
            RabitqFactors::UNKNOWN
        }
    }
}

/// Of a point with a centroid, and of that with itself.
#[derive(Debug, Clone, Copy)]
struct Products {
    dot: f64,
    square: f64,
}

impl Default for Products {
    /// As if they were at right angles.
    fn default() -> Self {
        Self {
            dot: 0.0,
            square: 1.0,
        }
    }
}

impl Products {
    /// How much of the centroid is in the point.
    fn share(self) -> f64 {
        self.dot / self.square
    }
}

fn products(point: &[f32], centroid: &[f32]) -> Products {
    let parts = kernels().cosine_parts(point, centroid);
    let (dot, square) = (f64::from(parts.dot), f64::from(parts.norm_sq_b));
    // Centroids have unit length, or none: a list without rows may keep zeroes.
    if ORDINARY_SQUARES.contains(&square) {
        Products { dot, square }
    } else {
        Products::default()
    }
}

/// `x`, or its direction.
#[expect(clippy::cast_possible_truncation, reason = "rounding that the slack covers")]
fn point(spherical: bool, x: &[f32], out: &mut Vec<f32>) {
    out.clear();
    out.extend_from_slice(x);
    if !spherical {
        return;
    }
    let norm = crate::distance::norm(x);
    if norm > 0.0 {
        out.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

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

/// A query against codes.
#[derive(Debug, Clone)]
pub struct RabitqQuery {
    metric: Metric,
    point: Vec<f32>,
    norm: f32,
    tables: Vec<u8>,
    /// The steps, as `128 high + low`.
    digits: [Vec<u8>; 2],
    /// A step. `<b, P u> = unit (2 sum - steps)`, where `sum` is what the kernel returns for signs `b`.
    unit: f32,
    steps: i32,
    /// How far that may be off; 15 times as far for a 4-bit code.
    off: f32,
    /// How far the operator's own sum may be off by underflow.
    lost: f32,
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
        let norm = crate::distance::norm(query);
        let mut directed = Vec::with_capacity(query.len());
        point(metric.is_spherical(), query, &mut directed);
        let mut turned = directed.clone();
        rotation.apply(&mut turned);
        let largest = turned.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let (unit, per_unit) = (largest / STEPS, STEPS / largest);
        let ordinary = !metric.is_spherical() || ORDINARY_SQUARES.contains(&norm.powi(2));
        let finite = turned.iter().all(|x| x.is_finite()) && ordinary;
        let unknown = !(finite && unit.is_normal() && per_unit.is_finite());
        let mut steps: Vec<i16> = Vec::with_capacity(turned.len().next_multiple_of(8 * LOOKUP_QUAD));
        let per_unit = if unknown { 0.0 } else { per_unit };
        steps.extend(turned.iter().map(|x| ((x * per_unit + ROUNDER) - ROUNDER) as i16));
        let lost: f64 = turned
            .iter()
            .zip(&steps)
            .map(|(x, step)| (f64::from(*x) - f64::from(unit) * f64::from(*step)).abs())
            .sum();
        let length = if metric.is_spherical() { 1.0 } else { norm };
        let off = lost * 1.01 + f64::from(SLACK) * (query.len() as f64).sqrt() * length;
        let digits = [
            split(&steps, |step| (step + 64) >> 7),
            split(&steps, |step| step - ((step + 64) >> 7 << 7)),
        ];
        steps.resize(turned.len().next_multiple_of(8 * LOOKUP_QUAD), 0);
        Self {
            metric,
            norm: norm as f32,
            tables: tables(&steps),
            digits,
            unit,
            steps: steps.iter().map(|step| i32::from(step.abs())).sum(),
            off: off as f32,
            lost: query.len() as f32 * LOST_SQUARE,
            unknown: unknown || !(off as f32).is_finite(),
            point: directed,
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
                Metric::L2 => BoundKind::Root,
                Metric::Cosine => BoundKind::Plain,
                Metric::InnerProduct => BoundKind::Product,
            },
            start: place.start,
            slope: place.slope,
            reach: place.reach,
            off: self.off,
            lost: self.lost,
            slack: SLACK,
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
    /// # Panics
    /// When `codes` is not one block long.
    pub fn near_rows(
        &self,
        terms: &BoundTerms,
        codes: &[u8],
        runs: RabitqRuns<'_>,
        first: usize,
        cut: f32,
        bounds: &mut BoundLanes,
    ) -> Near {
        let mut sums = [0; LOOKUP_ROWS];
        kernels().lookup_block(&self.tables, codes, &mut sums);
        let products = sums.map(|sum| self.unit * (2 * sum.cast_signed() - self.steps) as f32);
        let mut copies = [NO_LANES; 4];
        let [base, step, error, norm_sq] = &mut copies;
        let rows = BoundRows {
            products: &products,
            base: lanes(runs.base, first, base),
            step: lanes(runs.step, first, step),
            error: lanes(runs.error, first, error),
            norm_sq: lanes(runs.norm_sq, first, norm_sq),
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
    /// `values` is scratch memory.
    ///
    /// # Panics
    /// When `row` is not `fine::bytes` long.
    pub fn fine_bound(
        &self,
        terms: &BoundTerms,
        row: &[u8],
        norm_sq: f32,
        values: &mut Vec<u8>,
    ) -> Option<f32> {
        let factors = fine::factors(row)?;
        if self.unknown {
            return Some(f32::NEG_INFINITY);
        }
        fine::unpack(row, self.point.len(), values);
        let [high, low] = &self.digits;
        let mut sums = [[0; 2]];
        kernels().dot_i8_pairs([high, low], values, &mut sums);
        let [[high, low]] = sums;
        let steps = 128 * i64::from(high) + i64::from(low);
        let lane =
            |value: f32| -> BoundLanes { std::array::from_fn(|lane| if lane == 0 { value } else { 0.0 }) };
        let terms = BoundTerms {
            off: 15.0 * terms.off,
            ..*terms
        };
        let rows = BoundRows {
            products: &lane(self.unit * steps as f32),
            base: &lane(factors.base),
            step: &lane(factors.step),
            error: &lane(factors.error),
            norm_sq: &lane(norm_sq),
        };
        let mut bounds = NO_LANES;
        kernels().bound_block(&terms, &rows, f32::INFINITY, &mut bounds);
        Some(bounds[0])
    }
}

/// A part of each step, one that fits a byte.
fn split(steps: &[i16], part: impl Fn(i16) -> i16) -> Vec<u8> {
    let byte = |step: &i16| part(*step).to_le_bytes()[0];
    steps.iter().map(byte).collect()
}

const NO_LANES: BoundLanes = [0.0; LOOKUP_ROWS];

/// The numbers of the 16 rows from `first` on; a copy, with zeroes behind the end, where there are fewer.
fn lanes<'a>(run: &'a [f32], first: usize, copy: &'a mut BoundLanes) -> &'a BoundLanes {
    let rest = run.get(first..).unwrap_or_default();
    if let Some(lanes) = rest.first_chunk() {
        return lanes;
    }
    copy[..rest.len()].copy_from_slice(rest);
    copy
}

/// The kernel's tables: for each nibble of a code, the sums of the steps of the bits that are set in each of its values,
/// less the smallest of them.
fn tables(steps: &[i16]) -> Vec<u8> {
    const PART: usize = 16 * LOOKUP_QUAD;
    let mut tables = vec![0; steps.len() / 8 * LOOKUP_BYTES];
    for (quad, tables) in steps
        .as_chunks::<{ 8 * LOOKUP_QUAD }>()
        .0
        .iter()
        .zip(tables.as_chunks_mut::<{ 4 * PART }>().0)
    {
        for (byte, steps) in quad.as_chunks::<8>().0.iter().enumerate() {
            let [low, high] =
                [0, 4].map(|at| subsets([steps[at], steps[at + 1], steps[at + 2], steps[at + 3]]));
            for value in 0..16 {
                let at = 16 * byte + value;
                [tables[at], tables[PART + at]] = low[value].to_le_bytes();
                [tables[2 * PART + at], tables[3 * PART + at]] = high[value].to_le_bytes();
            }
        }
    }
    tables
}

/// For each subset of four steps their sum, less the smallest of all: at most `4 * STEPS`.
#[inline]
fn subsets(steps: [i16; 4]) -> [u16; 16] {
    // Each step counts where its bit makes the sum larger: where it is set, or, for a negative step, where it is not.
    let mut sums = [0u16; 16];
    sums[0] = steps.iter().map(|step| step.min(&0).unsigned_abs()).sum();
    for (bit, step) in steps.iter().enumerate() {
        let (known, rest) = sums.split_at_mut(1 << bit);
        for (sum, without) in rest.iter_mut().zip(known) {
            *sum = without.wrapping_add_signed(*step);
        }
    }
    sums
}

#[cfg(test)]
mod tests;
