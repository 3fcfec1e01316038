//! The phases that `pg_stat_progress_create_index` shows, with percentages.

use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::pg_guard;
use pgrx::pg_sys;

use crate::pg::progress;

/// Sub-phase numbers of a phase: its base plus 0 to 100 percent.
const STEP: i64 = 1000;

/// A phase of an index build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Phase {
    /// Reading a sample of the rows.
    Sampling = 1,
    /// Finding centroids.
    Kmeans = 2,
    /// Finding each row's list.
    Assigning = 3,
    /// Writing the lists.
    Writing = 4,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Sampling, Self::Kmeans, Self::Assigning, Self::Writing];

    /// Shows that this phase has come to `fraction` (0 to 1).
    pub(super) fn report(self, fraction: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..=100")]
        let percent = (fraction.clamp(0.0, 1.0) * 100.0) as i64;
        progress::subphase(self as i64 * STEP + percent);
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sampling => "sampling rows",
            Self::Kmeans => "performing k-means",
            Self::Assigning => "assigning rows",
            Self::Writing => "writing lists",
        }
    }
}

/// The rows that all participants have done in a phase; one of them shows them.
#[derive(Clone, Copy)]
pub(super) struct Tally<'a> {
    phase: Phase,
    done: &'a AtomicU64,
    /// What counts as all rows; `None`: this participant shows nothing.
    total: Option<f64>,
}

impl<'a> Tally<'a> {
    /// Counts in `done`, and shows the phase's progress towards `total` rows.
    pub(super) fn shown(phase: Phase, done: &'a AtomicU64, total: f64) -> Self {
        Self {
            phase,
            done,
            total: Some(total.max(1.0)),
        }
    }

    /// Only counts in `done`.
    pub(super) fn silent(phase: Phase, done: &'a AtomicU64) -> Self {
        Self {
            phase,
            done,
            total: None,
        }
    }

    /// Whether this participant shows the progress.
    pub(super) fn is_shown(&self) -> bool {
        self.total.is_some()
    }

    /// Counts `rows` more.
    pub(super) fn add(&self, rows: u64) {
        self.done.fetch_add(rows, Ordering::Relaxed);
        self.show();
    }

    /// Shows what all participants have done.
    pub(super) fn show(&self) {
        let Some(total) = self.total else { return };
        let done = self.done.load(Ordering::Relaxed);
        self.phase.report(done as f64 / total);
        if self.phase == Phase::Writing {
            progress::tuples_done(done);
        }
    }
}

/// Names a sub-phase number.
fn name(number: i64) -> Option<String> {
    if number == i64::from(pg_sys::PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE) {
        return Some("initializing".to_owned());
    }
    let phase = Phase::ALL
        .into_iter()
        .find(|phase| *phase as i64 == number / STEP)?;
    Some(format!("{} ({} %)", phase.name(), number % STEP))
}

#[pg_guard]
pub(in crate::am) unsafe extern "C-unwind" fn ambuildphasename(number: i64) -> *mut c_char {
    let Some(name) = name(number).and_then(|name| CString::new(name).ok()) else {
        return std::ptr::null_mut();
    };
    // SAFETY: copies a NUL-terminated string into the current memory context.
    unsafe { pg_sys::pstrdup(name.as_ptr()) }
}
