//! Threads that compute, and do nothing else.
//!
//! They stay from one step to the next, because a step has some hundred parts of some ten microseconds. Whoever asks for a step waits
//! and looks whether it is to stop; that is all the calling thread does, so what belongs to it is touched by no other one.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

/// How often the caller looks whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Threads of one owner.
#[derive(Debug)]
pub struct Threads {
    pool: ThreadPool,
}

/// The threads at work on a step.
#[derive(Debug, Clone, Copy)]
pub struct Team<'a> {
    stop: &'a AtomicBool,
}

impl Threads {
    /// `count` threads. What `guard` returns is kept while they start: they inherit the caller's signal mask.
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses them.
    pub fn new(count: usize, guard: impl FnOnce() -> Box<dyn Any>) -> Result<Self> {
        let guard = guard();
        let pool = ThreadPoolBuilder::new()
            .num_threads(count.max(1))
            .thread_name(|number| format!("vectorgpu llm {number}"))
            .build();
        drop(guard);
        let pool = pool.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, format!("cannot start {count} threads"))
                .with_detail(error.to_string())
        })?;
        Ok(Self { pool })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Does `work` on the threads, and asks `keep_waiting` meanwhile.
    ///
    /// # Errors
    /// `Cancelled`; what `work` reports.
    pub fn run<T: Send>(
        &self,
        keep_waiting: &mut KeepWaiting<'_>,
        work: impl FnOnce(Team<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let stop = AtomicBool::new(false);
        let (give, take) = sync_channel(1);
        self.pool.in_place_scope(|scope| {
            let team = Team { stop: &stop };
            scope.spawn(move |_| {
                // Nobody takes it only if the caller has unwound.
                let _nobody = give.send(work(team));
            });
            loop {
                match take.recv_timeout(LOOK_EVERY) {
                    Ok(done) => return done,
                    Err(RecvTimeoutError::Timeout) if keep_waiting() => {}
                    Err(RecvTimeoutError::Timeout) => stop.store(true, Ordering::Relaxed),
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(Error::new(
                            ErrorKind::Internal,
                            "a thread ended without an answer",
                        ));
                    }
                }
            }
        })
    }
}

impl Team<'_> {
    /// How many threads there are.
    pub fn threads(self) -> usize {
        rayon::current_num_threads()
    }

    /// Has `fill` write `out`, `run` places or fewer at a time, and the number of the first of them. What is written does not depend on
    /// the number of threads.
    ///
    /// # Errors
    /// `Cancelled` where the caller has said so; what `fill` reports.
    ///
    /// # Panics
    /// When `run` is 0.
    pub fn fill<T: Send>(
        self,
        out: &mut [T],
        run: usize,
        fill: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled on request"));
        }
        let runs = out.par_chunks_mut(run).enumerate();
        runs.try_for_each(|(number, places)| fill(number * run, places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_written_by_its_number() {
        for count in [1, 2, 3] {
            let threads = Threads::new(count, || Box::new(())).expect("threads");
            assert_eq!(threads.count(), count);
            let mut out = vec![0usize; 100];
            let fill = |first: usize, places: &mut [usize]| {
                (first..).zip(places).for_each(|(number, place)| *place = number);
                Ok(())
            };
            let done = threads.run(&mut || true, |team| team.fill(&mut out, 7, fill));
            assert_eq!(done, Ok(()));
            assert!(out.iter().copied().eq(0..100));
        }
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let threads = Threads::new(2, || Box::new(())).expect("threads");
        let mut asked = 0;
        let forever = |team: Team<'_>| -> Result<()> {
            loop {
                team.fill(&mut [0u8; 4], 1, |_, _| {
                    std::thread::sleep(Duration::from_millis(1));
                    Ok(())
                })?;
            }
        };
        let mut keep_waiting = || {
            asked += 1;
            asked < 3
        };
        let stopped = threads.run(&mut keep_waiting, forever).expect_err("stopped");
        assert_eq!(stopped.kind(), ErrorKind::Cancelled);
        assert!(asked >= 3);
    }
}
