//! Keeps the server's signals away from threads that a GPU driver starts, or a build.
//!
//! A thread inherits its creator's signal mask. One with signals open could run PostgreSQL's handlers, which touch
//! state of the main thread, or steal the latch's SIGURG. So everything is blocked while a driver may start threads,
//! except what reports a fault in the thread itself.

use std::any::Any;
use std::mem::MaybeUninit;

const FAULTS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGABRT,
];

/// Blocks signals until the returned value is dropped.
pub(crate) fn block_signals() -> Box<dyn Any> {
    let mut blocked = MaybeUninit::uninit();
    let mut previous = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set it is given; sigdelset changes it.
    let blocked = unsafe {
        libc::sigfillset(blocked.as_mut_ptr());
        FAULTS.iter().for_each(|signal| {
            libc::sigdelset(blocked.as_mut_ptr(), *signal);
        });
        blocked.assume_init()
    };
    // SAFETY: both sets are valid; `previous` is written when the call succeeds.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const blocked, previous.as_mut_ptr()) } != 0;
    if failed {
        return Box::new(());
    }
    // SAFETY: the call succeeded, so it wrote the set.
    let previous = unsafe { previous.assume_init() };
    Box::new(Blocked { previous })
}

struct Blocked {
    previous: libc::sigset_t,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `previous` is a set that the system gave us.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.previous, std::ptr::null_mut()) };
    }
}
