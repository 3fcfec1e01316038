//! How much work fits into one submission.
//!
//! A cancelled kernel runs on, so a submission's length is the delay of the next query and of the backend's exit.
//! Work is counted in multiply-adds; the rate is learnt for each kernel from finished submissions, starting low.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::adapter::DeviceKind;

/// What a submission should take.
const TARGET: Duration = Duration::from_millis(20);
/// A measurement may raise the rate by this factor at most, so one lucky reading does no harm.
const GROWTH: f64 = 4.0;

/// Rates in units per second, by kernel.
pub(crate) struct Pace {
    first_rate: f64,
    rates: RefCell<HashMap<&'static str, f64>>,
    /// When the last results came that somebody waited for.
    awaited: Cell<Option<Instant>>,
}

impl Pace {
    /// Starts from what the slowest devices of the kind reach.
    pub(crate) fn new(kind: DeviceKind) -> Self {
        let first_rate = match kind {
            DeviceKind::Discrete => 200e9,
            DeviceKind::Integrated | DeviceKind::Virtual => 20e9,
            DeviceKind::Other | DeviceKind::Software => 0.5e9,
        };
        Self {
            first_rate,
            rates: RefCell::default(),
            awaited: Cell::default(),
        }
    }

    /// Units of `kernel` that one submission may hold, at least 1.
    pub(crate) fn units(&self, kernel: &'static str) -> u64 {
        float_to_units(self.rate(kernel) * TARGET.as_secs_f64())
    }

    fn rate(&self, kernel: &'static str) -> f64 {
        let rates = self.rates.borrow();
        rates.get(kernel).copied().unwrap_or(self.first_rate)
    }

    /// Which part of one submission `units` of `kernel` are expected to take; 1 is all of it.
    pub(crate) fn share(&self, kernel: &'static str, units: u64) -> f64 {
        units_to_float(units) / units_to_float(self.units(kernel))
    }

    /// Expects `kernel` to be `factor` times as fast as others until something is learnt.
    pub(crate) fn expect(&self, kernel: &'static str, factor: f64) {
        let first = self.first_rate * factor;
        self.rates.borrow_mut().entry(kernel).or_insert(first);
    }

    /// Notes that the results of a step which was handed over at `started` came at `done`; `waits`: somebody waited for them. Returns the
    /// longest that the step can have taken. Of steps that are handed over ahead and waited for one after the other, each begins when the
    /// one before is done.
    pub(crate) fn own_time(&self, started: Instant, done: Instant, waits: bool) -> Duration {
        let before = self.awaited.replace(waits.then_some(done));
        // When results came that nobody waited for says nothing of when the device was done with them.
        let began = before
            .filter(|_| waits)
            .map_or(started, |before| before.max(started));
        done.saturating_duration_since(began)
    }

    /// Learns that `work` (kernels and their units), run one after the other, took `elapsed`; or, with `at_most`, that
    /// it took no longer, which can only prove higher rates.
    pub(crate) fn learn_all(&self, work: &[(&'static str, u64)], elapsed: Duration, at_most: bool) {
        let mut sums: HashMap<&'static str, u64> = HashMap::new();
        for &(kernel, units) in work {
            *sums.entry(kernel).or_default() += units;
        }
        let shares: Vec<_> = sums
            .iter()
            .map(|(&kernel, &units)| (kernel, units, self.share(kernel, units)))
            .collect();
        let expected: f64 = shares.iter().map(|(_, _, share)| share).sum();
        for (kernel, units, share) in shares {
            // Each kernel is taken to be off its estimate by the same factor.
            let part = elapsed.mul_f64(share / expected.max(f64::MIN_POSITIVE));
            let slower = units_to_float(units) / part.as_secs_f64().max(1e-6) < self.rate(kernel);
            if share > 0.0 && !(at_most && slower) {
                self.learn(kernel, units, part);
            }
        }
    }

    /// Learns that `units` took `elapsed`. A short submission is mostly latency and can only prove a higher rate.
    pub(crate) fn learn(&self, kernel: &'static str, units: u64, elapsed: Duration) {
        let measured = units_to_float(units) / elapsed.as_secs_f64().max(1e-6);
        let mut rates = self.rates.borrow_mut();
        let rate = rates.entry(kernel).or_insert(self.first_rate);
        if measured > *rate {
            *rate = measured.min(*rate * GROWTH);
        } else if elapsed >= TARGET / 20 {
            *rate = (*rate + measured) / 2.0;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate: saturates, and is never negative"
)]
fn float_to_units(units: f64) -> u64 {
    (units as u64).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn units_to_float(units: u64) -> f64 {
    units as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_submissions_shrink_the_next_one_and_fast_ones_grow_it_gradually() {
        let pace = Pace::new(DeviceKind::Software);
        let first = pace.units("k");
        pace.learn("k", first, TARGET * 10);
        assert!(pace.units("k") < first);
        let slow = pace.units("k");
        pace.learn("k", slow * 1000, TARGET);
        assert!(pace.units("k") > slow && pace.units("k") <= slow * 4 + 4);
        assert_eq!(pace.units("other"), first);
    }

    #[test]
    fn a_submission_of_many_dispatches_counts_as_a_whole_and_an_upper_bound_only_raises() {
        let pace = Pace::new(DeviceKind::Discrete);
        let half = pace.units("k") / 200;
        let work = vec![("k", half); 100];
        pace.learn_all(&work, TARGET * 4, true);
        assert_eq!(pace.units("k"), pace.units("other"), "it may have been quicker");
        pace.learn_all(&work, TARGET * 4, false);
        assert!(pace.units("k") < pace.units("other"));
        let slow = pace.units("k");
        pace.learn_all(&work, TARGET / 40, true);
        assert!(pace.units("k") > slow);
        pace.expect("fast", 16.0);
        pace.expect("k", 16.0);
        assert_eq!(pace.units("fast"), pace.units("other") * 16);
        assert!(pace.units("k") < pace.units("fast"), "what was learnt stays");
    }

    #[test]
    fn of_steps_that_were_handed_over_ahead_each_counts_from_the_end_of_the_one_before() {
        let pace = Pace::new(DeviceKind::Discrete);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let own = |started, done, waits| pace.own_time(at(started), at(done), waits).as_millis();
        assert_eq!(own(0, 10, true), 10);
        assert_eq!(own(1, 20, true), 10);
        assert_eq!(own(50, 60, true), 10, "the device was idle meanwhile");
        assert_eq!(own(51, 90, false), 39, "it was done at some time before");
        assert_eq!(own(52, 91, true), 39, "nobody knows when this one began");
        assert_eq!(own(80, 95, true), 4);
    }

    #[test]
    fn a_short_submission_never_lowers_the_rate() {
        let pace = Pace::new(DeviceKind::Discrete);
        let before = pace.units("k");
        pace.learn("k", 1, Duration::from_micros(50));
        assert_eq!(pace.units("k"), before);
    }
}
