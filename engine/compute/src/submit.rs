//! Recordings turned into wgpu calls.
//!
//! All dispatches between two copies go into one pass, where each costs a few microseconds; a pass of its own costs
//! fifteen. Bind groups are kept; parameters travel in the command stream, or in a ring of uniform blocks.

use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::capabilities::Timestamps;
use crate::context::Gpu;
use crate::memory::buffer::{DeviceBuffer, Purpose};
use crate::memory::params;
use crate::profile::{Profiling, Timing};
use crate::recording::{Command, Dispatch, Recording};
use crate::runtime::Runtime;
use crate::shader::ParamsPlace;

/// Work handed to the device.
#[derive(Clone)]
pub(crate) struct Submission {
    pub(crate) number: u64,
    pub(crate) index: wgpu::SubmissionIndex,
}

/// What encoding needs beside the commands.
struct Encoding<'a> {
    runtime: &'a Runtime,
    gpu: &'a Gpu,
    timing: Option<&'a Timing>,
    /// Of the next dispatch's block in the ring of parameters.
    params_offset: u64,
    dispatches: u32,
    passes: u32,
    bind_group_hits: u64,
}

impl Runtime {
    /// Hands `recording` to the device. Waits only on a device without immediates whose ring of parameters is full.
    ///
    /// # Errors
    /// As [`crate::context::Context::guarded`]; `Cancelled` or `OutOfMemory` on a device without immediates.
    pub(crate) fn submit(
        &self,
        recording: Recording,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Submission> {
        self.submit_and_map(recording, None, keep_waiting)
    }

    /// As [`Runtime::submit`]; asks for the host's view of `results` in the same guarded call.
    ///
    /// # Errors
    /// As [`Runtime::submit`].
    pub(crate) fn submit_and_map(
        &self,
        mut recording: Recording,
        results: Option<&DeviceBuffer>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Submission> {
        if self.pipelines.params_place() == ParamsPlace::Uniform {
            while recording.dispatches().count() > params::DISPATCHES_MAX {
                let rest = recording.split_off(params::DISPATCHES_MAX);
                self.submit_one(std::mem::replace(&mut recording, rest), None, keep_waiting)?;
            }
        }
        self.submit_one(recording, results, keep_waiting)
    }

    fn submit_one(
        &self,
        recording: Recording,
        results: Option<&DeviceBuffer>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Submission> {
        let params_offset = self.place_params(&recording, keep_waiting)?;
        let timing = self.start_timing(&recording, keep_waiting)?;
        let (number, completed) = self.context.next_submission();
        self.params.seal(number);
        let closed = self.staging.close_for(&recording);
        let outcome = self.context.guarded("submitting work", |gpu| {
            if let Some((_, slot)) = &closed {
                slot.unmap();
            }
            let mut encoding = Encoding {
                runtime: self,
                gpu,
                timing: timing.as_ref(),
                params_offset,
                dispatches: 0,
                passes: 0,
                bind_group_hits: 0,
            };
            let commands = encoding.encode(&recording);
            let index = gpu.queue.submit([commands]);
            gpu.queue.on_submitted_work_done(move || {
                completed.fetch_max(number, std::sync::atomic::Ordering::AcqRel);
            });
            if let Some((_, slot)) = &closed {
                slot.start_mapping(wgpu::MapMode::Write);
            }
            if let Some(results) = results {
                results.start_mapping(wgpu::MapMode::Read);
            }
            if let Some(timing) = &timing {
                timing.start_mapping();
            }
            (index, encoding.dispatches, encoding.bind_group_hits)
        });
        let (index, dispatches, bind_group_hits) = outcome?;
        let submission = Submission { number, index };
        if let Some((slot, _)) = closed {
            self.staging.copied_by(slot, &submission);
        }
        recording.stamp(number);
        if let Some(timing) = timing {
            timing.stamp(number);
            self.profile.add(timing);
        }
        self.context.counters.update(|counters| {
            counters.submissions += 1;
            counters.dispatches += u64::from(dispatches);
            counters.bind_group_hits += bind_group_hits;
        });
        Ok(submission)
    }

    /// Writes the parameters of all dispatches to free blocks of their ring; returns where the first lies.
    fn place_params(&self, recording: &Recording, keep_waiting: &mut KeepWaiting<'_>) -> Result<u64> {
        let count = recording.dispatches().count();
        if self.pipelines.params_place() == ParamsPlace::Immediates || count == 0 {
            return Ok(0);
        }
        let buffer = self.params_buffer(keep_waiting)?;
        let mut offset = self.params.reserve(count, self.context.completed());
        if offset.is_none() {
            self.wait_idle_without_submitting(keep_waiting)?;
            offset = self.params.reserve(count, self.context.completed());
        }
        let offset = offset.ok_or_else(|| Error::new(ErrorKind::Internal, "no room for parameters"))?;
        let block_bytes = crate::runtime::as_usize(self.params.block_bytes())?;
        let mut bytes = vec![0; count * block_bytes];
        for (block, dispatch) in bytes.chunks_exact_mut(block_bytes).zip(recording.dispatches()) {
            let params = dispatch.params.bytes();
            block[..params.len()].copy_from_slice(params);
        }
        // Too small for the staging ring to be worth its order of slots: wgpu stages it on its own.
        self.context.guarded("writing parameters", |gpu| {
            gpu.queue.write_buffer(buffer.raw(), offset, &bytes);
        })?;
        Ok(offset)
    }

    fn params_buffer(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<Rc<DeviceBuffer>> {
        if let Some((buffer, _)) = self.params.buffer() {
            return Ok(Rc::clone(buffer));
        }
        let buffer = self.allocate(params::LABEL, Purpose::Uniform, self.params.bytes(), keep_waiting)?;
        let group = self.context.guarded("binding the parameters", |gpu| {
            gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(params::LABEL),
                layout: &self.pipelines.params_layout(&gpu.device),
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: buffer.raw(),
                        offset: 0,
                        size: std::num::NonZero::new(u64::from(crate::device::PARAMS_BYTES_MAX)),
                    }),
                }],
            })
        })?;
        self.params.adopt(Rc::clone(&buffer), group);
        Ok(buffer)
    }
}

impl Encoding<'_> {
    fn encode(&mut self, recording: &Recording) -> wgpu::CommandBuffer {
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some("vectorgpu.step"),
            });
        let mut commands = recording.commands.iter().peekable();
        while let Some(command) = commands.next() {
            match command {
                Command::Copy {
                    source,
                    target,
                    bytes,
                } => encoder.copy_buffer_to_buffer(
                    source.buffer().raw(),
                    source.offset(),
                    target.buffer().raw(),
                    target.offset(),
                    *bytes,
                ),
                Command::Dispatch(first) => {
                    let mut pass = self.begin_pass(&mut encoder, first);
                    self.encode_dispatch(&mut pass, first, None);
                    let mut previous = first;
                    while !self.isolates_dispatches()
                        && let Some(Command::Dispatch(next)) =
                            commands.next_if(|next| matches!(next, Command::Dispatch(_)))
                    {
                        self.encode_dispatch(&mut pass, next, Some(previous));
                        previous = next;
                    }
                }
            }
        }
        if let Some(timing) = self.timing {
            timing.resolve(&mut encoder);
        }
        encoder.finish()
    }

    /// What is timed now.
    fn profiling(&self) -> Profiling {
        self.timing.map_or(Profiling::Off, Timing::profiling)
    }

    /// Whether each dispatch gets a pass of its own, because the device tells the time only at the ends of a pass.
    fn isolates_dispatches(&self) -> bool {
        self.profiling() == Profiling::Kernels && self.runtime.capabilities().timestamps == Timestamps::Passes
    }

    fn begin_pass<'pass>(
        &mut self,
        encoder: &'pass mut wgpu::CommandEncoder,
        first: &Dispatch,
    ) -> wgpu::ComputePass<'pass> {
        let whole = self.profiling() == Profiling::Passes || self.isolates_dispatches();
        let writes = self
            .timing
            .filter(|_| whole)
            .and_then(|timing| timing.pass_writes(self.passes));
        self.passes += 1;
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&first.pipeline.label),
            timestamp_writes: writes,
        })
    }

    /// Encodes `dispatch` after `previous` of the same pass, whose pipeline and bind group stay set.
    fn encode_dispatch(
        &mut self,
        pass: &mut wgpu::ComputePass<'_>,
        dispatch: &Dispatch,
        previous: Option<&Dispatch>,
    ) {
        let pipeline = &dispatch.pipeline;
        let same_pipeline = previous.is_some_and(|previous| Rc::ptr_eq(&previous.pipeline, pipeline));
        if !same_pipeline {
            pass.set_pipeline(&pipeline.raw);
        }
        let same_views = |previous: &Dispatch| {
            let pairs = previous.views.iter().zip(&dispatch.views);
            same_pipeline && pairs.fold(true, |same, (a, b)| same && a.is_same(b))
        };
        if previous.is_some_and(same_views) {
            self.bind_group_hits += 1;
        } else {
            let (group, hit) = self.runtime.bind_groups.group(
                &self.gpu.device,
                &pipeline.label,
                &pipeline.layout,
                &dispatch.views,
            );
            self.bind_group_hits += u64::from(hit);
            pass.set_bind_group(0, &group, &[]);
        }
        if pipeline.params_bytes > 0 {
            self.set_params(pass, dispatch);
        }
        let inside = self
            .timing
            .filter(|timing| timing.profiling() == Profiling::Kernels && !self.isolates_dispatches());
        if let Some(timing) = inside {
            timing.write(pass, self.dispatches, 0);
        }
        pass.dispatch_workgroups(dispatch.workgroups[0], dispatch.workgroups[1], 1);
        if let Some(timing) = inside {
            timing.write(pass, self.dispatches, 1);
        }
        self.dispatches += 1;
        self.params_offset += self.runtime.params.block_bytes();
    }

    fn set_params(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch) {
        match self.runtime.pipelines.params_place() {
            ParamsPlace::Immediates => pass.set_immediates(0, dispatch.params.bytes()),
            ParamsPlace::Uniform => {
                let group = self.runtime.params.buffer().map(|(_, group)| group);
                // The ring is as large as a few hundred blocks: its offsets fit.
                let offset = u32::try_from(self.params_offset).unwrap_or(u32::MAX);
                pass.set_bind_group(1, group, &[offset]);
            }
        }
    }
}
