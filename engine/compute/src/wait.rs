//! Waiting for the device, with a deadline and a way to stop.
//!
//! A wait spins for about 400 us, which covers a search on a fast GPU (waking up would take another 50 us or more), then blocks in slices of 1 to 10 ms and
//! asks the caller between slices. It ends at a deadline: a device that does not answer counts as lost. The same waits
//! exist as futures: those need no thread and no runtime, because they wake their task at once and look again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::submit::Submission;

const SPIN: Duration = Duration::from_micros(400);
const FIRST_SLICE: Duration = Duration::from_millis(1);
const LONGEST_SLICE: Duration = Duration::from_millis(10);

/// What the host wants to be told of waits: it shows its users that the process waits for the GPU.
///
/// Futures are not reported: they wait in the host's own executor.
#[derive(Debug, Clone, Copy)]
pub struct WaitHook {
    /// A wait begins.
    pub begin: fn(),
    /// It has ended, however it did.
    pub end: fn(),
}

/// A wait that the host was told of.
struct Reported(Option<WaitHook>);

impl Reported {
    fn begin(hook: Option<WaitHook>) -> Self {
        if let Some(hook) = hook {
            (hook.begin)();
        }
        Self(hook)
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        if let Some(hook) = self.0 {
            (hook.end)();
        }
    }
}

/// A wait as a future.
pub(crate) struct Settled<'a, D> {
    runtime: &'a Runtime,
    done: D,
    started: Option<Instant>,
}

impl Runtime {
    /// Waits until `submission` has finished.
    ///
    /// # Errors
    /// `Cancelled` when `keep_waiting` says so (the work runs on, and its buffers are kept until it ends),
    /// `DeviceLost` when it fails or passes the deadline.
    pub(crate) fn wait(&self, submission: &Submission, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.wait_until(&|| self.is_done(submission), Some(submission), keep_waiting)
    }

    /// Whether a poll has seen `submission` finished.
    pub(crate) fn is_done(&self, submission: &Submission) -> bool {
        self.context.completed() >= submission.number
    }

    /// Waits until the device has nothing left to do.
    ///
    /// # Errors
    /// As [`Runtime::wait`].
    pub(crate) fn wait_idle(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if self.context.is_busy() {
            // An empty submission comes after all others, and its index lets the driver block instead of sleeping.
            let last = self.submit(Recording::default(), keep_waiting)?;
            self.wait(&last, keep_waiting)?;
        }
        Ok(())
    }

    /// As [`Runtime::wait_idle`], from within a submission.
    ///
    /// # Errors
    /// As [`Runtime::wait`].
    pub(crate) fn wait_idle_without_submitting(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.wait_until(
            &|| self.context.completed() == self.context.submitted(),
            None,
            keep_waiting,
        )
    }

    /// Polls until `done`, which only reads atomics.
    ///
    /// # Errors
    /// As [`Runtime::wait`].
    pub(crate) fn wait_until(
        &self,
        done: &dyn Fn() -> bool,
        submission: Option<&Submission>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if done() {
            return Ok(());
        }
        let started = Instant::now();
        let _reported = Reported::begin(self.wait_hook);
        let outcome = self.poll_until(done, submission, started, keep_waiting);
        self.context.counters.update(|counters| {
            counters.waits += 1;
            counters.wait_time += started.elapsed();
        });
        outcome
    }

    /// As [`Runtime::wait_until`], as a future. Dropping it stops waiting; the work runs on.
    pub(crate) fn settled<D: Fn() -> bool + Unpin>(&self, done: D) -> Settled<'_, D> {
        Settled {
            runtime: self,
            done,
            started: None,
        }
    }

    /// Whether to begin or go on with a step.
    ///
    /// # Errors
    /// `Cancelled` when the caller says stop.
    pub(crate) fn proceed(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if keep_waiting() {
            return Ok(());
        }
        self.context
            .counters
            .update(|counters| counters.cancellations += 1);
        Err(Error::new(ErrorKind::Cancelled, "work on the GPU was cancelled"))
    }

    fn poll_until(
        &self,
        done: &dyn Fn() -> bool,
        submission: Option<&Submission>,
        started: Instant,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let watch = self.context.watch()?;
        loop {
            watch.poll(None)?;
            if done() {
                return Ok(());
            }
            if started.elapsed() >= SPIN {
                break;
            }
            std::hint::spin_loop();
        }
        let mut slice = FIRST_SLICE;
        loop {
            self.proceed(keep_waiting)?;
            self.check_deadline(started)?;
            match submission {
                Some(submission) => self.context.poll(Some((&submission.index, slice)))?,
                None => {
                    std::thread::sleep(FIRST_SLICE);
                    self.context.poll(None)?;
                }
            }
            if done() {
                return Ok(());
            }
            slice = (slice * 2).min(LONGEST_SLICE);
        }
    }

    fn check_deadline(&self, started: Instant) -> Result<()> {
        if started.elapsed() < self.wait_deadline {
            return Ok(());
        }
        Err(self
            .context
            .mark_lost(format!("no answer within {:?}", self.wait_deadline)))
    }
}

impl<D> Settled<'_, D> {
    /// Goes on with a wait that began at `started`.
    pub(crate) fn resume(&mut self, started: Option<Instant>) {
        self.started = started;
    }

    /// When the wait began.
    pub(crate) fn started(&self) -> Option<Instant> {
        self.started
    }
}

impl<D: Fn() -> bool + Unpin> Future for Settled<'_, D> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        if (self.done)() {
            return Poll::Ready(Ok(()));
        }
        let started = *self.started.get_or_insert_with(Instant::now);
        let looked = self
            .runtime
            .context
            .poll(None)
            .and_then(|()| self.runtime.check_deadline(started));
        match looked {
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) if (self.done)() => Poll::Ready(Ok(())),
            Ok(()) => {
                task.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
