//! `pg_stat_progress_create_index`.

use pgrx::pg_sys;

/// Sets the sub-phase, a number that `ambuildphasename` turns into text.
pub(crate) fn subphase(phase: i64) {
    set(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, phase);
}

/// Sets the number of rows to process in this phase.
pub(crate) fn tuples_total(tuples: u64) {
    set(
        pg_sys::PROGRESS_CREATEIDX_TUPLES_TOTAL,
        i64::try_from(tuples).unwrap_or(i64::MAX),
    );
}

/// Sets the number of rows processed in this phase.
pub(crate) fn tuples_done(tuples: u64) {
    set(
        pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE,
        i64::try_from(tuples).unwrap_or(i64::MAX),
    );
}

fn set(parameter: u32, value: i64) {
    let parameter = i32::try_from(parameter).expect("progress parameters are small numbers");
    // SAFETY: writes this backend's own status entry; does nothing when no command is being reported.
    unsafe { pg_sys::pgstat_progress_update_param(parameter, value) }
}
