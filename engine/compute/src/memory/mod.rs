//! Device memory: the budget, buffers, the pool of transient buffers and the staging ring.
//!
//! Must not know kernels. Invariant: a byte is charged to the [`budget::Budget`] before it is allocated and stays
//! charged until the device is done with it.

pub(crate) mod budget;
pub(crate) mod buffer;
pub(crate) mod pool;
pub(crate) mod staging;

/// Memory under one label.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LabelUsage {
    /// The buffers' label, `vectorgpu.NAME`.
    pub label: &'static str,
    /// Bytes charged now.
    pub bytes: u64,
    /// Buffers charged now.
    pub buffers: u64,
    /// Most bytes charged at any one time.
    pub peak_bytes: u64,
}

/// The budget and who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryReport {
    /// The hard limit in bytes.
    pub limit_bytes: u64,
    /// Bytes charged now, idle buffers and staging included.
    pub used_bytes: u64,
    /// Most bytes charged at any one time.
    pub peak_bytes: u64,
    /// By label, in the labels' order; a label stays listed when nothing is charged to it any more.
    pub labels: Vec<LabelUsage>,
}

impl MemoryReport {
    /// Labels that hold memory beyond the engine's own reserves: after all work is dropped, the leaks.
    pub fn in_use(&self) -> impl Iterator<Item = &LabelUsage> {
        let reserves = [pool::IDLE_LABEL, pool::RETIRED_LABEL, staging::LABEL];
        self.labels
            .iter()
            .filter(move |usage| usage.bytes > 0 && !reserves.contains(&usage.label))
    }
}
