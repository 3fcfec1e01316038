//! When a GPU that would be faster is worth opening and filling.
//!
//! Opening a GPU and copying an index into its memory takes seconds, one search saves a millisecond. So the time that the GPU
//! would have saved is added up, and spent when it has reached the price: at most twice what knowing the future would
//! have taken (the ski rental problem). Lists that do not stay in memory use the account up, and saving begins anew.

use super::Estimate;

/// Doublings of the price after failures, at most.
const FAILURES_MAX: i32 = 20;
/// A GPU that failed is not looked for again for less, in seconds.
const FAILED_PRICE_MIN_S: f64 = 0.1;

/// What searches of one index would have saved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Savings {
    balance_s: f64,
    /// The price is paid; what is missing is copied as searches need it.
    paid: bool,
    failures: i32,
}

/// What a search is to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The CPU, which is faster.
    CpuFaster,
    /// The CPU: the GPU would have to be opened or filled first, and has not earned that yet.
    NotWorthwhile,
    /// The GPU.
    Gpu,
}

impl Savings {
    /// Decides for the next search. `missing_s` is what has to be done for this one before: opening, and copying the lists
    /// that it needs; `all_s` the same for all lists, infinite where they do not fit.
    pub fn choose(&mut self, search: Estimate, missing_s: f64, all_s: f64) -> Choice {
        let saved = search.saved_s();
        // NaN, too, is nothing saved.
        if saved.is_nan() || saved <= 0.0 {
            return Choice::CpuFaster;
        }
        if missing_s <= saved && self.failures == 0 {
            return Choice::Gpu;
        }
        let price = if self.failures > 0 {
            all_s.max(FAILED_PRICE_MIN_S) * 2f64.powi(self.failures)
        } else {
            all_s
        };
        self.paid = self.paid || self.balance_s + saved >= price;
        let loss = missing_s - saved;
        if self.paid && loss <= self.balance_s {
            self.balance_s -= loss.max(0.0);
            return Choice::Gpu;
        }
        self.paid = false;
        self.balance_s += saved;
        Choice::NotWorthwhile
    }

    /// The GPU could not be opened or used: from now on it has to earn twice as much.
    pub fn failed(&mut self) {
        *self = Self {
            failures: (self.failures + 1).min(FAILURES_MAX),
            ..Self::default()
        };
    }

    /// The GPU did what it was chosen for.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Estimate = Estimate {
        cpu_s: 5e-3,
        gpu_s: 1e-3,
    };

    /// Searches until the GPU is chosen.
    fn searches_until_gpu(savings: &mut Savings, missing_s: f64, all_s: f64) -> usize {
        let mut chosen = (0..100_000).map(|_| savings.choose(SEARCH, missing_s, all_s));
        chosen
            .position(|choice| choice == Choice::Gpu)
            .expect("in the end")
    }

    #[test]
    fn a_gpu_that_has_everything_is_used_where_it_is_faster() {
        let mut savings = Savings::default();
        assert_eq!(savings.choose(SEARCH, 0.0, 0.0), Choice::Gpu);
        let slower = Estimate {
            cpu_s: 1e-3,
            gpu_s: 5e-3,
        };
        assert_eq!(savings.choose(slower, 0.0, 0.0), Choice::CpuFaster);
        let unknown = Estimate {
            cpu_s: 1e-3,
            gpu_s: f64::NAN,
        };
        assert_eq!(savings.choose(unknown, 0.0, 0.0), Choice::CpuFaster);
    }

    #[test]
    fn the_price_is_saved_first_and_copying_spends_it() {
        let mut savings = Savings::default();
        // 4 ms a search, 2 s for everything.
        assert!(searches_until_gpu(&mut savings, 0.5, 2.0).abs_diff(499) <= 1);
        // Lists that have to be copied for ever: 16 ms lost a search, of the 1.5 s that are left.
        let copied = (0..1000).take_while(|_| savings.choose(SEARCH, 20e-3, 2.0) == Choice::Gpu);
        assert!((90..100).contains(&copied.count()));
        assert!(searches_until_gpu(&mut savings, 20e-3, 2.0) > 400);
    }

    #[test]
    fn what_does_not_fit_is_never_paid_for() {
        let mut savings = Savings::default();
        assert!((0..10_000).all(|_| savings.choose(SEARCH, 0.1, f64::INFINITY) == Choice::NotWorthwhile));
    }

    #[test]
    fn work_that_repays_opening_by_itself_goes_at_once() {
        let batch = Estimate {
            cpu_s: 10.0,
            gpu_s: 0.1,
        };
        assert_eq!(Savings::default().choose(batch, 2.0, 2.0), Choice::Gpu);
    }

    #[test]
    fn each_failure_doubles_the_price_until_a_success() {
        let mut savings = Savings::default();
        savings.failed();
        assert!(searches_until_gpu(&mut savings, 0.1, 2.0).abs_diff(999) <= 1);
        savings.failed();
        assert!(searches_until_gpu(&mut savings, 0.1, 2.0).abs_diff(1999) <= 1);
        savings.succeeded();
        assert_eq!(savings.choose(SEARCH, 0.0, 2.0), Choice::Gpu);
        // After a failure nothing is certain to be there.
        savings.failed();
        assert_eq!(savings.choose(SEARCH, 0.0, 2.0), Choice::NotWorthwhile);
    }
}
