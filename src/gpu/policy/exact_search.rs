//! Where an exact search computes: like a build, it is one piece of work that has to repay opening a GPU by itself.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use vectorgpu_compute::{CopiedIndex, Engine, IndexCopies, OnFailure};
use vectorgpu_core::backend::is_device_failure;
use vectorgpu_core::estimate::{ExactWork, Rates};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::{Error, Result};

use super::{Job, faster_engine, warn};
use crate::gpu::{calibration, ledger, lifecycle, residency, threads};
use crate::guc::Device;
use crate::pg::interrupt;

/// Account of the blocks that are searched.
const LABEL: &str = "vectorgpu.exact_search";

/// Where an exact search computes.
pub(crate) struct ExactPlace {
    /// `None`: on the CPU.
    copies: Option<IndexCopies>,
    rates: Rates,
    /// The CPU took over.
    fell_back: Rc<Cell<bool>>,
}

impl ExactPlace {
    /// The place of about `work`.
    ///
    /// # Errors
    /// Under `gpu` or an adapter's name: what opening the GPU reports; `Cancelled`.
    pub(crate) fn choose(metric: Metric, work: &ExactWork) -> Result<Self> {
        let mut place = Self::on_cpu();
        if !interrupt::is_client_backend() || !metric.has_products() {
            return Ok(place);
        }
        match Device::chosen() {
            Device::Cpu => {}
            Device::Gpu(choice) => {
                let engine = lifecycle::engine(&choice)?;
                place.copies = Some(copies_on(&engine, metric, work, Box::new(|_| false))?);
            }
            Device::Auto => {
                let estimate = |rates: &Rates| rates.exact_search(work);
                if let Some(engine) = faster_engine(Job::ExactSearch, &estimate, &mut place.rates)? {
                    let fell_back = Rc::clone(&place.fell_back);
                    let on_failure = Box::new(move |error: &Error| {
                        let goes_on = is_device_failure(error);
                        if goes_on {
                            fell_back.set(true);
                            warn(error);
                        }
                        goes_on
                    });
                    place.copies = match copies_on(&engine, metric, work, on_failure) {
                        Err(error) if is_device_failure(&error) => {
                            warn(&error);
                            None
                        }
                        copies => Some(copies?),
                    };
                }
            }
        }
        Ok(place)
    }

    /// The CPU, whatever the session asks for.
    pub(crate) fn on_cpu() -> Self {
        Self {
            copies: None,
            rates: calibration::rates(),
            fell_back: Rc::default(),
        }
    }

    /// What to search blocks through; `None` on the CPU, and from when it took over.
    pub(crate) fn copies(&mut self) -> Option<&mut IndexCopies> {
        if self.fell_back.get() {
            self.copies = None;
        }
        self.copies.as_mut()
    }

    /// Notes what the search took, `work` being what it turned out to be.
    pub(crate) fn close(&self, work: &ExactWork, actual: Duration) {
        let device = match self.copies {
            Some(_) => ledger::Device::Gpu,
            None => ledger::Device::Cpu,
        };
        // Else part of it is the one's, part the other's.
        if !(self.copies.is_some() && self.fell_back.get()) {
            ledger::record(
                Job::ExactSearch,
                device,
                self.rates.exact_search(work),
                actual,
                true,
            );
        }
    }
}

fn copies_on(
    engine: &Engine,
    metric: Metric,
    work: &ExactWork,
    on_failure: OnFailure,
) -> Result<IndexCopies> {
    let rows = CopiedIndex {
        number: residency::new_number(),
        metric,
        // Rounded rows alone: the rows themselves stay here.
        storage: Storage::F16,
        dims: work.dims,
        rows: 0,
        label: LABEL,
    };
    let cache = lifecycle::list_cache(engine);
    let mut copies = IndexCopies::open_passing(&cache, rows, on_failure, &mut interrupt::keep_waiting)?;
    copies.use_crew(threads::search_crew());
    Ok(copies)
}
