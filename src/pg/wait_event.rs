//! What `pg_stat_activity` shows that this process waits for.

use pgrx::pg_sys;

/// A wait for the GPU begins: `wait_event_type` and `wait_event` are `Extension`, the only name that extensions can give in
/// PostgreSQL 15.
pub(crate) fn begin() {
    report(pg_sys::PG_WAIT_EXTENSION);
}

/// It has ended.
pub(crate) fn end() {
    report(0);
}

/// `pgstat_report_wait_start`, an inline function of the server.
fn report(event: u32) {
    // SAFETY: points to four bytes of this process's entry in shared memory, or of its own where it has none; others only
    // read them, and a write of four bytes never tears.
    unsafe { pg_sys::my_wait_event_info.write_volatile(event) };
}
