//! Nearest-centroid assignment: a register-tiled matrix product of rows and centroids, fused with the argmin.
//!
//! Invariant: the product of a (row, centroid) pair is one chain of multiply-adds in element order, whatever the tile it falls into
//! (`products.rs`), so labels do not depend on which rows are assigned together; and the chain is fused in every instruction set but
//! the scalar one, so those agree on labels.

use super::Kernels;
use super::products::{CHUNK_ROWS, Panels};
use crate::backend::{KeepWaiting, Nearest, NearestBy};
use crate::error::{Error, ErrorKind, Result};

/// Lanes that each keep a best label of their own until the row is finished.
const BEST_LANES: usize = 16;
/// Multiply-adds between two calls of the keep-waiting closure: 1 ms or less with SIMD, some 20 ms without.
const POLL_WORK: usize = 1 << 24;

/// The best score so far, and its label, of the centroids that fell into each lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneBest {
    pub(super) score: [f32; BEST_LANES],
    pub(super) label: [u32; BEST_LANES],
}

impl LaneBest {
    const NONE: Self = Self {
        score: [f32::INFINITY; BEST_LANES],
        label: [0; BEST_LANES],
    };

    /// The best score of all lanes and the lowest label that has it.
    fn winner(&self) -> (f32, u32) {
        let mut best = (self.score[0], self.label[0]);
        for (&score, &label) in self.score.iter().zip(&self.label).skip(1) {
            if score < best.0 || (score == best.0 && label < best.1) {
                best = (score, label);
            }
        }
        best
    }
}

/// Folds products `dots` (`[rows, width]`, `width` a multiple of 16) into each row's best label: a centroid's score is
/// `bias + scale * dot`, smaller is better, a NaN never wins, ties keep the earlier label.
///
/// The reference of the instruction sets' own versions.
pub(super) fn fold_lanes(dots: &[f32], bias: &[f32], scale: f32, first_label: u32, best: &mut [LaneBest]) {
    for (row, best) in dots.chunks_exact(bias.len()).zip(best) {
        let mut label = first_label;
        for (dots, bias) in row
            .as_chunks::<BEST_LANES>()
            .0
            .iter()
            .zip(bias.as_chunks::<BEST_LANES>().0)
        {
            for lane in 0..BEST_LANES {
                let score = bias[lane] + scale * dots[lane];
                let better = score < best.score[lane];
                best.score[lane] = if better { score } else { best.score[lane] };
                best.label[lane] = if better {
                    label + LANE_NUMBERS[lane]
                } else {
                    best.label[lane]
                };
            }
            label += BEST_LANES_U32;
        }
    }
}

const BEST_LANES_U32: u32 = 16;
const LANE_NUMBERS: [u32; BEST_LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Centroids packed for the CPU.
pub(super) struct CpuNearest {
    kernels: &'static Kernels,
    dims: usize,
    lists: usize,
    by: NearestBy,
    panels: Panels,
    /// `[panels * tile_width]`: `|c|^2` or 0, infinite beyond the last centroid.
    bias: Vec<f32>,
    /// Some `|c|^2` is not finite: f32 scores cannot be trusted for any row.
    overflow: bool,
}

impl CpuNearest {
    /// Packs `centroids` (`[lists, dims]` row-major).
    ///
    /// # Errors
    /// `InvalidArgument` when the shape does not fit, `OutOfMemory`.
    pub(super) fn new(
        kernels: &'static Kernels,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
    ) -> Result<Self> {
        if dims == 0 || centroids.is_empty() || !centroids.len().is_multiple_of(dims) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} values do not make centroids of {dims} dimensions",
                    centroids.len()
                ),
            ));
        }
        let lists = centroids.len() / dims;
        if u32::try_from(lists).is_err() {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("{lists} centroids are too many"),
            ));
        }
        let width = kernels.tile_width;
        let padded = lists.next_multiple_of(width);
        let mut bias = zeros(Some(padded))?;
        bias[lists..].fill(f32::INFINITY);
        let mut panels = Panels::with_kernels(kernels);
        panels.pack(dims, &centroids.chunks_exact(dims).collect::<Vec<_>>())?;
        if by == NearestBy::L2 {
            for (bias, centroid) in bias.iter_mut().zip(centroids.chunks_exact(dims)) {
                *bias = norm_sq(kernels, centroid);
            }
        }
        let overflow = bias[..lists].iter().any(|norm| !norm.is_finite());
        Ok(Self {
            kernels,
            dims,
            lists,
            by,
            panels,
            bias,
            overflow,
        })
    }

    /// Labels up to `CHUNK_ROWS` rows.
    fn assign_chunk(&mut self, rows: &[f32], labels: &mut [u32], poll: &mut Poll<'_, '_>) -> Result<()> {
        let width = self.kernels.tile_width;
        let mut best = [LaneBest::NONE; CHUNK_ROWS];
        let best = &mut best[..labels.len()];
        let scale = match self.by {
            NearestBy::L2 => -2.0,
            NearestBy::Dot => -1.0,
        };
        let (kernels, bias) = (self.kernels, &self.bias);
        self.panels
            .multiply_chunk(rows, &mut |work| poll.after(work), &mut |first, dots| {
                let first_label = u32::try_from(first).expect("the number of lists was checked in new");
                kernels.fold(dots, &bias[first..first + width], scale, first_label, best);
                Ok(())
            })?;
        for ((row, best), label) in rows.chunks_exact(self.dims).zip(&*best).zip(labels) {
            let (score, winner) = best.winner();
            *label = winner;
            if self.overflow || !score.is_finite() {
                *label = self.nearest_in_f64(row);
                poll.after(self.lists * self.dims * SCALAR_COST)?;
            }
        }
        Ok(())
    }

    /// The label of a row whose f32 scores overflow; label 0 when it holds NaN.
    fn nearest_in_f64(&self, row: &[f32]) -> u32 {
        let mut best = (f64::INFINITY, 0);
        for label in 0..self.lists {
            let centroid = (0..self.dims).map(|at| self.panels.element(label, at));
            let pairs = row.iter().zip(centroid);
            let score: f64 = match self.by {
                NearestBy::L2 => pairs.map(|(x, c)| (f64::from(*x) - f64::from(c)).powi(2)).sum(),
                NearestBy::Dot => -pairs.map(|(x, c)| f64::from(*x) * f64::from(c)).sum::<f64>(),
            };
            if score < best.0 {
                best = (score, label);
            }
        }
        u32::try_from(best.1).expect("the number of lists was checked in new")
    }
}

/// Weight of a multiply-add outside the tile kernel, as the poll counts it.
const SCALAR_COST: usize = 16;

impl Nearest for CpuNearest {
    fn assign(&mut self, rows: &[f32], labels: &mut [u32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if Some(rows.len()) != labels.len().checked_mul(self.dims) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} values do not make {} rows of {} dimensions",
                    rows.len(),
                    labels.len(),
                    self.dims
                ),
            ));
        }
        let mut poll = Poll {
            work: 0,
            keep_waiting,
        };
        for (rows, labels) in rows
            .chunks(CHUNK_ROWS * self.dims)
            .zip(labels.chunks_mut(CHUNK_ROWS))
        {
            self.assign_chunk(rows, labels, &mut poll)?;
        }
        Ok(())
    }
}

/// Counts work, and asks whether to go on after every `POLL_WORK` of it.
struct Poll<'a, 'b> {
    work: usize,
    keep_waiting: &'a mut KeepWaiting<'b>,
}

impl Poll<'_, '_> {
    fn after(&mut self, work: usize) -> Result<()> {
        self.work += work;
        if self.work < POLL_WORK {
            return Ok(());
        }
        self.work = 0;
        if (self.keep_waiting)() {
            Ok(())
        } else {
            Err(super::backend::cancelled())
        }
    }
}

/// `|c|^2`, summed in f64 so that its rounding does not add to that of the products.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the precision of the scores"
)]
fn norm_sq(kernels: &Kernels, centroid: &[f32]) -> f32 {
    kernels.square(centroid) as f32
}

fn zeros(len: Option<usize>) -> Result<Vec<f32>> {
    let out_of_memory = || {
        Error::new(
            ErrorKind::OutOfMemory,
            "out of memory while preparing centroids for assignment",
        )
    };
    let len = len.ok_or_else(out_of_memory)?;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| out_of_memory())?;
    values.resize(len, 0.0);
    Ok(values)
}
