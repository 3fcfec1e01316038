//! Recordings turned into wgpu calls, and waiting for them.
//!
//! A wait spins for about 100 us, which covers a small step on a fast GPU, then blocks in slices of 1 to 10 ms and
//! asks the caller between slices. It ends at a deadline: a device that does not answer counts as lost.

use std::rc::Rc;
use std::time::{Duration, Instant};

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::context::Gpu;
use crate::memory::buffer::{DeviceBuffer, Purpose};
use crate::recording::{Command, Recording};
use crate::runtime::Runtime;

const SPIN: Duration = Duration::from_micros(100);
const FIRST_SLICE: Duration = Duration::from_millis(1);
const LONGEST_SLICE: Duration = Duration::from_millis(10);

/// Work handed to the device.
pub(crate) struct Submission {
    number: u64,
    index: wgpu::SubmissionIndex,
}

impl Runtime {
    /// Hands `recording` to the device.
    ///
    /// # Errors
    /// As [`crate::context::Context::guarded`].
    pub(crate) fn submit(&self, recording: Recording) -> Result<Submission> {
        let (number, completed) = self.context.next_submission();
        let closed = self.staging.close_for(&recording);
        let outcome = self.context.guarded("submitting work", |gpu| {
            if let Some((_, slot)) = &closed {
                slot.unmap();
            }
            let commands = encode(gpu, &recording);
            let index = gpu.queue.submit([commands]);
            gpu.queue.on_submitted_work_done(move || {
                completed.fetch_max(number, std::sync::atomic::Ordering::AcqRel);
            });
            if let Some((_, slot)) = &closed {
                slot.start_mapping(wgpu::MapMode::Write);
            }
            index
        });
        let index = outcome?;
        if let Some((slot, _)) = closed {
            self.staging.copied_by(slot, &index);
        }
        let mut dispatches = 0;
        for command in &recording.commands {
            match command {
                Command::Copy { source, target, .. } => {
                    source.stamp(number);
                    target.stamp(number);
                }
                Command::Dispatch { bindings, .. } => {
                    dispatches += 1;
                    bindings.iter().for_each(|(buffer, _)| buffer.stamp(number));
                }
            }
        }
        self.context.counters.update(|counters| {
            counters.submissions += 1;
            counters.dispatches += dispatches;
        });
        Ok(Submission { number, index })
    }

    /// Waits until `submission` has finished.
    ///
    /// # Errors
    /// `Cancelled` when `keep_waiting` says so (the work runs on, and its buffers are kept until it ends),
    /// `DeviceLost` when it fails or passes the deadline.
    pub(crate) fn wait(&self, submission: &Submission, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.wait_until(
            &|| self.context.completed() >= submission.number,
            Some(&submission.index),
            keep_waiting,
        )
    }

    /// Waits until the device has nothing left to do.
    ///
    /// # Errors
    /// As [`Runtime::wait`].
    pub(crate) fn wait_idle(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if self.context.is_busy() {
            // An empty submission comes after all others.
            let last = self.submit(Recording::default())?;
            self.wait(&last, keep_waiting)?;
        }
        Ok(())
    }

    /// Runs `recording`, then gives `read` the first `bytes` of `source`. Returns the time from submission to end.
    ///
    /// # Errors
    /// As [`Runtime::wait`], `OutOfMemory`, or as [`crate::context::Context::guarded`].
    pub(crate) fn run_and_read(
        &self,
        mut recording: Recording,
        source: &Rc<DeviceBuffer>,
        bytes: u64,
        keep_waiting: &mut KeepWaiting<'_>,
        read: impl FnOnce(&[u8]),
    ) -> Result<Duration> {
        let target = self.acquire("vectorgpu.read_back", Purpose::ReadBack, bytes, keep_waiting)?;
        recording.copy(source, 0, &target, 0, bytes);
        let started = Instant::now();
        let submission = self.submit(recording)?;
        self.context
            .guarded("mapping results", |_| target.start_mapping(wgpu::MapMode::Read))?;
        self.wait_until(
            &|| target.mapping().is_settled(),
            Some(&submission.index),
            keep_waiting,
        )?;
        let elapsed = started.elapsed();
        if !target.mapping().is_mapped() {
            return Err(self.context.mark_lost("results could not be mapped".to_owned()));
        }
        let view = self.context.guarded("reading results", |_| {
            target.raw().slice(..bytes).get_mapped_range()
        })?;
        let view = view.map_err(|error| {
            Error::new(ErrorKind::Internal, "results are not mapped").with_detail(error.to_string())
        })?;
        read(&view);
        drop(view);
        self.context.guarded("unmapping results", |_| target.unmap())?;
        self.context
            .counters
            .update(|counters| counters.bytes_down += bytes);
        log::trace!(target: "vectorgpu::gpu", "submission {} took {elapsed:?}, {bytes} bytes read", submission.number);
        Ok(elapsed)
    }

    /// Polls until `done`, which only reads atomics.
    ///
    /// # Errors
    /// As [`Runtime::wait`].
    pub(crate) fn wait_until(
        &self,
        done: &dyn Fn() -> bool,
        index: Option<&wgpu::SubmissionIndex>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if done() {
            return Ok(());
        }
        let started = Instant::now();
        let outcome = self.poll_until(done, index, started, keep_waiting);
        self.context.counters.update(|counters| {
            counters.waits += 1;
            counters.wait_time += started.elapsed();
        });
        outcome
    }

    /// Whether to begin or go on with a step.
    ///
    /// # Errors
    /// `Cancelled` when the caller says stop.
    pub(crate) fn proceed(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        if keep_waiting() {
            return Ok(());
        }
        self.context
            .counters
            .update(|counters| counters.cancellations += 1);
        Err(Error::new(ErrorKind::Cancelled, "work on the GPU was cancelled"))
    }

    fn poll_until(
        &self,
        done: &dyn Fn() -> bool,
        index: Option<&wgpu::SubmissionIndex>,
        started: Instant,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        loop {
            self.context.poll(None)?;
            if done() {
                return Ok(());
            }
            if started.elapsed() >= SPIN {
                break;
            }
            std::hint::spin_loop();
        }
        let mut slice = FIRST_SLICE;
        loop {
            self.proceed(keep_waiting)?;
            if started.elapsed() >= self.wait_deadline {
                return Err(self
                    .context
                    .mark_lost(format!("no answer within {:?}", self.wait_deadline)));
            }
            match index {
                Some(index) => self.context.poll(Some((index, slice)))?,
                None => {
                    std::thread::sleep(FIRST_SLICE);
                    self.context.poll(None)?;
                }
            }
            if done() {
                return Ok(());
            }
            slice = (slice * 2).min(LONGEST_SLICE);
        }
    }
}

fn encode(gpu: &Gpu, recording: &Recording) -> wgpu::CommandBuffer {
    let mut encoder = gpu
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("vectorgpu.step"),
        });
    let mut commands = recording.commands.iter().peekable();
    while let Some(command) = commands.next() {
        match command {
            Command::Copy {
                source,
                source_offset,
                target,
                target_offset,
                bytes,
            } => encoder.copy_buffer_to_buffer(
                source.raw(),
                *source_offset,
                target.raw(),
                *target_offset,
                *bytes,
            ),
            Command::Dispatch { pipeline, .. } => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&pipeline.label),
                    timestamp_writes: None,
                });
                encode_dispatch(gpu, &mut pass, command);
                while let Some(next) = commands.next_if(|next| matches!(next, Command::Dispatch { .. })) {
                    encode_dispatch(gpu, &mut pass, next);
                }
            }
        }
    }
    encoder.finish()
}

fn encode_dispatch(gpu: &Gpu, pass: &mut wgpu::ComputePass<'_>, command: &Command) {
    let Command::Dispatch {
        pipeline,
        bindings,
        workgroups,
    } = command
    else {
        return;
    };
    let entries: Vec<_> = (0..)
        .zip(bindings)
        .map(|(binding, (buffer, bytes))| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: buffer.raw(),
                offset: 0,
                size: std::num::NonZero::new(*bytes),
            }),
        })
        .collect();
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&pipeline.label),
        layout: &pipeline.layout,
        entries: &entries,
    });
    pass.set_pipeline(&pipeline.raw);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(*workgroups, 1, 1);
}
