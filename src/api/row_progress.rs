//! Notices of how far a call that goes through a table has come, every `vectorgpu.progress_interval` seconds at most.

use std::time::{Duration, Instant};

use crate::guc;

/// The rows that a call has done so far.
pub(super) struct RowProgress {
    function: &'static str,
    done: u64,
    /// About how many there are, where that is known.
    expected: Option<u64>,
    /// `None`: no notices.
    interval: Option<Duration>,
    /// When the last notice was, or the beginning.
    last: Instant,
}

impl RowProgress {
    /// Begins at no row of about `expected`; the interval is the session's.
    pub(super) fn begin(function: &'static str, expected: Option<u64>) -> Self {
        let interval = u64::try_from(guc::PROGRESS_INTERVAL_S.get()).unwrap_or_default();
        Self {
            function,
            done: 0,
            expected,
            interval: (interval > 0).then(|| Duration::from_secs(interval)),
            last: Instant::now(),
        }
    }

    /// Counts a row, and emits a notice where one is due. Nothing of the engine may be borrowed here.
    pub(super) fn count_row(&mut self) {
        self.done += 1;
        if self
            .interval
            .is_some_and(|interval| self.last.elapsed() >= interval)
        {
            pgrx::notice!("{}", self.message());
            self.last = Instant::now();
        }
    }

    fn message(&self) -> String {
        let (function, done) = (self.function, self.done);
        // An estimate that turns out too small is of no use.
        match self.expected.filter(|expected| done <= *expected) {
            Some(expected) => {
                let percent = u128::from(done) * 100 / u128::from(expected);
                format!("{function}: {done} of about {expected} rows ({percent} %)")
            }
            None => format!("{function}: {done} rows"),
        }
    }
}
