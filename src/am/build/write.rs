//! Writes sorted rows into the new index: a range of lists, by one participant.

use std::ops::Range;

use vectorgpu_core::Result;
use vectorgpu_core::ivf::build::{EncodedRow, Placement};
use vectorgpu_core::ivf::layout::Tid;

use super::phase::Tally;
use crate::error::OrRaise;
use crate::pg::bulk::BulkFork;
use crate::pg::sort::RowSort;

/// Rows between two progress reports.
const REPORT_ROWS: u64 = 1024;

/// Writes the groups of `lists` to `fork`, whose next block is their first, from a sort of just their rows; ends both.
///
/// # Errors
/// `Internal` when the sort's rows are not those announced.
pub(super) fn write_lists(
    fork: BulkFork,
    placement: &Placement,
    lists: Range<u32>,
    mut sort: RowSort,
    tally: Tally<'_>,
) -> Result<()> {
    let shape = placement.shape();
    let runs = shape.factors.count();
    let mut writer = placement.write_lists(fork, lists);
    let (mut done, mut factors) = (0, vec![0.0f32; runs]);
    sort.drain(&mut |list, tid, payload| {
        let (factor_bytes, codes) = payload.split_at(runs * size_of::<f32>());
        let (filter, code) = codes.split_at(shape.filter_bytes);
        bytemuck::cast_slice_mut(&mut factors).copy_from_slice(factor_bytes);
        let row = EncodedRow {
            tid: Tid(tid),
            factors: &factors,
            filter,
            code,
        };
        writer.push(list, row).or_raise();
        done += 1;
        if done == REPORT_ROWS {
            tally.add(done);
            done = 0;
        }
    });
    sort.end();
    writer.finish()?.finish();
    tally.add(done);
    Ok(())
}
