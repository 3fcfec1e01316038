//! Calls into the server's buffer manager that a scan makes hundreds of times.
//!
//! pgrx guards each call of the server by a `sigsetjmp`, which costs as much as pinning or unlocking a page. Two calls
//! share a guard here, and one that cannot raise has none.

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use super::version::FileNode;

/// The same functions as in `pg_sys`, without its guards.
mod unguarded {
    use pgrx::pg_sys::{BlockNumber, Buffer, ForkNumber};

    use super::FileNode;

    unsafe extern "C-unwind" {
        pub(super) fn ReadRecentBuffer(
            node: FileNode,
            fork: ForkNumber::Type,
            block: BlockNumber,
            recent: Buffer,
        ) -> bool;
        pub(super) fn LockBuffer(buffer: Buffer, mode: i32);
        pub(super) fn UnlockReleaseBuffer(buffer: Buffer);
    }
}

/// Pins and locks `buffer` if it still holds `block` of the main fork of `node`; tells whether it does.
///
/// # Safety
/// `buffer` is one of the server's, and this backend has not locked it; `mode` is one of `LockBuffer`'s.
pub(super) unsafe fn lock_recent(node: FileNode, block: u32, buffer: pg_sys::Buffer, mode: u32) -> bool {
    let main = pg_sys::ForkNumber::MAIN_FORKNUM;
    let both = || {
        // SAFETY: the caller's; an error is caught by the guard, and no value here needs to be dropped.
        let pinned = unsafe { unguarded::ReadRecentBuffer(node, main, block, buffer) };
        if pinned {
            // SAFETY: pinned just now.
            unsafe { unguarded::LockBuffer(buffer, mode.cast_signed()) };
        }
        pinned
    };
    // SAFETY: the closure owns nothing and does not panic; scans run on the main thread.
    unsafe { pg_guard_ffi_boundary(both) }
}

/// Unlocks and unpins `buffer`.
///
/// # Safety
/// This backend has pinned and locked it.
pub(super) unsafe fn unlock(buffer: pg_sys::Buffer) {
    // SAFETY: the caller's; the server raises here only for a buffer that is not locked or not pinned.
    unsafe { unguarded::UnlockReleaseBuffer(buffer) }
}
