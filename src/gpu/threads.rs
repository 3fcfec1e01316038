//! Threads beside the one that PostgreSQL knows: the server's signals are kept away from those that a GPU driver starts, a build,
//! or a search.
//!
//! A thread inherits its creator's signal mask. One with signals open could run PostgreSQL's handlers, which touch
//! state of the main thread, or steal the latch's SIGURG. So everything is blocked while a driver may start threads,
//! except what reports a fault in the thread itself.

use std::any::Any;
use std::mem::MaybeUninit;

use pgrx::pg_sys;
use vectorgpu_core::crew::Crew;

const FAULTS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGABRT,
];

/// Who searches for many queries: this thread and as many others as a Gather node may have workers.
pub(crate) fn search_crew() -> Crew {
    // SAFETY: a setting of this process.
    crew_of(unsafe { pg_sys::max_parallel_workers_per_gather })
}

/// This thread and as many others as there may be `workers`, at most one for each core. Asks the system: not for every query.
pub(crate) fn crew_of(workers: i32) -> Crew {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = usize::try_from(workers).unwrap_or(0).saturating_add(1).min(cores);
    Crew::new(threads, block_signals)
}

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
