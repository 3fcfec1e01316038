//! Interrupts: peeked at while engine state is borrowed, processed only with nothing borrowed.
//!
//! A FATAL interrupt runs the exit callbacks inside `ProcessInterrupts` without unwinding, under whatever is borrowed
//! at that moment; so long waits only ask [`keep_waiting`], unwind to the extension's boundary and process there.

use std::ptr::addr_of;

use pgrx::pg_sys;

/// Whether a wait may go on: no cancel and no terminate is pending.
pub(crate) fn keep_waiting() -> bool {
    // SAFETY: signal handlers write these flags of this process; a volatile read of an int never tears.
    let pending = unsafe { addr_of!(pg_sys::InterruptPending).read_volatile() };
    if pending == 0 {
        return true;
    }
    // SAFETY: as above.
    let cancel = unsafe { addr_of!(pg_sys::QueryCancelPending).read_volatile() };
    // SAFETY: as above.
    let die = unsafe { addr_of!(pg_sys::ProcDiePending).read_volatile() };
    cancel == 0 && die == 0
}

/// Processes pending interrupts. Nothing of the engine may be borrowed here.
pub(crate) fn check() {
    pgrx::check_for_interrupts!();
}

/// Whether this process is an ordinary backend, not a parallel worker, autovacuum or another background process.
///
/// Only such a process may hold GPU objects.
pub(crate) fn is_client_backend() -> bool {
    // SAFETY: set once when the process starts.
    let worker = unsafe { addr_of!(pg_sys::ParallelWorkerNumber).read() };
    // SAFETY: set once when the process starts.
    let kind = unsafe { addr_of!(pg_sys::MyBackendType).read() };
    worker < 0 && kind == pg_sys::BackendType::B_BACKEND
}
