//! Writes the sorted rows into the new index.

use pgrx::pg_sys;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::build::{Builder, EncodedRow};
use vectorgpu_core::ivf::layout::{Meta, Tid};

use super::parallel::Assigned;
use super::phase::Phase;
use crate::error::OrRaise;
use crate::pg::bulk::BulkFork;
use crate::pg::progress;

/// Rows between two progress reports.
const REPORT_ROWS: u64 = 1024;

/// Writes the whole index and ends the sort.
///
/// # Safety
/// `index` is open and its main fork is empty.
pub(super) unsafe fn write(
    index: pg_sys::Relation,
    meta: Meta,
    centroids: &[f32],
    assigned: Assigned,
) -> Result<()> {
    Phase::Writing.report(0.0);
    let rows = assigned.rows();
    progress::tuples_total(rows);
    let shape = meta.shape();
    let runs = shape.factors.count();
    // SAFETY: as the caller's.
    let sink = unsafe { BulkFork::new(index, pg_sys::ForkNumber::MAIN_FORKNUM) };
    let mut builder = Builder::new(sink, meta, centroids, assigned.list_rows().to_vec())?;
    let (mut done, mut factors) = (0, vec![0.0f32; runs]);
    assigned.drain(&mut |list, tid, payload| {
        let (factor_bytes, codes) = payload.split_at(runs * size_of::<f32>());
        let (filter, code) = codes.split_at(shape.filter_bytes);
        bytemuck::cast_slice_mut(&mut factors).copy_from_slice(factor_bytes);
        builder
            .push(
                list,
                EncodedRow {
                    tid: Tid(tid),
                    factors: &factors,
                    filter,
                    code,
                },
            )
            .or_raise();
        done += 1;
        if done % REPORT_ROWS == 0 {
            progress::tuples_done(done);
            Phase::Writing.report(done as f64 / rows.max(1) as f64);
        }
    });
    builder.finish()?.finish();
    progress::tuples_done(done);
    Phase::Writing.report(1.0);
    Ok(())
}
