//! What the host gives a step and takes from it, within the step's own submissions.
//!
//! A loop of short steps, of which each goes on with what the one before left on the device, hands over a step before it takes the
//! results of the last: so the device never waits for the host, and the host is told one step late.

use std::marker::PhantomData;

use bytemuck::Pod;
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::array::Array;
use crate::engine::{elements, reserved};
use crate::memory::staging::Source;
use crate::recording::End;
use crate::rows::invalid;
use crate::step::{PendingResults, Step};

/// Results of a step that was handed to the device.
///
/// Borrows nothing, so other steps may be recorded and run meanwhile. Dropping it gives the results up; the step runs on.
pub struct PendingRead<T> {
    results: PendingResults,
    len: usize,
    element: PhantomData<T>,
}

impl Step {
    /// Keeps the step in one submission unless it is long in time: for steps that are handed over while the device is busy with
    /// another, which need no short beginning.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// Records the writing of `elements` to the front of `array`, before what is recorded later. The elements are copied at once.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let array = engine.array("numbers", 2, go_on).unwrap();
    /// let mut step = engine.step();
    /// step.write(&array, &[1.0_f32, 2.0], go_on).unwrap();
    /// assert_eq!(step.run_reading(&array, go_on).unwrap(), [1.0, 2.0]);
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` when they do not fit or are no whole words; `OutOfMemory`, `Cancelled`, `DeviceLost`.
    pub fn write<T: Pod>(
        &mut self,
        array: &Array<T>,
        elements: &[T],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        if elements.len() > array.len() || !bytes.len().is_multiple_of(4) {
            return Err(invalid(format!(
                "{} elements of {} bytes do not fit {}",
                elements.len(),
                size_of::<T>(),
                array.len()
            )));
        }
        let target = End::View(array.view().clone());
        self.runtime
            .stage(&mut self.recording, Source::Bytes(bytes), target, keep_waiting)
    }

    /// Runs the step, and returns the elements of `results` as it leaves them.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn run_reading<T: Pod>(
        self,
        results: &Array<T>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Vec<T>> {
        let mut bytes = reserved(results.view().bytes())?;
        self.run_and_read_bytes(results, keep_waiting, &mut |piece| bytes.extend_from_slice(piece))?;
        elements(results.len(), &bytes)
    }

    /// Hands the step to the device, and has the elements of `results`, as it leaves them, kept for [`PendingRead::take`].
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn submit_reading<T: Pod>(
        self,
        results: &Array<T>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<PendingRead<T>> {
        Ok(PendingRead {
            results: self.submit_and_expect(results, keep_waiting)?,
            len: results.len(),
            element: PhantomData,
        })
    }
}

impl<T: Pod> PendingRead<T> {
    /// Waits until the device is done with the step, and returns the results.
    ///
    /// ```
    /// # use vectorgpu_compute::EngineBuilder;
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let go_on = &mut || true;
    /// let token = engine.array("token", 1, go_on).unwrap();
    /// let mut pending = Vec::new();
    /// for number in [7_u32, 8] {
    ///     let mut step = engine.step().whole();
    ///     step.write(&token, &[number], go_on).unwrap();
    ///     pending.push(step.submit_reading(&token, go_on).unwrap());
    /// }
    /// let taken: Vec<Vec<u32>> = pending.into_iter().map(|read| read.take(go_on).unwrap()).collect();
    /// assert_eq!(taken, [[7], [8]]);
    /// ```
    ///
    /// # Errors
    /// `Cancelled` (the step runs on) or `DeviceLost`.
    pub fn take(self, keep_waiting: &mut KeepWaiting<'_>) -> Result<Vec<T>> {
        let mut elements = Vec::with_capacity(self.len);
        self.results
            .take(keep_waiting, &mut |[element]: [T; 1]| elements.push(element))?;
        elements.truncate(self.len);
        Ok(elements)
    }
}
