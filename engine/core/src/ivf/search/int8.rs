//! Scores the int8 rows of a group where they lie, and puts those that may be near into the window.

use std::ops::Range;

use crate::error::Result;
use crate::quantize::int8_query::{Int8Factors, Int8Query, Int8Runs};

use super::super::layout::{self, Shape};
use super::super::store::PageStore;
use super::super::window::{Entry, Source};
use super::collect::{Codes, Pass, bad_factors, read_codes};
use super::coming::Coming;

/// Scratch memory.
#[derive(Debug, Default)]
pub(super) struct Int8Rows {
    products: Vec<i32>,
    kept: Vec<usize>,
    runs: [Vec<f32>; 3],
}

impl Int8Rows {
    /// Reads one group.
    pub(super) fn group<S: PageStore>(
        &mut self,
        pass: &mut Pass<'_, '_, S>,
        query: &Int8Query,
        group: Codes<'_>,
        straddling: &mut Vec<u8>,
        coming: &mut Coming,
    ) -> Result<()> {
        let (shape, Codes { page, block, rows }) = (pass.shape, group);
        let [scale, residual, norm_sq] = &mut self.runs;
        let places = run_places(shape);
        let runs = Int8Runs {
            scale: layout::factor_run_or_copy(page, shape, places.scale, rows, scale),
            residual: layout::factor_run_or_copy(page, shape, places.residual, rows, residual),
            norm_sq: layout::factor_run_or_copy(page, shape, places.norm_sq, rows, norm_sq),
        };
        // A negative or missing bound would let a row pass for nearer than it is; NaN fails the comparison, too.
        let factors = runs.residual.iter().chain(runs.norm_sq).chain(runs.scale);
        if !factors.fold(true, |good, factor| good & (*factor >= 0.0)) {
            return Err(bad_factors(block));
        }
        let (products, kept, window) = (&mut self.products, &mut self.kept, &mut *pass.window);
        let mut first = 0;
        read_codes(pass.store, shape, group, straddling, coming, &mut |codes| {
            let rows = codes.len() / shape.code_bytes;
            products.resize(rows, 0);
            query.coarse_products(codes, products);
            kept.clear();
            query.candidates(window.cut(), products, part(runs, first..first + rows), kept);
            for &row in &*kept {
                let (slot, code) = (first + row, &codes[row * shape.code_bytes..][..shape.code_bytes]);
                let tid = layout::tid(page, slot);
                if tid.is_tombstone() {
                    continue;
                }
                let factors = Int8Factors {
                    scale: runs.scale[slot],
                    residual: runs.residual[slot],
                    norm_sq: runs.norm_sq[slot],
                };
                let key = query.lower_bound([products[row], query.fine_product(code)], factors);
                window.push(Entry::new(key, tid.0, Source::Settled));
            }
            first += rows;
            Ok(())
        })
    }
}

/// The factors of some of the rows.
fn part(runs: Int8Runs<'_>, rows: Range<usize>) -> Int8Runs<'_> {
    Int8Runs {
        scale: &runs.scale[rows.clone()],
        residual: &runs.residual[rows.clone()],
        norm_sq: &runs.norm_sq[rows],
    }
}

/// Which run holds what.
struct RunPlaces {
    residual: usize,
    scale: usize,
    norm_sq: usize,
}

/// The runs of an int8 row: its own norm first, or last that of its code.
fn run_places(shape: &Shape) -> RunPlaces {
    let first = usize::from(shape.factors.norm_sq);
    RunPlaces {
        residual: first,
        scale: first + 1,
        norm_sq: if shape.factors.norm_sq { 0 } else { 2 },
    }
}
