//! How long each kernel takes on the device, by its own clock.
//!
//! Off unless asked for: a pair of timestamps around each dispatch keeps the device from overlapping neighbours. Around
//! each pass, which is all dispatches between two copies, they disturb nothing and include what lies between kernels. The
//! times of a submission arrive after it has finished and are added up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::capabilities::Timestamps;
use crate::memory::block::Block;
use crate::memory::buffer::Purpose;
use crate::recording::Recording;
use crate::runtime::Runtime;

const LABEL: &str = "vectorgpu.profile";
/// The name under which passes are timed.
const PASS: &str = "pass";
/// Timestamps that a query set may hold.
const QUERIES_MAX: usize = 4096;

/// What the device's clock is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profiling {
    /// Nothing.
    #[default]
    Off,
    /// Each pass: the dispatches of a submission between two copies, with what lies between them.
    Passes,
    /// Each dispatch.
    Kernels,
}

/// Device time of one kernel since profiling was switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelTime {
    /// The kernel's name; `pass` for whole passes.
    pub kernel: &'static str,
    /// Dispatches, or passes, that were timed.
    pub dispatches: u64,
    /// Time of all of them.
    pub total: Duration,
    /// Time of the longest.
    pub longest: Duration,
}

/// Whether to time, what is under way, and what was measured.
#[derive(Default)]
pub(crate) struct Profile {
    profiling: Cell<Profiling>,
    under_way: RefCell<Vec<Timing>>,
    kernels: RefCell<BTreeMap<&'static str, KernelTime>>,
}

/// The timestamps of one submission.
pub(crate) struct Timing {
    profiling: Profiling,
    queries: wgpu::QuerySet,
    /// Of each pair of timestamps.
    kernels: Vec<&'static str>,
    resolved: Rc<Block>,
    read_back: Rc<Block>,
}

impl Profile {
    /// Sets what is timed from now on; what was measured stays.
    pub(crate) fn set(&self, profiling: Profiling) {
        self.profiling.set(profiling);
    }

    /// What was measured, by kernel name.
    pub(crate) fn report(&self) -> Vec<KernelTime> {
        self.kernels.borrow().values().cloned().collect()
    }

    /// Forgets what was measured.
    pub(crate) fn reset(&self) {
        self.kernels.borrow_mut().clear();
    }

    /// Notes a submission whose times will arrive.
    pub(crate) fn add(&self, timing: Timing) {
        self.under_way.borrow_mut().push(timing);
    }

    /// Takes what is under way, to be leaked.
    pub(crate) fn take(&self) -> Vec<Timing> {
        self.under_way.take()
    }

    fn add_time(&self, kernel: &'static str, time: Duration) {
        let mut kernels = self.kernels.borrow_mut();
        let entry = kernels.entry(kernel).or_insert(KernelTime {
            kernel,
            dispatches: 0,
            total: Duration::ZERO,
            longest: Duration::ZERO,
        });
        entry.dispatches += 1;
        entry.total += time;
        entry.longest = entry.longest.max(time);
    }
}

impl Runtime {
    /// Room for the timestamps of `recording`, if it is to be timed.
    ///
    /// # Errors
    /// As [`Runtime::acquire`].
    pub(crate) fn start_timing(
        &self,
        recording: &Recording,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Timing>> {
        let profiling = self.profile.profiling.get();
        if profiling == Profiling::Off || self.capabilities().timestamps == Timestamps::None {
            return Ok(None);
        }
        let mut kernels: Vec<_> = if profiling == Profiling::Passes {
            vec![PASS; recording.passes()]
        } else {
            let dispatches = recording.dispatches();
            dispatches.map(|dispatch| dispatch.pipeline.kernel).collect()
        };
        kernels.truncate(QUERIES_MAX / 2);
        let Ok(count) = u32::try_from(kernels.len() * 2) else {
            return Ok(None);
        };
        if count == 0 {
            return Ok(None);
        }
        let bytes = u64::from(count) * 8;
        let resolved = self.acquire(LABEL, Purpose::Queries, bytes, keep_waiting)?;
        let read_back = self.acquire(LABEL, Purpose::ReadBack, bytes, keep_waiting)?;
        let queries = self.context.guarded("making timestamps", |gpu| {
            gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some(LABEL),
                ty: wgpu::QueryType::Timestamp,
                count,
            })
        })?;
        Ok(Some(Timing {
            profiling,
            queries,
            kernels,
            resolved,
            read_back,
        }))
    }

    /// Adds up the timestamps that have arrived; drops those that never will.
    ///
    /// # Errors
    /// As [`crate::context::Context::guarded`].
    pub(crate) fn collect_profile(&self) -> Result<()> {
        if self.profile.under_way.borrow().is_empty() {
            return Ok(());
        }
        self.context.poll(None)?;
        let (settled, under_way): (Vec<_>, Vec<_>) = self
            .profile
            .under_way
            .take()
            .into_iter()
            .partition(|timing| timing.read_back.buffer().mapping().is_settled());
        self.profile.under_way.borrow_mut().extend(under_way);
        for timing in settled {
            if timing.read_back.buffer().mapping().is_mapped() {
                self.add_times(&timing)?;
            }
        }
        Ok(())
    }

    fn add_times(&self, timing: &Timing) -> Result<()> {
        let bytes = u64::from(timing.count()) * 8;
        let (stamps, period) = self.context.guarded("reading timestamps", |gpu| {
            let view = timing.read_back.buffer().raw().slice(..bytes).get_mapped_range();
            let stamps: Vec<u64> = view.map_or_else(
                |_| Vec::new(),
                |view| {
                    let (words, _) = view.as_chunks::<8>();
                    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
                },
            );
            timing.read_back.buffer().unmap();
            (stamps, gpu.queue.get_timestamp_period())
        })?;
        for (kernel, pair) in timing.kernels.iter().zip(stamps.chunks_exact(2)) {
            let ticks = pair[1].saturating_sub(pair[0]);
            #[expect(
                clippy::cast_precision_loss,
                reason = "nanoseconds of a kernel are far below 2^53"
            )]
            let nanoseconds = ticks as f64 * f64::from(period);
            self.profile
                .add_time(kernel, Duration::from_secs_f64(nanoseconds / 1e9));
        }
        Ok(())
    }
}

impl Timing {
    fn count(&self) -> u32 {
        // At most QUERIES_MAX by construction.
        u32::try_from(self.kernels.len() * 2).unwrap_or(0)
    }

    /// What it times.
    pub(crate) fn profiling(&self) -> Profiling {
        self.profiling
    }

    /// Where a pass that makes up pair number `pair` leaves its times.
    pub(crate) fn pass_writes(&self, pair: u32) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        (2 * pair + 1 < self.count()).then(|| wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * pair),
            end_of_pass_write_index: Some(2 * pair + 1),
        })
    }

    /// Writes the time before (`end` = 0) or after (`end` = 1) dispatch number `dispatch`.
    pub(crate) fn write(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: u32, end: u32) {
        if 2 * dispatch + end < self.count() {
            pass.write_timestamp(&self.queries, 2 * dispatch + end);
        }
    }

    /// Copies the times to where the host will read them.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let resolved = self.resolved.buffer().raw();
        encoder.resolve_query_set(&self.queries, 0..self.count(), resolved, 0);
        let bytes = u64::from(self.count()) * 8;
        encoder.copy_buffer_to_buffer(resolved, 0, self.read_back.buffer().raw(), 0, bytes);
    }

    /// Asks for the host's view; call after the submission, inside [`crate::context::Context::guarded`].
    pub(crate) fn start_mapping(&self) {
        self.read_back.buffer().start_mapping(wgpu::MapMode::Read);
    }

    /// Notes in its memory that submission `number` uses it.
    pub(crate) fn stamp(&self, number: u64) {
        self.resolved.stamp(number);
        self.read_back.stamp(number);
    }
}
