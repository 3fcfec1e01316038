//! One fault point: an engine opened under a plan, used until and beyond the fault, and closed.

use std::io::Write as _;
use std::time::{Duration, Instant};

use vectorgpu_compute::{Engine, EngineBuilder};
use vectorgpu_core::{Error, ErrorKind};

use super::layer::Files;
use super::workload::Workload;

/// No point may take longer; the slowest are those that wait for a machine busy with other tests.
const DEADLINE: Duration = Duration::from_secs(30);

/// Closing a lost engine waits for nothing, closing an idle one for milliseconds.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Steps that are tried on the GPU alone after the work.
const STEPS_AFTER: usize = 4;

/// How the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// With the CPU behind the GPU: every answer has to come.
    Fallback,
    /// On the GPU alone: an answer or a clean error.
    Alone,
}

/// What is repeated at each point.
pub(crate) struct Trial {
    /// How to open the engine.
    pub(crate) builder: EngineBuilder,
    /// What to do on it.
    pub(crate) workload: Workload,
    /// How to speak to the layer.
    pub(crate) files: Files,
}

impl Trial {
    /// Opens an engine that meets `plan`, works on it and closes it, and checks all that has to hold. Returns whether
    /// the fault came: if not, the work has fewer such calls.
    ///
    /// # Panics
    /// When something does not hold.
    pub(crate) fn run(&self, plan: &str, route: Route) -> bool {
        self.files.set_plan(plan);
        let started = Instant::now();
        let errors = match self.builder.open() {
            Ok(engine) => {
                let errors = self.use_engine(&engine, route);
                self.close(engine);
                errors
            }
            Err(error) => vec![error],
        };
        let came = self.files.reported("faults") > 0;
        let elapsed = started.elapsed();
        let mut kinds: Vec<_> = errors.iter().map(Error::kind).collect();
        kinds.dedup();
        let count = errors.len();
        let _ = writeln!(
            std::io::stdout(),
            "{plan}: {route:?}, fault {came}, {count} errors {kinds:?}, {elapsed:?}"
        );
        assert!(elapsed < DEADLINE, "{plan}: took {elapsed:?}");
        for error in &errors {
            let kind = error.kind();
            assert!(came, "{plan}: an error without a fault: {kind:?} {error}");
            assert!(
                matches!(kind, ErrorKind::OutOfMemory | ErrorKind::DeviceLost),
                "{plan}: {kind:?} {error}: {:?}",
                error.detail()
            );
        }
        came
    }

    /// Does the work, tries a little more on the GPU alone, then checks that all memory came back.
    fn use_engine(&self, engine: &Engine, route: Route) -> Vec<Error> {
        let plan = self.files.plan();
        let mut errors = match route {
            Route::Fallback => self.workload.run_with_fallback(engine),
            Route::Alone => self.workload.run_alone(engine, usize::MAX),
        };
        let faults = self.files.reported("faults");
        let after = self.workload.run_alone(engine, STEPS_AFTER);
        if engine.is_lost() {
            assert!(
                after.iter().any(|error| error.kind() == ErrorKind::DeviceLost),
                "{plan}: a lost device answers: {after:?}"
            );
        } else if self.files.reported("faults") == faults {
            assert!(after.is_empty(), "{plan}: fails after the fault: {after:?}");
        }
        if plan.ends_with("lost") && faults > 0 {
            assert!(engine.is_lost(), "{plan}: the loss went unnoticed");
        }
        errors.extend(after);
        let started = Instant::now();
        while engine.is_busy() {
            assert!(started.elapsed() < DEADLINE, "{plan}: the device stays busy");
            std::thread::sleep(Duration::from_millis(1));
        }
        let memory = engine.memory();
        assert_eq!(memory.in_use().count(), 0, "{plan}: {memory:?}");
        engine.trim();
        if !engine.is_lost() {
            let memory = engine.memory();
            assert_eq!(memory.used_bytes, 0, "{plan}: {memory:?}");
        }
        errors
    }

    /// Drops the engine: soon, and leaving nothing in the driver unless the device is lost and so leaked.
    fn close(&self, engine: Engine) {
        let plan = self.files.plan();
        let lost = engine.is_lost();
        let started = Instant::now();
        drop(engine);
        let elapsed = started.elapsed();
        assert!(elapsed < CLOSE_DEADLINE, "{plan}: closing took {elapsed:?}");
        if !lost {
            let live = self.files.reported("live_allocations");
            let destroyed = self.files.reported("destroyed");
            assert_eq!(
                (live, destroyed),
                (0, 1),
                "{plan}: the driver still holds a closed device"
            );
        }
    }
}
