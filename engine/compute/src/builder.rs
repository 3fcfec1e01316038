//! How an engine is opened.
//!
//! Checks and clamps what the caller asks for; knows no kernels and no memory.

use std::path::PathBuf;
use std::time::Duration;

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::adapter::{AdapterReport, DeviceChoice};
use crate::capabilities::Feature;
use crate::context::{Context, ThreadGuard};
use crate::engine::Engine;
use crate::runtime::{Runtime, Sizes};
use crate::wait::WaitHook;

const VRAM_LIMIT_DEFAULT: u64 = 1 << 30;
const VRAM_LIMIT_MIN: u64 = 4 << 20;
/// Slots of 32 MiB: handing one over costs a tenth of a millisecond, which shows with smaller ones.
const STAGING_DEFAULT: u64 = 96 << 20;
const STAGING_MIN: u64 = 768 << 10;
const READ_BACK_DEFAULT: u64 = 2 << 20;
const SEGMENT_DEFAULT: u64 = 256 << 20;
const WAIT_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// The environment variable that names the adapter, as [`DeviceChoice::parse`] reads it.
const ADAPTER_VARIABLE: &str = "VECTORGPU_ADAPTER";

/// How to open an engine.
///
/// ```
/// use vectorgpu_compute::{DeviceChoice, EngineBuilder};
///
/// let builder = EngineBuilder::new().device(DeviceChoice::Named("radeon".into())).vram_limit(512 << 20);
/// match builder.open() {
///     Ok(engine) => println!("using {}", engine.adapter().name),
///     Err(error) => println!("no GPU: {error}"),
/// }
/// ```
#[derive(Debug, Clone)]
pub struct EngineBuilder {
    choice: DeviceChoice,
    allow_software: bool,
    without: Vec<Feature>,
    vram_limit_bytes: u64,
    staging_bytes: u64,
    wait_deadline: Duration,
    checked_shaders: bool,
    cache_folder: Option<PathBuf>,
    thread_guard: Option<ThreadGuard>,
    wait_hook: Option<WaitHook>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            choice: DeviceChoice::Auto,
            allow_software: false,
            without: Vec::new(),
            vram_limit_bytes: VRAM_LIMIT_DEFAULT,
            staging_bytes: STAGING_DEFAULT,
            wait_deadline: WAIT_DEADLINE_DEFAULT,
            checked_shaders: cfg!(debug_assertions),
            cache_folder: None,
            thread_guard: None,
            wait_hook: None,
        }
    }
}

impl EngineBuilder {
    /// The best GPU, no software adapter, 1 GiB of device memory of which 96 MiB for staging, waits of at most 30 s.
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

    /// Does without `feature` even where the adapter has it; for tests, and for drivers that get it wrong. May be
    /// called for several.
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Self {
        self.without.push(feature);
        self
    }

    /// Sets whether kernels carry wgpu's bounds checks; by default only in builds with debug assertions.
    #[must_use]
    pub fn checked_shaders(mut self, checked: bool) -> Self {
        self.checked_shaders = checked;
        self
    }

    /// Keeps the driver's compiled kernels in a file below `folder` (made if missing, readable by this user alone), so
    /// that the next process need not compile them. Without, nothing is written.
    #[must_use]
    pub fn pipeline_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache_folder = Some(folder.into());
        self
    }

    /// Takes the choice of the adapter from the environment variable `VECTORGPU_ADAPTER` if it is set; see
    /// [`DeviceChoice::parse`].
    #[must_use]
    pub fn device_from_env(self) -> Self {
        match std::env::var(ADAPTER_VARIABLE) {
            Ok(text) => self.device(DeviceChoice::parse(&text)),
            Err(_) => self,
        }
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

    /// Sets what is called around every wait for the device.
    #[must_use]
    pub fn wait_hook(mut self, hook: WaitHook) -> Self {
        self.wait_hook = Some(hook);
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
        let sizes = Sizes {
            vram_limit_bytes: self.vram_limit_bytes,
            staging_bytes: self.staging_bytes.clamp(STAGING_MIN, self.vram_limit_bytes / 4),
            read_back_bytes: READ_BACK_DEFAULT.min(self.vram_limit_bytes / 16),
            segment_bytes: SEGMENT_DEFAULT.min(self.vram_limit_bytes / 8),
        };
        let started = std::time::Instant::now();
        let context = Context::open(
            &self.choice,
            self.allow_software,
            &self.without,
            self.thread_guard,
        )?;
        log::debug!(target: "vectorgpu::gpu", "opened {} in {:?}", context.report().name, started.elapsed());
        let runtime = Runtime::new(
            context,
            &sizes,
            (self.wait_deadline, self.wait_hook),
            self.checked_shaders,
            self.cache_folder.clone(),
        )?;
        Ok(Engine {
            runtime,
            opened_in: started.elapsed(),
        })
    }
}
