//! Device memory: the budget, buffers, blocks of them, and the rings through which bytes go up and down.
//!
//! Two kinds of blocks: transient ones are whole buffers of a few size classes from a pool; resident ones are cut from
//! segments. Must not know kernels. Invariant: a byte is charged to the [`budget::Budget`] before it is allocated and stays
//! charged until the device is done with it.

pub(crate) mod block;
pub(crate) mod budget;
pub(crate) mod buffer;
pub(crate) mod params;
pub(crate) mod pool;
pub(crate) mod read_back;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod staging;
pub(crate) mod view;

/// Memory under one label.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LabelUsage {
    /// The label, `vectorgpu.NAME`.
    pub label: String,
    /// Bytes charged now.
    pub bytes: u64,
    /// Buffers and blocks charged now.
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
        let reserves = [
            pool::IDLE_LABEL,
            pool::RETIRED_LABEL,
            segment::FREE_LABEL,
            segment::RETIRED_LABEL,
            staging::LABEL,
            read_back::LABEL,
            params::LABEL,
        ];
        self.labels
            .iter()
            .filter(move |usage| usage.bytes > 0 && !reserves.contains(&usage.label.as_str()))
    }
}
