//! Scores the bit strings of a group where they lie.

use crate::error::Result;
use crate::quantize::bit_query::BitQuery;

use super::super::layout;
use super::super::store::PageStore;
use super::super::window::{Entry, Source};
use super::collect::{Codes, Pass, bad_factors, read_codes};
use super::coming::Coming;

/// Scratch memory.
#[derive(Debug, Default)]
pub(super) struct BitRows {
    counts: Vec<i32>,
    set: Vec<f32>,
}

impl BitRows {
    /// Reads one group.
    pub(super) fn group<S: PageStore>(
        &mut self,
        pass: &mut Pass<'_, '_, S>,
        query: &BitQuery,
        group: Codes<'_>,
        straddling: &mut Vec<u8>,
        coming: &mut Coming,
    ) -> Result<()> {
        let (shape, Codes { page, block, rows }) = (pass.shape, group);
        // Of how many ones each row has, where the metric asks.
        let set = if shape.factors.norm_sq {
            layout::factor_run_or_copy(page, shape, 0, rows, &mut self.set)
        } else {
            &[]
        };
        // NaN fails the comparison, too.
        if !set.iter().fold(true, |good, set| good & (*set >= 0.0)) {
            return Err(bad_factors(block));
        }
        let (counts, window) = (&mut self.counts, &mut *pass.window);
        let mut first = 0;
        read_codes(pass.store, shape, group, straddling, coming, &mut |codes| {
            let rows = codes.len() / shape.code_bytes;
            counts.resize(rows, 0);
            query.counts(codes, counts);
            for (slot, &count) in (first..).zip(&*counts) {
                let tid = layout::tid(page, slot);
                if tid.is_tombstone() {
                    continue;
                }
                let distance = query.distance(count, set.get(slot).copied().unwrap_or(0.0));
                window.push(Entry::new(distance, tid.0, Source::Settled));
            }
            first += rows;
            Ok(())
        })
    }
}
