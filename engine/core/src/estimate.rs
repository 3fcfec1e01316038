//! What a piece of work takes on the CPU and on a GPU, from rates that were measured on the machine.
//!
//! Pure arithmetic: must not know who measures, nor who decides. Estimates need not be close, only good enough to tell which
//! of two ways is the faster one where that matters; what a session then measures corrects them (the host keeps the books).

use crate::ivf::cost::{self, Scan};

pub mod savings;

pub use savings::{Choice, Savings};

/// Multiply-adds a second of the core on which the constants of [`cost`] were measured.
const REFERENCE_MULTIPLY_ADDS: f64 = 40e9;
/// Bytes that a search on a device reads of a row, besides two for each dimension: its record, and its key once more.
const ROW_BYTES: f64 = 24.0;
/// What the host takes to plan one list of one of many queries. This and what follows are rough; what a session measures
/// corrects them.
const PLAN_S: f64 = 150e-9;
/// A row and a query that are compared on the CPU with many others: the score's share of the rate of assignment, whose
/// kernel re-uses more, and what the rest takes.
const PAIRS_SHARE: f64 = 0.3;
const PAIR_S: f64 = 10e-9;
/// Reading the rows of lists for that.
const READ_BYTES_PER_S: f64 = 4e9;
/// Looking at a list's head page.
const LIST_S: f64 = 1e-6;

/// The same where all rows are compared with all queries: nearly all pairs end with their product. Measured on a core with AVX-512,
/// 20,000 rows of 32, 128 and 768 dimensions, 1,000 queries: 2.1, 3.4 and 15 ns a pair.
const ALL_PAIRS_SHARE: f64 = 0.9;
const ALL_PAIRS_S: f64 = 1.5e-9;
/// A key, and about how many bytes of vectors and of keys a search without an index has on a device at a time.
const KEY_BYTES: f64 = 4.0;
const BLOCK_BYTES: f64 = 64e6;
const KEYS_BYTES: f64 = 128e6;

/// What one core of the CPU does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuRates {
    /// Multiply-adds a second of assigning rows to centroids.
    pub multiply_adds_per_s: f64,
}

/// What a GPU does, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuRates {
    /// Seconds until it is open.
    pub start_s: f64,
    /// Seconds of a search of few rows, from the host's first call to its last.
    pub search_s: f64,
    /// Bytes of copied lists that a search goes through in a second.
    pub scan_bytes_per_s: f64,
    /// Bytes of f32 vectors of which copies are made in a second, the host's work included.
    pub copy_bytes_per_s: f64,
    /// Bytes a second to the device.
    pub upload_bytes_per_s: f64,
    /// Multiply-adds a second of assigning rows to centroids.
    pub multiply_adds_per_s: f64,
}

/// A machine: one core, and the GPU that would be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The core.
    pub cpu: CpuRates,
    /// The GPU.
    pub gpu: GpuRates,
}

/// Seconds that the same work takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// On one core.
    pub cpu_s: f64,
    /// On the GPU, open and with everything in its memory that stays there.
    pub gpu_s: f64,
}

/// Rows that are to find their nearest centroid.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AssignmentWork {
    /// Rows, times centroids, times dimensions.
    pub multiply_adds: f64,
    /// Bytes of the rows.
    pub bytes: f64,
}

/// Rows that are all compared with all queries, without an index.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ExactWork {
    /// The rows.
    pub rows: f64,
    /// Their dimensions.
    pub dims: usize,
    /// The queries.
    pub queries: f64,
}

impl CpuRates {
    /// Of a core with AVX2, for want of a measurement.
    pub const ASSUMED: Self = Self {
        multiply_adds_per_s: REFERENCE_MULTIPLY_ADDS,
    };
}

impl GpuRates {
    /// Of a small GPU, for want of a measurement.
    pub const ASSUMED: Self = Self {
        start_s: 0.6,
        search_s: 400e-6,
        scan_bytes_per_s: 100e9,
        copy_bytes_per_s: 0.4e9,
        upload_bytes_per_s: 4e9,
        multiply_adds_per_s: 1e12,
    };
}

impl Rates {
    /// What is assumed before anything was measured.
    pub const ASSUMED: Self = Self {
        cpu: CpuRates::ASSUMED,
        gpu: GpuRates::ASSUMED,
    };

    /// Whether all of them can be used: finite and more than 0.
    pub fn are_usable(&self) -> bool {
        [
            self.cpu.multiply_adds_per_s,
            self.gpu.start_s,
            self.gpu.search_s,
            self.gpu.scan_bytes_per_s,
            self.gpu.copy_bytes_per_s,
            self.gpu.upload_bytes_per_s,
            self.gpu.multiply_adds_per_s,
        ]
        .iter()
        .all(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// Assigning rows to centroids; on the GPU the rows are sent first.
    pub fn assignment(&self, work: AssignmentWork) -> Estimate {
        Estimate {
            cpu_s: work.multiply_adds / self.cpu.multiply_adds_per_s,
            gpu_s: work.multiply_adds / self.gpu.multiply_adds_per_s
                + work.bytes / self.gpu.upload_bytes_per_s,
        }
    }

    /// One search of the first lists of `scan`. What both ways do alike (ranking lists, returning rows) is left out, except on
    /// a GPU a look at each list's head.
    pub fn search(&self, scan: &Scan) -> Estimate {
        let probes = f64::from(scan.probes.clamp(1, scan.lists.max(1)));
        let bytes = cost::probed_rows(scan) * (2.0 * f64::from(scan.dims) + ROW_BYTES);
        Estimate {
            cpu_s: self.pages_s(scan),
            gpu_s: probes * LIST_S + self.gpu.search_s + bytes / self.gpu.scan_bytes_per_s,
        }
    }

    /// Such a search for each of `queries` queries, all at once: lists are read once, and lists are ranked as well.
    pub fn searches(&self, scan: &Scan, queries: f64) -> Estimate {
        let dims = f64::from(scan.dims);
        let probes = f64::from(scan.probes.clamp(1, scan.lists.max(1)));
        let compared = cost::probed_rows(scan) + f64::from(scan.lists);
        let pair_s = PAIR_S + dims / (self.cpu.multiply_adds_per_s * PAIRS_SHARE);
        let read = scan.rows.min(queries * cost::probed_rows(scan));
        Estimate {
            cpu_s: queries * compared * pair_s + read * (dims * 4.0 / READ_BYTES_PER_S),
            gpu_s: self.gpu.search_s
                + queries * (probes * PLAN_S + compared * dims / self.gpu.multiply_adds_per_s),
        }
    }

    /// Comparing all rows with all queries; reading them is the same for both. On the GPU, rows are copied block by block, and
    /// the key of each pair is written and read.
    pub fn exact_search(&self, work: &ExactWork) -> Estimate {
        let dims = work.dims as f64;
        let pairs = work.rows * work.queries;
        let pair_s = ALL_PAIRS_S + dims / (self.cpu.multiply_adds_per_s * ALL_PAIRS_SHARE);
        let vector_bytes = work.rows * dims * 4.0;
        let searches = (vector_bytes / BLOCK_BYTES)
            .max(pairs * KEY_BYTES / KEYS_BYTES)
            .ceil();
        let pair_on_gpu_s = dims / self.gpu.multiply_adds_per_s + 2.0 * KEY_BYTES / self.gpu.scan_bytes_per_s;
        Estimate {
            cpu_s: pairs * pair_s + vector_bytes / READ_BYTES_PER_S,
            gpu_s: vector_bytes / self.gpu.copy_bytes_per_s
                + searches * self.gpu.search_s
                + pairs * pair_on_gpu_s,
        }
    }

    /// Making copies of `rows` rows in the GPU's memory.
    pub fn copying_s(&self, rows: f64, dims: u32) -> f64 {
        rows * f64::from(dims) * 4.0 / self.gpu.copy_bytes_per_s
    }

    /// Reading the pages of a scan's first lists.
    fn pages_s(&self, scan: &Scan) -> f64 {
        cost::reading_seconds(scan) * (REFERENCE_MULTIPLY_ADDS / self.cpu.multiply_adds_per_s)
    }
}

impl Estimate {
    /// What the GPU would save; negative where it is the slower one.
    pub fn saved_s(&self) -> f64 {
        self.cpu_s - self.gpu_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivf::search::Iterate;
    use crate::metric::Storage;
    use crate::quantize::Summation;

    fn scan(rows: f64, lists: u32, probes: u32) -> Scan {
        Scan {
            storage: Storage::F32,
            dims: 768,
            rows,
            lists,
            probes,
            max_probes: lists,
            iterate: Iterate::Off,
            wanted: None,
            summation: Summation::Kernels,
        }
    }

    #[test]
    fn a_short_search_is_the_cpus_and_a_long_one_the_gpus() {
        for storage in Storage::ALL {
            let short = Scan {
                storage,
                ..scan(1000.0, 30, 1)
            };
            assert!(Rates::ASSUMED.search(&short).saved_s() < 0.0, "{storage:?}");
            let long = Scan {
                storage,
                ..scan(1e6, 1000, 100)
            };
            assert!(Rates::ASSUMED.search(&long).saved_s() > 0.0, "{storage:?}");
        }
    }

    #[test]
    fn many_queries_at_once_take_less_than_one_by_one() {
        let (rates, scan) = (Rates::ASSUMED, scan(1e6, 1000, 20));
        let (at_once, alone) = (rates.searches(&scan, 1000.0), rates.search(&scan));
        assert!(at_once.cpu_s < 1000.0 * alone.cpu_s && at_once.gpu_s < 1000.0 * alone.gpu_s);
        assert!(at_once.saved_s() > 0.0);
    }

    #[test]
    fn an_exact_search_is_the_gpus_where_many_queries_share_its_rows() {
        let rates = Rates::ASSUMED;
        let work = |queries| ExactWork {
            rows: 1e6,
            dims: 768,
            queries,
        };
        assert!(
            rates.exact_search(&work(1.0)).saved_s() < 0.0,
            "copying takes longer"
        );
        assert!(rates.exact_search(&work(10_000.0)).saved_s() > 0.0);
        let none = rates.exact_search(&ExactWork {
            rows: 0.0,
            ..work(9.0)
        });
        assert_eq!((none.cpu_s, none.gpu_s), (0.0, 0.0));
    }

    #[test]
    fn a_slower_core_and_a_slower_gpu_take_longer() {
        let work = AssignmentWork {
            multiply_adds: 1e12,
            bytes: 1e9,
        };
        let exact = ExactWork {
            rows: 1e6,
            dims: 96,
            queries: 100.0,
        };
        let (mut slow, scan) = (Rates::ASSUMED, scan(1e6, 1000, 20));
        slow.cpu.multiply_adds_per_s /= 2.0;
        slow.gpu.multiply_adds_per_s /= 2.0;
        slow.gpu.scan_bytes_per_s /= 2.0;
        for (slow, fast) in [
            (slow.assignment(work), Rates::ASSUMED.assignment(work)),
            (slow.search(&scan), Rates::ASSUMED.search(&scan)),
            (slow.searches(&scan, 9.0), Rates::ASSUMED.searches(&scan, 9.0)),
            (slow.exact_search(&exact), Rates::ASSUMED.exact_search(&exact)),
        ] {
            assert!(slow.cpu_s > fast.cpu_s && slow.gpu_s > fast.gpu_s);
        }
    }

    #[test]
    fn rates_that_no_machine_has_are_not_usable() {
        assert!(Rates::ASSUMED.are_usable());
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut rates = Rates::ASSUMED;
            rates.gpu.search_s = wrong;
            assert!(!rates.are_usable(), "{wrong}");
        }
    }
}
