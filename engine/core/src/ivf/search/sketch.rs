//! Bounds the rows of a group by their sketches.

use crate::error::Result;
use crate::quantize::sketch::query::SketchQuery;
use crate::quantize::sketch::{SKETCH_BYTES, SketchFactors};

use super::super::layout;
use super::super::store::PageStore;
use super::super::window::{Entry, Source};
use super::collect::{Codes, Pass, bad_factors, read_codes};
use super::coming::Coming;

/// Scratch memory.
#[derive(Debug, Default)]
pub(super) struct SketchRows {
    runs: [Vec<f32>; SketchFactors::RUNS],
}

impl SketchRows {
    /// Reads one group.
    pub(super) fn group<S: PageStore>(
        &mut self,
        pass: &mut Pass<'_, '_, S>,
        query: &SketchQuery,
        group: Codes<'_>,
        straddling: &mut Vec<u8>,
        coming: &mut Coming,
    ) -> Result<()> {
        let (shape, Codes { page, block, rows }) = (pass.shape, group);
        let mut run = 0;
        let runs = self.runs.each_mut().map(|copy| {
            run += 1;
            layout::factor_run_or_copy(page, shape, run - 1, rows, copy)
        });
        // NaN fails the comparison, too.
        if !runs
            .iter()
            .copied()
            .flatten()
            .fold(true, |good, factor| good & (*factor >= 0.0))
        {
            return Err(bad_factors(block));
        }
        let window = &mut *pass.window;
        let mut slot = 0;
        read_codes(pass.store, shape, group, straddling, coming, &mut |codes| {
            for sketch in codes.as_chunks::<SKETCH_BYTES>().0 {
                let tid = layout::tid(page, slot);
                let factors = SketchFactors::from_runs(runs.map(|run| run[slot]));
                slot += 1;
                if tid.is_tombstone() {
                    continue;
                }
                let bound = query.lower_bound(sketch, factors);
                window.push(Entry::new(bound, tid.0, Source::Settled));
            }
            Ok(())
        })
    }
}
