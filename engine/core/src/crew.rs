//! Work in parts that do not depend on each other, done on as many threads as the caller allows.
//!
//! Threads live no longer than the work. They run nothing but the parts, so they never touch what belongs to the calling thread.
//! Invariant: what comes out depends neither on the number of threads nor on which of them does what.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use crate::backend::KeepWaiting;
use crate::error::{Error, ErrorKind, Result};

/// Who does the parts: the calling thread, and others beside it.
#[derive(Debug, Clone, Copy)]
pub struct Crew {
    others: usize,
    guard: fn() -> Box<dyn Any>,
}

impl Crew {
    /// The calling thread alone.
    pub const ALONE: Self = Self {
        others: 0,
        guard: || Box::new(()),
    };

    /// `threads` threads with the calling one. What `guard` returns is kept while others are started: they inherit the caller's signal
    /// mask.
    pub fn new(threads: usize, guard: fn() -> Box<dyn Any>) -> Self {
        let others = threads.saturating_sub(1);
        Self { others, guard }
    }

    /// Has `fill` write `out`, `run` places or fewer at a time, and the number of the first of them; a run should take about a
    /// millisecond.
    ///
    /// # Errors
    /// As [`Self::for_each`].
    ///
    /// # Panics
    /// When `fill` does, or `run` is 0.
    pub fn fill<T: Send>(
        self,
        out: &mut [T],
        run: usize,
        keep_waiting: &mut KeepWaiting<'_>,
        fill: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        let runs = out.chunks_mut(run).enumerate();
        self.for_each(runs, keep_waiting, |(number, places)| fill(number * run, places))
    }

    /// Does `work` for each item, which should take about a millisecond; `keep_waiting` is asked before each that the calling
    /// thread takes. Where the system refuses a thread, the others do its part.
    ///
    /// # Errors
    /// `Cancelled`, or an error that `work` returned; items are left out then.
    ///
    /// # Panics
    /// When `work` does.
    pub(crate) fn for_each<T: Send>(
        self,
        items: impl ExactSizeIterator<Item = T> + Send,
        keep_waiting: &mut KeepWaiting<'_>,
        work: impl Fn(T) -> Result<()> + Sync,
    ) -> Result<()> {
        let others = self.others.min(items.len().saturating_sub(1));
        let items = Mutex::new(items.fuse());
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        let stop = || {
            let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
            items.by_ref().for_each(drop);
        };
        let take = |keep_waiting: &mut KeepWaiting<'_>| -> Result<()> {
            while let Some(item) = next() {
                let done = if keep_waiting() {
                    work(item)
                } else {
                    Err(Error::new(ErrorKind::Cancelled, "cancelled on request"))
                };
                done.inspect_err(|_| stop())?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let guard = (self.guard)();
            let start = |_| Builder::new().spawn_scoped(scope, || take(&mut || true)).ok();
            let others: Vec<_> = (0..others).map_while(start).collect();
            drop(guard);
            let own = take(keep_waiting);
            others.into_iter().fold(own, |done, other| {
                let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
                done.and(other)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_by_however_many_threads() {
        for (threads, items) in [(0, 3), (1, 0), (1, 5), (3, 0), (3, 1), (3, 100), (20, 7)] {
            let mut done = vec![0; items];
            let crew = Crew::new(threads, Crew::ALONE.guard);
            crew.for_each(done.iter_mut(), &mut || true, |item| {
                *item += 1;
                Ok(())
            })
            .expect("done");
            assert_eq!(done, vec![1; items], "{threads}");
        }
    }

    #[test]
    fn every_place_is_filled_by_its_number() {
        for (threads, run) in [(1, 7), (3, 1), (3, 40), (2, 1000)] {
            let mut out = vec![0; 100];
            let fill = |first, places: &mut [usize]| {
                (first..).zip(places).for_each(|(number, place)| *place += number);
                Ok(())
            };
            let crew = Crew::new(threads, Crew::ALONE.guard);
            crew.fill(&mut out, run, &mut || true, fill).expect("filled");
            assert!(out.into_iter().eq(0..100), "{threads} {run}");
        }
    }

    #[test]
    fn errors_and_cancelling_stop_the_work() {
        for threads in [1, 2, 4] {
            let crew = Crew::new(threads, Crew::ALONE.guard);
            let full = |_| Err(Error::new(ErrorKind::OutOfMemory, "full"));
            let failed = crew.for_each(0..50, &mut || true, full).expect_err("full");
            assert_eq!(failed.kind(), ErrorKind::OutOfMemory, "{threads}");
            // A thread of its own may have taken all items before this one is asked.
            let stopped = crew.for_each(0..1, &mut || false, |_| Ok(()));
            assert_eq!(stopped.expect_err("stopped").kind(), ErrorKind::Cancelled);
        }
    }
}
