//! A step: kernels recorded one after the other, run as a whole.
//!
//! Recording a kernel checks shapes and touches nothing; the methods that do it stand with their kernels. Running a
//! step cuts it into submissions that each take some 20 ms, with at most two under way, so that it can be cancelled;
//! and of at most so many dispatches that the device works on some while the host encodes the next.

use std::collections::VecDeque;
use std::future::Future;
use std::iter::Peekable;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use std::vec::IntoIter;

use bytemuck::Pod;
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::array::Array;
use crate::kernels::scratch;
use crate::memory::view::{COPY_ALIGNMENT, RangeError, View};
use crate::recording::{Command, Dispatch, End, Recording};
use crate::runtime::{Runtime, as_u64};
use crate::submit::Submission;
use crate::transfer::Expected;
use crate::wait::Settled;

/// Submissions that may be under way while the next one is recorded.
const UNDER_WAY_MAX: usize = 2;

/// Dispatches of a step's first submission and of each later one. The host encodes a dispatch in 1 to 2 us, a fast device
/// starts one every 2 us, and a submission costs the host some 15 us: of 1,000 dispatches in one submission each takes
/// 3.4 to 4.3 us, cut into tenths 2.4 to 2.5. A short first one lets the device begin soon.
const DISPATCHES_MAX: [usize; 2] = [32, 128];

/// Kernels to run, in their order. Each sees what those before it wrote.
pub struct Step {
    pub(crate) runtime: Rc<Runtime>,
    pub(crate) recording: Recording,
    /// Whether time alone cuts it.
    pub(crate) is_whole: bool,
    /// Memory for what lies between two kernels of the step, by purpose: used again by later ones.
    kept: Vec<(&'static str, View)>,
}

/// A step that was handed to the device.
///
/// Can be awaited: that needs no thread and no particular executor (`pollster::block_on` will do), and an error comes
/// out when the device is lost or does not answer. Dropping it leaves the step running.
pub struct Pending {
    runtime: Rc<Runtime>,
    submission: Submission,
    started: Option<Instant>,
}

/// A step that was handed to the device together with the copy of its results.
///
/// Owns what it needs and borrows nothing, so the host may do anything meanwhile, other steps included. Dropping it gives the
/// results up; the step runs on.
pub(crate) struct PendingResults {
    runtime: Rc<Runtime>,
    results: Expected,
    work: Vec<(&'static str, u64)>,
    warm: bool,
    started: Instant,
}

/// A submission of a step and what is in it.
struct Part {
    submission: Submission,
    work: Vec<(&'static str, u64)>,
    warm: bool,
    started: Instant,
}

impl Step {
    pub(crate) fn new(runtime: Rc<Runtime>) -> Self {
        Self {
            runtime,
            recording: Recording::default(),
            kept: Vec::new(),
            is_whole: false,
        }
    }

    /// Dispatches of its first submission and of each later one, at most.
    fn dispatches_max(&self) -> [usize; 2] {
        if self.is_whole {
            [usize::MAX; 2]
        } else {
            DISPATCHES_MAX
        }
    }

    /// At least `bytes` of memory for what a kernel writes and the next ones read, until `label` is asked for again.
    ///
    /// # Errors
    /// `LimitExceeded`, `OutOfMemory`, `Cancelled` or `DeviceLost`.
    pub(crate) fn between(
        &mut self,
        label: &'static str,
        bytes: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<View> {
        let enough = |view: &View| as_u64(bytes).is_ok_and(|bytes| view.bytes() >= bytes);
        let kept = self
            .kept
            .iter()
            .find(|(known, view)| *known == label && enough(view));
        if let Some((_, view)) = kept {
            return Ok(view.clone());
        }
        let view = scratch(&self.runtime, label, bytes, keep_waiting)?;
        self.kept.retain(|(known, _)| *known != label);
        self.kept.push((label, view.clone()));
        Ok(view)
    }

    /// Number of kernel runs recorded.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.recording.dispatches().count()
    }

    /// Records a copy of all elements of `source` to the front of `target`, which lies in another buffer.
    ///
    /// # Errors
    /// `InvalidArgument` when `target` is shorter or shares its buffer with `source`.
    pub fn copy<T: Pod>(&mut self, source: &Array<T>, target: &Array<T>) -> Result<()> {
        let (from, to) = (source.view(), target.view());
        if from.buffer().number() == to.buffer().number() {
            return Err(RangeError::Shared.into());
        }
        let to = to.part(0, from.bytes(), COPY_ALIGNMENT)?;
        if from.bytes() > 0 {
            self.recording
                .copy(End::View(from.clone()), End::View(to), from.bytes());
        }
        Ok(())
    }

    /// Runs the step and waits for it. `keep_waiting` is asked between submissions and every few milliseconds.
    ///
    /// # Errors
    /// `Cancelled` (what was submitted runs on), `OutOfMemory`, or `DeviceLost`.
    pub fn run(self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let runtime = Rc::clone(&self.runtime);
        let mut under_way = self.submit_parts(keep_waiting)?;
        while let Some(part) = under_way.pop_front() {
            finish(&runtime, &part, keep_waiting)?;
        }
        runtime.collect_profile()
    }

    /// Runs the step and gives `sink` the elements of `results`, taken together `N` at a time, in order. The last part of the
    /// step and the copy of the results are one submission, so a short step costs one round trip.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub(crate) fn run_and_read<T: Pod, const N: usize>(
        self,
        results: &Array<T>,
        keep_waiting: &mut KeepWaiting<'_>,
        sink: &mut dyn FnMut([T; N]),
    ) -> Result<()> {
        let taken_bytes = N * size_of::<T>();
        let mut take = |bytes: &[u8]| sink(elements_of(bytes));
        let mut cut = Vec::new();
        self.run_and_read_bytes(results, keep_waiting, &mut |bytes| {
            let mut bytes = bytes;
            // A piece may end within elements that belong together.
            if !cut.is_empty() {
                let (part, later) = bytes.split_at((taken_bytes - cut.len()).min(bytes.len()));
                cut.extend_from_slice(part);
                bytes = later;
                if cut.len() == taken_bytes {
                    take(&cut);
                    cut.clear();
                }
            }
            let whole = bytes.chunks_exact(taken_bytes);
            cut.extend_from_slice(whole.remainder());
            whole.for_each(&mut take);
        })
    }

    /// As [`Step::run_and_read`], for all bytes of `results` in order, in pieces.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub(crate) fn run_and_read_bytes<T: Pod>(
        self,
        results: &Array<T>,
        keep_waiting: &mut KeepWaiting<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let runtime = Rc::clone(&self.runtime);
        let (last, before) = self.submit_all_but_last(keep_waiting)?;
        let (work, warm) = work_of(&last);
        let elapsed = runtime.run_and_read(last, results.view(), keep_waiting, sink)?;
        if warm {
            runtime.pace.learn_all(&work, elapsed, !before.is_empty());
        }
        Ok(())
    }

    /// Hands the step and the copy of `results` to the device. Waits only while more than two submissions of it would be under
    /// way.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub(crate) fn submit_and_expect<T: Pod>(
        self,
        results: &Array<T>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<PendingResults> {
        let runtime = Rc::clone(&self.runtime);
        let started = Instant::now();
        let (last, mut work) = self.submit_all_but_last(keep_waiting)?;
        let (of_last, warm) = work_of(&last);
        work.extend(of_last);
        let results = runtime.run_and_expect(last, results.view(), keep_waiting)?;
        Ok(PendingResults {
            runtime,
            results,
            work,
            warm,
            started,
        })
    }

    /// Submits all but the last part of the step; returns that, and the work that is in the others.
    fn submit_all_but_last(
        self,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<(Recording, Vec<(&'static str, u64)>)> {
        let [mut dispatches_max, later_max] = self.dispatches_max();
        let Self {
            runtime, recording, ..
        } = self;
        let mut rest = recording.commands.into_iter().peekable();
        let mut under_way: VecDeque<Submission> = VecDeque::new();
        let mut work = Vec::new();
        loop {
            let part = take_part(&runtime, &mut rest, dispatches_max);
            dispatches_max = later_max;
            if rest.peek().is_none() {
                return Ok((part, work));
            }
            runtime.proceed(keep_waiting)?;
            work.extend(work_of(&part).0);
            under_way.push_back(runtime.submit(part, keep_waiting)?);
            if under_way.len() > UNDER_WAY_MAX
                && let Some(oldest) = under_way.pop_front()
            {
                runtime.wait(&oldest, keep_waiting)?;
            }
        }
    }

    /// Hands the step to the device. Waits only while more than two submissions of it would be under way.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn submit(self, keep_waiting: &mut KeepWaiting<'_>) -> Result<Pending> {
        let runtime = Rc::clone(&self.runtime);
        let last = self.submit_parts(keep_waiting)?.pop_back();
        let submission = match last {
            Some(part) => part.submission,
            None => runtime.submit(Recording::default(), keep_waiting)?,
        };
        Ok(Pending {
            runtime,
            submission,
            started: None,
        })
    }

    /// Submits everything; returns the parts that may not have finished.
    fn submit_parts(self, keep_waiting: &mut KeepWaiting<'_>) -> Result<VecDeque<Part>> {
        let [mut dispatches_max, later_max] = self.dispatches_max();
        let Self {
            runtime, recording, ..
        } = self;
        let mut rest = recording.commands.into_iter().peekable();
        let mut under_way = VecDeque::new();
        while rest.peek().is_some() {
            runtime.proceed(keep_waiting)?;
            let next = take_part(&runtime, &mut rest, dispatches_max);
            dispatches_max = later_max;
            let (work, warm) = work_of(&next);
            let started = Instant::now();
            let submission = runtime.submit(next, keep_waiting)?;
            under_way.push_back(Part {
                submission,
                work,
                warm,
                started,
            });
            if under_way.len() > UNDER_WAY_MAX
                && let Some(oldest) = under_way.pop_front()
            {
                finish(&runtime, &oldest, keep_waiting)?;
                if let Some(next) = under_way.front_mut() {
                    // The device turned to it only now.
                    next.started = Instant::now();
                }
            }
        }
        Ok(under_way)
    }
}

/// Takes what fits one submission off the front: one dispatch at least and `dispatches_max` at most, and the copies
/// before the next.
fn take_part(runtime: &Runtime, rest: &mut Peekable<IntoIter<Command>>, dispatches_max: usize) -> Recording {
    let mut part = Recording::default();
    let (mut share, mut dispatches) = (0.0, 0);
    let mut fits = |command: &Command| {
        let Command::Dispatch(dispatch) = command else {
            return true;
        };
        share += runtime.pace.share(dispatch.pipeline.kernel, dispatch.units);
        dispatches += 1;
        dispatches == 1 || (share <= 1.0 && dispatches <= dispatches_max)
    };
    while let Some(command) = rest.next_if(&mut fits) {
        part.commands.push(command);
    }
    part
}

/// The elements that `bytes` are, of any alignment.
fn elements_of<T: Pod, const N: usize>(bytes: &[u8]) -> [T; N] {
    let mut elements = [T::zeroed(); N];
    bytemuck::cast_slice_mut(&mut elements).copy_from_slice(bytes);
    elements
}

/// What is in `recording`, by kernel, and whether each of its kernels has run before.
fn work_of(recording: &Recording) -> (Vec<(&'static str, u64)>, bool) {
    let work = recording
        .dispatches()
        .map(|dispatch| (dispatch.pipeline.kernel, dispatch.units));
    let warm = |dispatch: &Dispatch| dispatch.pipeline.warm.replace(true);
    (work.collect(), recording.dispatches().all(warm))
}

fn finish(runtime: &Runtime, part: &Part, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
    let was_done = runtime.is_done(&part.submission);
    runtime.wait(&part.submission, keep_waiting)?;
    if part.warm {
        // Work that was done before anyone waited took at most the time until now.
        runtime
            .pace
            .learn_all(&part.work, part.started.elapsed(), was_done);
    }
    Ok(())
}

impl PendingResults {
    /// Waits until the device is done with the step.
    ///
    /// # Errors
    /// `Cancelled` (the step runs on) or `DeviceLost`.
    pub(crate) fn wait(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.runtime.wait(self.results.submission(), keep_waiting)
    }

    /// Waits for the results, and gives `sink` their elements, taken together `N` at a time, in order.
    ///
    /// # Errors
    /// As [`PendingResults::wait`].
    pub(crate) fn take<T: Pod, const N: usize>(
        self,
        keep_waiting: &mut KeepWaiting<'_>,
        sink: &mut dyn FnMut([T; N]),
    ) -> Result<()> {
        let Self { runtime, results, .. } = self;
        runtime.context.poll(None)?;
        let waits = !runtime.is_done(results.submission());
        let mut done = None;
        runtime.take_expected(&results, keep_waiting, &mut |bytes| {
            done = Some(Instant::now());
            let together = bytes.chunks_exact(N * size_of::<T>());
            together.for_each(|bytes| sink(elements_of(bytes)));
        })?;
        if let Some(done) = done {
            // It may have waited for other steps, and been done long before anyone asked.
            let elapsed = runtime.pace.own_time(self.started, done, waits);
            if self.warm {
                runtime.pace.learn_all(&self.work, elapsed, true);
            }
        }
        Ok(())
    }
}

impl Pending {
    /// Whether the step has finished, as of now.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn is_done(&self) -> Result<bool> {
        self.runtime.context.poll(None)?;
        Ok(self.runtime.is_done(&self.submission))
    }

    /// Waits until the step has finished.
    ///
    /// # Errors
    /// `Cancelled` (the step runs on) or `DeviceLost`.
    pub fn wait(self, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.runtime.wait(&self.submission, keep_waiting)?;
        self.runtime.collect_profile()
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        let runtime = Rc::clone(&self.runtime);
        let number = self.submission.number;
        let mut wait: Settled<'_, _> = runtime.settled(|| runtime.context.completed() >= number);
        wait.resume(self.started);
        let outcome = Pin::new(&mut wait).poll(task);
        self.started = wait.started();
        match outcome {
            Poll::Ready(Ok(())) => Poll::Ready(runtime.collect_profile()),
            other => other,
        }
    }
}
