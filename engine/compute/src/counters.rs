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

impl std::ops::Add for Counters {
    type Output = Self;

    /// The counts of two engines, or of two times, together.
    fn add(self, other: Self) -> Self {
        Self {
            dispatches: self.dispatches + other.dispatches,
            submissions: self.submissions + other.submissions,
            bytes_up: self.bytes_up + other.bytes_up,
            bytes_down: self.bytes_down + other.bytes_down,
            waits: self.waits + other.waits,
            wait_time: self.wait_time + other.wait_time,
            cancellations: self.cancellations + other.cancellations,
            pipelines: self.pipelines + other.pipelines,
            compile_time: self.compile_time + other.compile_time,
            pipeline_hits: self.pipeline_hits + other.pipeline_hits,
            pipeline_cache_bytes_read: self.pipeline_cache_bytes_read + other.pipeline_cache_bytes_read,
            bind_group_hits: self.bind_group_hits + other.bind_group_hits,
            allocations: self.allocations + other.allocations,
            pool_hits: self.pool_hits + other.pool_hits,
            evictions: self.evictions + other.evictions,
        }
    }
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
