//! What this session's work was estimated to take on each device, and what it took.
//!
//! Estimates are corrected by what was measured: a device that turns out slower than the other one is not chosen again.

use std::cell::RefCell;
use std::time::Duration;

use vectorgpu_core::estimate::Estimate;

/// Kinds of work that may run on either device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// k-means and assignment of an index build.
    Build,
    /// `vectorgpu.kmeans`.
    Kmeans,
    /// One index scan.
    Scan,
    /// Many searches at once.
    Searches,
    /// `vectorgpu.exact_search`.
    ExactSearch,
}

/// Where it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// One core.
    Cpu,
    /// The session's GPU.
    Gpu,
}

/// All of one kind that ran on one device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) runs: i64,
    /// Sums.
    pub(crate) estimate: Estimate,
    pub(crate) actual_s: f64,
    /// How many times the estimate it took of late, as a logarithm, so that one run that met a cold cache hardly shows.
    log_factor: f64,
}

/// Weight of the newest run.
const WEIGHT: f64 = 0.125;

impl Job {
    /// Every kind.
    pub(crate) const ALL: [Self; 5] = [
        Self::Build,
        Self::Kmeans,
        Self::Scan,
        Self::Searches,
        Self::ExactSearch,
    ];

    /// The name in SQL.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Kmeans => "kmeans",
            Self::Scan => "scan",
            Self::Searches => "search",
            Self::ExactSearch => "exact_search",
        }
    }
}

impl Device {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Cpu, Self::Gpu];

    /// The name in SQL.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

type Ledger = [[Entry; Device::ALL.len()]; Job::ALL.len()];

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

/// `estimate` by what such work took so far.
pub(crate) fn corrected(job: Job, estimate: Estimate) -> Estimate {
    LEDGER.with_borrow(|ledger| {
        let factor = |device: Device| ledger[job as usize][device as usize].log_factor.exp();
        Estimate {
            cpu_s: estimate.cpu_s * factor(Device::Cpu),
            gpu_s: estimate.gpu_s * factor(Device::Gpu),
        }
    })
}

/// Notes that work with this estimate, not yet corrected, took `actual`. `is_typical` is false where that included what is
/// done once, and so tells nothing of the next time.
pub(crate) fn record(job: Job, device: Device, estimate: Estimate, actual: Duration, is_typical: bool) {
    LEDGER.with_borrow_mut(|ledger| {
        let entry = &mut ledger[job as usize][device as usize];
        let actual_s = actual.as_secs_f64();
        entry.runs += 1;
        entry.estimate.cpu_s += estimate.cpu_s;
        entry.estimate.gpu_s += estimate.gpu_s;
        entry.actual_s += actual_s;
        let estimated_s = match device {
            Device::Cpu => estimate.cpu_s,
            Device::Gpu => estimate.gpu_s,
        };
        let ratio = actual_s / estimated_s;
        if is_typical && ratio.is_finite() && ratio > 0.0 {
            entry.log_factor += (ratio.ln() - entry.log_factor) * WEIGHT;
        }
    });
}

/// What was noted so far, by kind and device.
pub(crate) fn entries() -> Vec<(Job, Device, Entry)> {
    LEDGER.with_borrow(|ledger| {
        let pairs = Job::ALL
            .into_iter()
            .flat_map(|job| Device::ALL.map(|device| (job, device)));
        pairs
            .map(|(job, device)| (job, device, ledger[job as usize][device as usize]))
            .filter(|(_, _, entry)| entry.runs > 0)
            .collect()
    })
}
