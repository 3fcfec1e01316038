//! The open engine: arrays, steps, and what it reports.

use std::rc::Rc;
use std::time::Duration;

use bytemuck::Pod;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::adapter::AdapterReport;
use crate::array::Array;
use crate::backend::GpuBackend;
use crate::builder::EngineBuilder;
use crate::capabilities::Setting;
use crate::counters::Counters;
use crate::lists::ListCache;
use crate::memory::MemoryReport;
use crate::memory::block::Block;
use crate::memory::buffer::Purpose;
use crate::memory::staging::Source;
use crate::memory::view::View;
use crate::profile::{KernelTime, Profiling};
use crate::recording::{End, Recording};
use crate::runtime::Runtime;
use crate::step::Step;

/// An open GPU.
///
/// Dropping it, when its backends are dropped too, closes the GPU within milliseconds if it is idle. A GPU that is
/// busy, lost or inherited through fork is leaked instead, because closing it could wait without end.
pub struct Engine {
    pub(crate) runtime: Rc<Runtime>,
    pub(crate) opened_in: Duration,
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

    /// A place for copies of indexes' lists on this GPU.
    #[must_use]
    pub fn list_cache(&self) -> Rc<ListCache> {
        Rc::new(ListCache::new(Rc::clone(&self.runtime)))
    }

    /// How long opening it took.
    #[must_use]
    pub fn opened_in(&self) -> Duration {
        self.opened_in
    }

    /// An empty step, to record kernels into.
    #[must_use]
    pub fn step(&self) -> Step {
        Step::new(Rc::clone(&self.runtime))
    }

    /// Room for `len` elements in a buffer of its own, accounted under `label`, for kernels to write. The contents are
    /// unspecified.
    ///
    /// # Errors
    /// `LimitExceeded` beyond what one kernel can see (2 GiB at most), `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub fn array<T: Pod>(
        &self,
        label: &'static str,
        len: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<T>> {
        let bytes = array_bytes::<T>(len)?;
        let block = self
            .runtime
            .acquire(label, Purpose::Storage, bytes, keep_waiting)?;
        self.array_in(&block, len)
    }

    /// `elements` in long-lived memory, accounted under `label`, for kernels to read: it shares its buffer with other
    /// data, so a kernel that would write it is refused. [`Engine::write`] changes it.
    ///
    /// # Errors
    /// As [`Engine::array`].
    pub fn upload<T: Pod>(
        &self,
        label: &'static str,
        elements: &[T],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Array<T>> {
        let bytes = array_bytes::<T>(elements.len())?;
        let block = self.runtime.reserve(label, bytes, keep_waiting)?;
        let array = self.array_in(&block, elements.len())?;
        self.write(&array, elements, keep_waiting)?;
        Ok(array)
    }

    /// Writes `elements` to the front of `array`. The device may still be copying when this returns; what is recorded
    /// later sees the elements.
    ///
    /// # Errors
    /// `InvalidArgument` when they do not fit, `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub fn write<T: Pod>(
        &self,
        array: &Array<T>,
        elements: &[T],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if elements.len() > array.len() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} elements do not fit {}", elements.len(), array.len()),
            ));
        }
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
        let mut recording = Recording::default();
        let target = End::View(array.view().clone());
        self.runtime
            .stage(&mut recording, Source::Bytes(words), target, keep_waiting)?;
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            let tail = array.view().part(words.len() as u64, 4, 4)?;
            self.runtime.stage(
                &mut recording,
                Source::Bytes(&last),
                End::View(tail),
                keep_waiting,
            )?;
        }
        self.runtime.submit(recording, keep_waiting)?;
        Ok(())
    }

    /// The elements of `array`, after everything that was submitted before.
    ///
    /// # Errors
    /// `OutOfMemory` (the host's too), `Cancelled`, `DeviceLost`.
    pub fn download<T: Pod>(&self, array: &Array<T>, keep_waiting: &mut KeepWaiting<'_>) -> Result<Vec<T>> {
        let mut bytes = reserved(array.view().bytes())?;
        self.runtime
            .run_and_read(Recording::default(), array.view(), keep_waiting, &mut |piece| {
                bytes.extend_from_slice(piece);
            })?;
        elements(array.len(), &bytes)
    }

    /// As [`Engine::download`], as a future; dropping it stops waiting. Needs no thread and no particular executor.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let array = engine.upload("example", &[1.0_f32, 2.0], &mut || true).unwrap();
    /// let back = pollster::block_on(engine.download_async(&array)).unwrap();
    /// assert_eq!(back, [1.0, 2.0]);
    /// ```
    ///
    /// # Errors
    /// `OutOfMemory` (the host's too), `DeviceLost`.
    pub async fn download_async<T: Pod>(&self, array: &Array<T>) -> Result<Vec<T>> {
        let mut bytes = reserved(array.view().bytes())?;
        self.runtime
            .read_async(array.view(), &mut |piece| bytes.extend_from_slice(piece))
            .await?;
        elements(array.len(), &bytes)
    }

    pub(crate) fn array_in<T: Pod>(&self, block: &Rc<Block>, len: usize) -> Result<Array<T>> {
        let view = View::front(block, array_bytes::<T>(len)?)?;
        Ok(Array::new(
            view,
            len,
            self.runtime.capabilities().storage_alignment,
        ))
    }

    /// Sets `constant` of `kernel` to one of its candidates (see [`crate::tunable_constants`]) in place of the table's
    /// value, from the next step on; other values are ignored.
    pub fn tune(&self, kernel: &str, constant: &str, value: u32) {
        let mut settings = self.runtime.capabilities().tuning.borrow_mut();
        settings.retain(|set| set.kernel != kernel || set.constant != constant);
        settings.push(Setting {
            kernel: kernel.to_owned(),
            constant: constant.to_owned(),
            value,
        });
    }

    /// Sets what the device's clock is read for. Timing each kernel costs some speed; see [`Engine::profile`].
    pub fn set_profiling(&self, profiling: Profiling) {
        self.runtime.profile.set(profiling);
    }

    /// Device time by kernel, or of whole passes, of the steps that were waited for while timing was on. Empty where the device cannot
    /// tell the time.
    #[must_use]
    pub fn profile(&self) -> Vec<KernelTime> {
        // A lost device has no more times to give; what was measured stays true.
        let _ = self.runtime.collect_profile();
        self.runtime.profile.report()
    }

    /// Forgets the times measured so far.
    pub fn reset_profile(&self) {
        self.runtime.profile.reset();
    }

    /// The adapter in use.
    #[must_use]
    pub fn adapter(&self) -> &AdapterReport {
        self.runtime.context.report()
    }

    /// The memory budget and who uses it. After all backends' work is dropped, [`MemoryReport::in_use`] is empty.
    #[must_use]
    pub fn memory(&self) -> MemoryReport {
        self.runtime.reclaim();
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

fn array_bytes<T: Pod>(len: usize) -> Result<u64> {
    Array::<T>::bytes_of(len)
        .ok_or_else(|| Error::new(ErrorKind::LimitExceeded, format!("{len} elements are too many")))
}

/// Room for so many bytes of results.
///
/// # Errors
/// `OutOfMemory`, of the host.
pub(crate) fn reserved(bytes: u64) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    let wanted = crate::runtime::as_usize(bytes)?;
    buffer.try_reserve_exact(wanted).map_err(|error| {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("no memory for {bytes} bytes of results: {error}"),
        )
    })?;
    Ok(buffer)
}

/// The `len` elements that `bytes` begin with, of any alignment.
///
/// # Errors
/// `OutOfMemory`, of the host.
pub(crate) fn elements<T: Pod>(len: usize, bytes: &[u8]) -> Result<Vec<T>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(len).map_err(|error| {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("no memory for {len} results: {error}"),
        )
    })?;
    elements.resize(len, T::zeroed());
    let wanted = size_of_val(elements.as_slice());
    bytemuck::cast_slice_mut(&mut elements).copy_from_slice(&bytes[..wanted]);
    Ok(elements)
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
        assert!(
            backend
                .nearest(&[0.0; 4], 4, NearestBy::Dot, &mut || true)
                .is_ok()
        );
        engine.runtime.context.pretend_forked();
        let error = backend
            .nearest(&[0.0; 4], 4, NearestBy::Dot, &mut || true)
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("another process"));
        assert!(!engine.is_busy() && !engine.is_lost());
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn bind_groups_over_freed_buffers_are_let_go() {
        let builder = EngineBuilder::new().allow_software(true);
        if builder.devices().unwrap().is_empty() {
            eprintln!("SKIPPED bind_groups_over_freed_buffers_are_let_go: no Vulkan adapter");
            return;
        }
        let engine = builder.open().unwrap();
        let go_on = &mut || true;
        let a = engine.upload("vectorgpu.test", &[1.0_f32; 8], go_on).unwrap();
        for _ in 0..3 {
            let sum = engine.array("vectorgpu.test", 8, go_on).unwrap();
            let mut step = engine.step();
            step.add(&a, 1.0, &a, &sum).unwrap();
            step.run(go_on).unwrap();
        }
        let groups = &engine.runtime.bind_groups;
        assert_eq!(groups.len(), 1, "the same buffers give the same group");
        engine.trim();
        assert_eq!(groups.len(), 0);
    }
}
