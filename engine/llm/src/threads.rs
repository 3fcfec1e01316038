//! Threads that compute, and do nothing else.
//!
//! They stay from one step to the next, because a step has some hundred parts of some ten microseconds. They never call what belongs to the
//! thread that asks for the work, and never outlive their owner.

use std::any::Any;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

/// Threads of one owner.
#[derive(Debug)]
pub struct Threads {
    /// `None` where the calling thread does everything.
    pool: Option<ThreadPool>,
}

impl Threads {
    /// `count` threads. What `guard` returns is kept while they start: they inherit the caller's signal mask.
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses them.
    pub fn new(count: usize, guard: impl FnOnce() -> Box<dyn Any>) -> Result<Self> {
        if count <= 1 {
            return Ok(Self { pool: None });
        }
        let guard = guard();
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|number| format!("vectorgpu llm {number}"))
            .build();
        drop(guard);
        let pool = pool.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, format!("cannot start {count} threads")).with_detail(error.to_string())
        })?;
        Ok(Self { pool: Some(pool) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Has `fill` write `out`, `run` places or fewer at a time, and the number of the first of them. What is written does not depend on
    /// the number of threads.
    ///
    /// # Errors
    /// `Cancelled`, asked once before; what `fill` reports.
    ///
    /// # Panics
    /// When `run` is 0.
    pub fn fill<T: Send>(
        &self,
        out: &mut [T],
        run: usize,
        keep_waiting: &mut KeepWaiting<'_>,
        fill: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        if !keep_waiting() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled on request"));
        }
        match &self.pool {
            Some(pool) if out.len() > run => pool.install(|| {
                out.par_chunks_mut(run)
                    .enumerate()
                    .try_for_each(|(number, places)| fill(number * run, places))
            }),
            _ => out
                .chunks_mut(run)
                .enumerate()
                .try_for_each(|(number, places)| fill(number * run, places)),
        }
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
            threads.fill(&mut out, 7, &mut || true, fill).expect("written");
            assert!(out.iter().copied().eq(0..100));
            let stopped = threads.fill(&mut out, 7, &mut || false, fill).expect_err("stopped");
            assert_eq!(stopped.kind(), ErrorKind::Cancelled);
        }
    }
}
