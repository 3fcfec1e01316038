//! One GPU context of one process, and the one way to call it.
//!
//! A context goes from Ready to Lost and never back; before Ready there is only a builder, and after Lost a new
//! context is opened. wgpu reports failures in four ways (error scopes, an uncaptured-error handler, a device-lost
//! callback, panics); [`Context::guarded`] turns all of them into one `Result`, and nothing else in this crate calls
//! wgpu with side effects. Invariants: refuses to work in a forked child, whose copy has no driver threads and would
//! wait for ever; never runs a caller's closure under `catch_unwind`, so an unwinding PostgreSQL error passes
//! through; is leaked, not dropped, when busy, lost or in another process, because `Queue::drop` waits without end.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::adapter::{self, AdapterReport, DeviceChoice};
use crate::capabilities::{Capabilities, Feature};
use crate::counters::CounterCell;
use crate::device;

/// Makes a guard that is held while drivers may start threads; the host blocks signals for its lifetime.
pub type ThreadGuard = fn() -> Box<dyn Any>;

/// wgpu's objects, in the order in which they are dropped.
pub(crate) struct Gpu {
    pub(crate) queue: wgpu::Queue,
    pub(crate) device: wgpu::Device,
    _origin: Option<(wgpu::Adapter, wgpu::Instance)>,
}

#[cfg(test)]
impl Gpu {
    /// A device that came from nowhere, as wgpu's one without hardware does.
    pub(crate) fn without_adapter(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self {
            queue,
            device,
            _origin: None,
        }
    }
}

/// An open context.
pub(crate) struct Context {
    /// Some until drop.
    gpu: Option<Gpu>,
    loss: Arc<Loss>,
    creator_pid: Cell<u32>,
    thread_guard: Option<ThreadGuard>,
    report: AdapterReport,
    capabilities: Capabilities,
    submitted: Cell<u64>,
    completed: Arc<AtomicU64>,
    buffers: Cell<u64>,
    pub(crate) counters: CounterCell,
}

/// What wgpu's callbacks write; they may run on any thread.
#[derive(Default)]
struct Loss {
    reason: OnceLock<String>,
    uncaptured: Mutex<Option<wgpu::Error>>,
}

impl Loss {
    fn mark(&self, reason: String) {
        if self.reason.set(reason).is_ok() {
            log::debug!(target: "vectorgpu::gpu", "context lost: {}", self.reason.get().map_or("", String::as_str));
        }
    }
}

impl Context {
    /// Opens the adapter that `choice` asks for, without the features `without`.
    ///
    /// # Errors
    /// `Unsupported` without a fitting adapter, `OutOfMemory`, or `DeviceLost` when the driver fails badly.
    pub(crate) fn open(
        choice: &DeviceChoice,
        allow_software: bool,
        without: &[Feature],
        thread_guard: Option<ThreadGuard>,
    ) -> Result<Self> {
        let _threads = thread_guard.map(|make| make());
        caught("opening the GPU", || {
            Self::open_unguarded(choice, allow_software, without, thread_guard)
        })?
    }

    /// Lists every adapter; the one that `choice` asks for is marked as selected.
    ///
    /// # Errors
    /// `DeviceLost` when a driver fails badly. No adapter is not an error.
    pub(crate) fn list(
        choice: &DeviceChoice,
        allow_software: bool,
        thread_guard: Option<ThreadGuard>,
    ) -> Result<Vec<AdapterReport>> {
        let _threads = thread_guard.map(|make| make());
        let mut reports = caught("listing the GPUs", || {
            let (_instance, adapters) = device::adapters();
            adapters.iter().map(adapter::report).collect::<Vec<_>>()
        })?;
        if let Ok(position) = adapter::choose(&reports, choice, allow_software) {
            reports[position].selected = true;
        }
        Ok(reports)
    }

    fn open_unguarded(
        choice: &DeviceChoice,
        allow_software: bool,
        without: &[Feature],
        thread_guard: Option<ThreadGuard>,
    ) -> Result<Self> {
        let (instance, mut adapters) = device::adapters();
        let mut reports: Vec<_> = adapters.iter().map(adapter::report).collect();
        let position = adapter::choose(&reports, choice, allow_software)?;
        let adapter = adapters.swap_remove(position);
        let report = AdapterReport {
            selected: true,
            ..reports.swap_remove(position)
        };
        let (device, queue, capabilities) = device::open(&adapter, without)?;
        let gpu = Gpu {
            queue,
            device,
            _origin: Some((adapter, instance)),
        };
        Ok(Self::ready(gpu, report, capabilities, thread_guard))
    }

    fn ready(
        gpu: Gpu,
        report: AdapterReport,
        capabilities: Capabilities,
        thread_guard: Option<ThreadGuard>,
    ) -> Self {
        let loss = Arc::new(Loss::default());
        let on_loss = Arc::clone(&loss);
        gpu.device
            .set_device_lost_callback(move |reason, message| on_loss.mark(format!("{reason:?}: {message}")));
        let on_error = Arc::clone(&loss);
        gpu.device
            .on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
                on_error
                    .uncaptured
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
            }));
        Self {
            gpu: Some(gpu),
            loss,
            creator_pid: Cell::new(std::process::id()),
            thread_guard,
            report,
            capabilities,
            submitted: Cell::new(0),
            completed: Arc::new(AtomicU64::new(0)),
            buffers: Cell::new(0),
            counters: CounterCell::default(),
        }
    }

    /// The adapter in use.
    pub(crate) fn report(&self) -> &AdapterReport {
        &self.report
    }

    /// What the device can do.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Numbers the next buffer.
    pub(crate) fn next_buffer(&self) -> u64 {
        self.buffers.set(self.buffers.get() + 1);
        self.buffers.get()
    }

    /// Whether this is a copy that the process inherited through fork.
    pub(crate) fn is_foreign(&self) -> bool {
        self.creator_pid.get() != std::process::id()
    }

    /// Whether the device is gone for good.
    pub(crate) fn is_lost(&self) -> bool {
        self.loss.reason.get().is_some()
    }

    /// Declares the device gone.
    pub(crate) fn mark_lost(&self, reason: String) -> Error {
        self.loss.mark(reason);
        self.loss_error()
    }

    /// Calls wgpu with everything that can go wrong caught, and driver threads kept free of signals.
    ///
    /// `call` must only call wgpu: a panic in it counts as the device's.
    ///
    /// # Errors
    /// `Unsupported` in a forked child, `DeviceLost`, `OutOfMemory`, or `Internal` for a call that wgpu rejects.
    pub(crate) fn guarded<T>(&self, step: &str, call: impl FnOnce(&Gpu) -> T) -> Result<T> {
        let gpu = self.usable()?;
        let _threads = self.thread_guard.map(|make| make());
        self.scoped(step, gpu, call)
    }

    /// Lets wgpu notice what has finished; with `wait`, for at most that long for that submission.
    ///
    /// Signals stay open meanwhile, because a wait creates no threads and must not delay the host's interrupts.
    ///
    /// # Errors
    /// As [`Context::guarded`].
    pub(crate) fn poll(&self, wait: Option<(&wgpu::SubmissionIndex, Duration)>) -> Result<()> {
        self.watch()?.poll(wait)
    }

    /// The same again and again, for as long as the caller does nothing else: which process this is, is asked once.
    ///
    /// # Errors
    /// `Unsupported` in a forked child, `DeviceLost`.
    pub(crate) fn watch(&self) -> Result<Watch<'_>> {
        let gpu = self.usable()?;
        Ok(Watch { context: self, gpu })
    }

    /// Numbers the next submission; its completion is seen by [`Context::completed`].
    pub(crate) fn next_submission(&self) -> (u64, Arc<AtomicU64>) {
        self.submitted.set(self.submitted.get() + 1);
        (self.submitted.get(), Arc::clone(&self.completed))
    }

    /// The number of the last submission handed to the device.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted.get()
    }

    /// The number of the last submission that a poll saw finished.
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    /// Whether the device still works on something, as of now.
    pub(crate) fn is_busy(&self) -> bool {
        if self.is_lost() || self.completed() == self.submitted() {
            return false;
        }
        self.poll(None).is_ok() && self.completed() != self.submitted()
    }

    /// Destroys the device as a driver failure would; for tests.
    pub(crate) fn simulate_loss(&self) -> Result<()> {
        self.guarded("simulating a loss", |gpu| gpu.device.destroy())
            .or_else(is_loss)?;
        // wgpu reports the loss when the work in flight has finished.
        let started = Instant::now();
        while !self.is_lost() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "the destroyed device was not reported as lost",
                ));
            }
            self.poll(None).or_else(is_loss)?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Makes this context look like a copy inherited through fork.
    #[cfg(test)]
    pub(crate) fn pretend_forked(&self) {
        self.creator_pid.set(self.creator_pid.get().wrapping_add(1));
    }

    fn usable(&self) -> Result<&Gpu> {
        if self.is_foreign() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the GPU context belongs to another process",
            ));
        }
        if self.is_lost() {
            return Err(self.loss_error());
        }
        self.gpu
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the GPU context was already closed"))
    }

    fn scoped<T>(&self, step: &str, gpu: &Gpu, call: impl FnOnce(&Gpu) -> T) -> Result<T> {
        let outcome = caught(step, || {
            let internal = gpu.device.push_error_scope(wgpu::ErrorFilter::Internal);
            let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let validation = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let value = call(gpu);
            let rejected = pollster::block_on(validation.pop());
            let exhausted = pollster::block_on(memory.pop());
            let failed = pollster::block_on(internal.pop());
            (value, exhausted.or(rejected).or(failed))
        });
        let (value, error) = self.survived(outcome)?;
        self.verdict(step, error)?;
        Ok(value)
    }

    /// Notes a panic as the device's loss: wgpu's state is unknown after one, and most are its way to say so.
    fn survived<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|panic| {
            self.loss
                .mark(panic.detail().unwrap_or("panic in wgpu").to_owned());
        })
    }

    /// What a call came to that reported `error`, with what nobody else was told of.
    fn verdict(&self, step: &str, error: Option<wgpu::Error>) -> Result<()> {
        let uncaptured = self
            .loss
            .uncaptured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if self.is_lost() {
            return Err(self.loss_error());
        }
        match error.or(uncaptured) {
            None => Ok(()),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::new(
                ErrorKind::OutOfMemory,
                format!("the GPU is out of memory while {step}"),
            )),
            Some(error) => Err(Error::new(
                ErrorKind::Internal,
                format!("the GPU refused a call while {step}"),
            )
            .with_detail(error.to_string())),
        }
    }

    fn loss_error(&self) -> Error {
        let error = Error::new(ErrorKind::DeviceLost, "the GPU was lost");
        match self.loss.reason.get() {
            Some(reason) => error.with_detail(reason.clone()),
            None => error,
        }
    }
}

/// A context that is waited for.
pub(crate) struct Watch<'a> {
    context: &'a Context,
    gpu: &'a Gpu,
}

impl Watch<'_> {
    /// As [`Context::poll`], without asking which process this is.
    ///
    /// Opens no error scopes, which take longer than looking: wgpu returns what fails in a poll, or panics with it, and what
    /// any other call reports without a scope comes to the handler of uncaptured errors.
    ///
    /// # Errors
    /// `DeviceLost`, `OutOfMemory`, or `Internal` for what was reported meanwhile.
    pub(crate) fn poll(&self, wait: Option<(&wgpu::SubmissionIndex, Duration)>) -> Result<()> {
        let poll = match wait {
            None => wgpu::PollType::Poll,
            Some((index, timeout)) => wgpu::PollType::Wait {
                submission_index: Some(index.clone()),
                timeout: Some(timeout),
            },
        };
        let step = "waiting for the GPU";
        let outcome = caught(step, || self.gpu.device.poll(poll));
        let polled = self.context.survived(outcome)?;
        self.context.verdict(step, None)?;
        match polled {
            Ok(_) | Err(wgpu::PollError::Timeout) => Ok(()),
            // A submission that the driver refused has no valid index.
            Err(error @ wgpu::PollError::WrongSubmissionIndex(..)) => {
                Err(self.context.mark_lost(error.to_string()))
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let foreign = self.is_foreign();
        let leak = foreign || self.is_lost() || self.is_busy();
        let Some(gpu) = self.gpu.take() else { return };
        if leak {
            log::debug!(target: "vectorgpu::gpu", "context leaked: foreign {foreign}, lost {}", self.is_lost());
            std::mem::forget(gpu);
        } else {
            // A failure while closing concerns nobody any more.
            let _ = caught("closing the GPU", || drop(gpu));
        }
    }
}

fn is_loss(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::DeviceLost {
        Ok(())
    } else {
        Err(error)
    }
}

/// Runs wgpu code; a panic becomes `DeviceLost` with the panic's text as detail.
fn caught<T>(step: &str, call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("panic without a message");
        Error::new(ErrorKind::DeviceLost, format!("the GPU failed while {step}")).with_detail(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A context, or word that the test does not run.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn opened(test: &str) -> Option<Context> {
        let context = Context::open(&DeviceChoice::Auto, true, &[], None).ok();
        if context.is_none() {
            eprintln!("SKIPPED {test}: no Vulkan adapter");
        }
        context
    }

    #[test]
    fn a_poll_tells_once_of_what_was_reported_outside_every_scope() {
        let Some(context) = opened("a_poll_tells_once_of_what_was_reported_outside_every_scope") else {
            return;
        };
        let watch = context.watch().unwrap();
        assert!(watch.poll(None).is_ok());
        let refused = wgpu::BufferDescriptor {
            label: None,
            size: 3,
            usage: wgpu::BufferUsages::STORAGE,
            // Needs a multiple of 4 bytes.
            mapped_at_creation: true,
        };
        let _buffer = watch.gpu.device.create_buffer(&refused);
        assert_eq!(watch.poll(None).unwrap_err().kind(), ErrorKind::Internal);
        assert!(watch.poll(None).is_ok() && !context.is_lost());
    }

    #[test]
    fn a_watched_device_that_is_lost_is_told_of() {
        let Some(context) = opened("a_watched_device_that_is_lost_is_told_of") else {
            return;
        };
        let watch = context.watch().unwrap();
        context.simulate_loss().unwrap();
        assert_eq!(watch.poll(None).unwrap_err().kind(), ErrorKind::DeviceLost);
    }
}
