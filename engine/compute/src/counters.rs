//! What the engine has done so far, as plain counts.

use std::cell::Cell;
use std::time::Duration;

/// Counts since the engine was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Kernels started.
    pub dispatches: u64,
    /// Command batches handed to the device.
    pub submissions: u64,
    /// Bytes written to the staging ring.
    pub bytes_up: u64,
    /// Bytes read back.
    pub bytes_down: u64,
    /// Waits for the device.
    pub waits: u64,
    /// Time spent in those waits.
    pub wait_time: Duration,
    /// Waits and steps that the caller stopped.
    pub cancellations: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Time spent on compiling them.
    pub compile_time: Duration,
    /// Pipelines found compiled.
    pub pipeline_hits: u64,
    /// Bytes of compiled kernels taken from the disk.
    pub pipeline_cache_bytes_read: u64,
    /// Dispatches whose bind group was found made.
    pub bind_group_hits: u64,
    /// Buffers allocated on the device.
    pub allocations: u64,
    /// Transient blocks found in the pool.
    pub pool_hits: u64,
    /// Idle buffers and segments freed.
    pub evictions: u64,
}

/// The engine's own copy; written without borrowing.
#[derive(Debug, Default)]
pub(crate) struct CounterCell(Cell<Counters>);

impl CounterCell {
    /// The counts now.
    pub(crate) fn snapshot(&self) -> Counters {
        self.0.get()
    }

    /// Changes the counts.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.0.get();
        change(&mut counters);
        self.0.set(counters);
    }
}
