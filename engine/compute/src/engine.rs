//! The engine: how it is opened, asked and closed.

use std::rc::Rc;
use std::time::Duration;

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::adapter::{AdapterReport, DeviceChoice};
use crate::backend::GpuBackend;
use crate::context::{Context, ThreadGuard};
use crate::counters::Counters;
use crate::memory::MemoryReport;
use crate::runtime::Runtime;

const VRAM_LIMIT_DEFAULT: u64 = 1 << 30;
const VRAM_LIMIT_MIN: u64 = 4 << 20;
const STAGING_DEFAULT: u64 = 24 << 20;
const STAGING_MIN: u64 = 768 << 10;
const WAIT_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// How to open an engine.
#[derive(Debug, Clone)]
pub struct EngineBuilder {
    choice: DeviceChoice,
    allow_software: bool,
    vram_limit_bytes: u64,
    staging_bytes: u64,
    wait_deadline: Duration,
    thread_guard: Option<ThreadGuard>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            choice: DeviceChoice::Auto,
            allow_software: false,
            vram_limit_bytes: VRAM_LIMIT_DEFAULT,
            staging_bytes: STAGING_DEFAULT,
            wait_deadline: WAIT_DEADLINE_DEFAULT,
            thread_guard: None,
        }
    }
}

impl EngineBuilder {
    /// The best GPU, no software adapter, 1 GiB of device memory of which 24 MiB for staging, waits of at most 30 s.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which adapter to open.
    #[must_use]
    pub fn device(mut self, choice: DeviceChoice) -> Self {
        self.choice = choice;
        self
    }

    /// Sets whether an adapter that is carried out by the CPU counts; for tests.
    #[must_use]
    pub fn allow_software(mut self, allow: bool) -> Self {
        self.allow_software = allow;
        self
    }

    /// Sets the hard limit on device memory, staging included, in bytes; at least 4 MiB.
    #[must_use]
    pub fn vram_limit(mut self, bytes: u64) -> Self {
        self.vram_limit_bytes = bytes;
        self
    }

    /// Sets the size of the staging ring in bytes; kept between 768 KiB and a quarter of the memory limit.
    #[must_use]
    pub fn staging(mut self, bytes: u64) -> Self {
        self.staging_bytes = bytes;
        self
    }

    /// Sets how long one wait may last before the device counts as lost.
    #[must_use]
    pub fn wait_deadline(mut self, deadline: Duration) -> Self {
        self.wait_deadline = deadline;
        self
    }

    /// Sets what to hold while drivers may start threads: the host returns a guard that blocks signals.
    ///
    /// A driver thread with signals open would run the host's signal handlers. The guard is held over opening and
    /// over every call to the device except waits.
    #[must_use]
    pub fn thread_guard(mut self, guard: ThreadGuard) -> Self {
        self.thread_guard = Some(guard);
        self
    }

    /// Lists the machine's Vulkan adapters, software ones too; the one that [`EngineBuilder::open`] would take is
    /// marked as selected. Without a Vulkan loader or driver the list is empty.
    ///
    /// # Errors
    /// `DeviceLost` when a driver fails badly.
    pub fn devices(&self) -> Result<Vec<AdapterReport>> {
        Context::list(&self.choice, self.allow_software, self.thread_guard)
    }

    /// Opens the engine. Takes 50 ms to 0.6 s.
    ///
    /// # Errors
    /// `Unsupported` when there is no fitting adapter, `InvalidArgument` for a memory limit that is too small,
    /// `OutOfMemory`, or `DeviceLost` when the driver fails badly.
    pub fn open(&self) -> Result<Engine> {
        if self.vram_limit_bytes < VRAM_LIMIT_MIN {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "a GPU memory limit of {} bytes is below {VRAM_LIMIT_MIN}",
                    self.vram_limit_bytes
                ),
            ));
        }
        let staging_bytes = self.staging_bytes.clamp(STAGING_MIN, self.vram_limit_bytes / 4);
        let started = std::time::Instant::now();
        let context = Context::open(&self.choice, self.allow_software, self.thread_guard)?;
        log::debug!(target: "vectorgpu::gpu", "opened {} in {:?}", context.report().name, started.elapsed());
        let runtime = Runtime::new(context, self.vram_limit_bytes, staging_bytes, self.wait_deadline);
        Ok(Engine { runtime })
    }
}

/// An open GPU.
///
/// Dropping it, when its backends are dropped too, closes the GPU within milliseconds if it is idle. A GPU that is
/// busy, lost or inherited through fork is leaked instead, because closing it could wait without end.
pub struct Engine {
    runtime: Rc<Runtime>,
}

impl Engine {
    /// Opens the best GPU with default settings; see [`EngineBuilder`].
    ///
    /// # Errors
    /// As [`EngineBuilder::open`].
    pub fn open() -> Result<Self> {
        EngineBuilder::new().open()
    }

    /// The index's arithmetic on this GPU. Backends share memory, pipelines and counters.
    #[must_use]
    pub fn backend(&self) -> GpuBackend {
        GpuBackend::new(Rc::clone(&self.runtime))
    }

    /// The adapter in use.
    #[must_use]
    pub fn adapter(&self) -> &AdapterReport {
        self.runtime.context.report()
    }

    /// The memory budget and who uses it. After all backends' work is dropped, [`MemoryReport::in_use`] is empty.
    #[must_use]
    pub fn memory(&self) -> MemoryReport {
        self.runtime.pool.reclaim(&self.runtime.context);
        self.runtime.budget.report()
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.runtime.context.counters.snapshot()
    }

    /// Whether the GPU is gone for good; then drop the engine and open another one.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.runtime.context.is_lost()
    }

    /// Whether the GPU still works on something, for instance after a cancelled wait. Does not block.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.runtime.context.is_busy()
    }

    /// Gives memory back that is only kept for re-use.
    pub fn trim(&self) {
        self.runtime.trim();
    }

    /// Abandons the GPU without waiting for it: no driver call is made, everything stays allocated until the process
    /// ends. For process exit with a busy or lost GPU.
    pub fn leak(self) {
        std::mem::forget(self.runtime);
    }

    /// Destroys the device as a driver failure would. For tests.
    ///
    /// # Errors
    /// `DeviceLost` when it was lost already.
    pub fn simulate_loss(&self) -> Result<()> {
        if self.is_lost() {
            return Err(Error::new(ErrorKind::DeviceLost, "the GPU was already lost"));
        }
        self.runtime.context.simulate_loss()
    }
}

#[cfg(test)]
mod tests {
    use vectorgpu_core::backend::{Backend, NearestBy};

    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn a_context_inherited_through_fork_refuses_to_work() {
        let builder = EngineBuilder::new().allow_software(true);
        if builder.devices().unwrap().is_empty() {
            eprintln!("SKIPPED a_context_inherited_through_fork_refuses_to_work: no Vulkan adapter");
            return;
        }
        let engine = builder.open().unwrap();
        let mut backend = engine.backend();
        assert!(backend.nearest(&[0.0; 4], 4, NearestBy::Dot).is_ok());
        engine.runtime.context.pretend_forked();
        let error = backend.nearest(&[0.0; 4], 4, NearestBy::Dot).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("another process"));
        assert!(!engine.is_busy() && !engine.is_lost());
    }
}
