//! Which device a piece of work runs on.
//!
//! `auto` compares estimates (`vectorgpu_core::estimate`) from the machine's measured rates, corrected by what this session's
//! work took. A GPU has to be opened, and an index's lists copied, before a search gains anything: that is done when one
//! piece of work repays it, or what earlier ones would have saved. `gpu` and an adapter's name force the GPU and report
//! its errors; under `auto` a GPU that fails costs one warning and the CPU goes on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use pgrx::pg_sys;
use vectorgpu_compute::{DeviceChoice, Engine, IndexCopies, OnFailure};
use vectorgpu_core::backend::{Backend, Fallback, Meter, Metered, is_device_failure};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::estimate::{AssignmentWork, Choice, Estimate, Rates, Savings};
use vectorgpu_core::ivf::cost::{self, Scan};
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::many::{CheckedLists, ManyCopies};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::ledger::{self, Job};
use super::{calibration, lifecycle, residency, threads};
use crate::guc::{self, Device};
use crate::pg::{interrupt, relation};

mod exact_search;

pub(crate) use exact_search::ExactPlace;

/// How much faster the GPU has to be for a build or an exact search, opening it included.
const CLEARLY_FASTER: f64 = 1.5;
/// Indexes whose savings are known; a session that scans more begins anew.
const ACCOUNTS_MAX: usize = 1024;
/// Of the memory limit, what copies of one index may take so that it counts as fitting.
const FITTING_SHARE: f64 = 0.9;

thread_local! {
    /// By the index's OID.
    static ACCOUNTS: RefCell<HashMap<u32, Savings>> = RefCell::default();
}

/// Searches of one index that are about to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchWork {
    /// Each of them.
    pub(crate) scan: Scan,
    /// How many at once; `None`: one by one, by scans.
    pub(crate) at_once: Option<f64>,
}

impl SearchWork {
    fn job(&self) -> Job {
        match self.at_once {
            Some(_) => Job::Searches,
            None => Job::Scan,
        }
    }

    fn estimate(&self, rates: &Rates) -> Estimate {
        match self.at_once {
            Some(queries) => rates.searches(&self.scan, queries),
            None => rates.search(&self.scan),
        }
    }

    /// Rows of the lists that they read.
    fn rows(&self) -> f64 {
        (cost::probed_rows(&self.scan) * self.at_once.unwrap_or(1.0)).min(self.scan.rows)
    }
}

/// What is to be noted of searches when they have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchBook {
    job: Job,
    device: ledger::Device,
    /// What they were estimated to take, before corrections.
    pub(crate) estimate: Estimate,
}

impl SearchBook {
    /// The book of `work`, which is about to be done in the same place.
    pub(crate) fn of(&self, work: &SearchWork) -> Self {
        Self {
            estimate: work.estimate(&calibration::rates()),
            ..*self
        }
    }

    /// Notes what they took; `once` says that something was done that later ones need not do, like copying lists.
    pub(crate) fn close(&self, actual: Duration, once: bool) {
        ledger::record(self.job, self.device, self.estimate, actual, !once);
    }

    /// Whether they began on the GPU.
    pub(crate) fn is_on_gpu(&self) -> bool {
        self.device == ledger::Device::Gpu
    }
}

/// Where a scan computes.
pub(crate) struct ScanPlace {
    /// The copies that it searches; `None`: it reads the pages.
    pub(crate) copies: Option<IndexCopies>,
    /// Why, for the user.
    pub(crate) why: &'static str,
    pub(crate) book: SearchBook,
}

/// Where a scan of `index` computes.
///
/// # Errors
/// Under `gpu` or an adapter's name: what opening the GPU reports; `Cancelled`.
///
/// # Safety
/// `index` is open.
pub(crate) unsafe fn scan_place(
    index: pg_sys::Relation,
    meta: &Meta,
    work: &SearchWork,
) -> Result<ScanPlace> {
    let rates = calibration::rates();
    let placed = |copies: Option<IndexCopies>, why| {
        let device = match &copies {
            Some(_) => ledger::Device::Gpu,
            None => ledger::Device::Cpu,
        };
        let (job, estimate) = (work.job(), work.estimate(&rates));
        let book = SearchBook {
            job,
            device,
            estimate,
        };
        ScanPlace { copies, why, book }
    };
    if !interrupt::is_client_backend() {
        return Ok(placed(None, "workers do not use the GPU"));
    }
    if !meta.has_products() {
        return Ok(placed(None, "distances of this kind are computed on the CPU"));
    }
    match Device::chosen() {
        Device::Cpu => Ok(placed(None, "vectorgpu.device is cpu")),
        Device::Gpu(choice) => {
            // SAFETY: as the caller's.
            let copies = unsafe { residency::copies(index, meta, &choice, Box::new(|_| false)) }?;
            Ok(placed(Some(copies), "vectorgpu.device asks for the GPU"))
        }
        Device::Auto => {
            // SAFETY: as the caller's.
            let oid = unsafe { relation::oid(index) };
            // SAFETY: as the caller's.
            let why = match unsafe { choose(index, oid, meta, work) }? {
                Ok(why) => why,
                Err(why) => return Ok(placed(None, why)),
            };
            let on_failure = Box::new(move |error: &Error| go_on(oid, error));
            // SAFETY: as the caller's.
            match unsafe { residency::copies(index, meta, &DeviceChoice::Auto, on_failure) } {
                Ok(copies) => {
                    account(oid, Savings::succeeded);
                    Ok(placed(Some(copies), why))
                }
                Err(error) if go_on(oid, &error) => Ok(placed(None, "the GPU failed")),
                Err(error) => Err(error),
            }
        }
    }
}

/// Whether `auto` takes the GPU for `work`, or not, and why.
///
/// # Safety
/// `index` is open, and `oid` its number.
unsafe fn choose(
    index: pg_sys::Relation,
    oid: pg_sys::Oid,
    meta: &Meta,
    work: &SearchWork,
) -> Result<std::result::Result<&'static str, &'static str>> {
    // SAFETY: as the caller's.
    let resident = unsafe { residency::resident_share(index, meta) };
    let assumed = calibration::rates();
    match choose_by(oid, work, resident, &assumed) {
        Choice::CpuFaster => return Ok(Err("the CPU is estimated to be faster")),
        Choice::NotWorthwhile => {
            return Ok(Err("opening and filling a GPU would not have paid off yet"));
        }
        Choice::Gpu => {}
    }
    let engine = match lifecycle::engine(&DeviceChoice::Auto) {
        Ok(engine) => engine,
        // Whether there is a GPU is not known before.
        Err(error) if is_device_failure(&error) => {
            account(oid, Savings::failed);
            return Ok(Err("no GPU could be opened"));
        }
        Err(error) => return Err(error),
    };
    let measured = match calibration::rates_with(&engine) {
        Err(error) if go_on(oid, &error) => return Ok(Err("the GPU failed")),
        measured => measured?,
    };
    if measured != assumed && choose_by(oid, work, resident, &measured) != Choice::Gpu {
        return Ok(Err("the GPU turned out slower than assumed"));
    }
    Ok(Ok(if resident > 0.0 {
        "lists of the index are in GPU memory, and it is estimated to be faster"
    } else {
        "the GPU is estimated to be faster, copying lists included"
    }))
}

/// What the account of an index says, of whose lists the share `resident` has copies.
fn choose_by(oid: pg_sys::Oid, work: &SearchWork, resident: f64, rates: &Rates) -> Choice {
    let estimate = ledger::corrected(work.job(), work.estimate(rates));
    if estimate.saved_s() <= 0.0 {
        return Choice::CpuFaster;
    }
    let opening = if lifecycle::is_open(&DeviceChoice::Auto) {
        0.0
    } else {
        rates.gpu.start_s
    };
    let copying = |rows: f64| opening + (1.0 - resident) * rates.copying_s(rows, work.scan.dims);
    let bytes = work.scan.rows * f64::from(work.scan.dims) * 2.0;
    let limit = f64::from(guc::VRAM_LIMIT_MB.get()) * f64::from(1 << 20);
    let all_s = if bytes < limit * FITTING_SHARE {
        copying(work.scan.rows)
    } else {
        f64::INFINITY
    };
    account(oid, |savings| {
        savings.choose(estimate, copying(work.rows()), all_s)
    })
}

fn account<T>(index: pg_sys::Oid, act: impl FnOnce(&mut Savings) -> T) -> T {
    ACCOUNTS.with_borrow_mut(|accounts| {
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(&index.to_u32()) {
            accounts.clear();
        }
        act(accounts.entry(index.to_u32()).or_default())
    })
}

/// Where many searches at once compute.
pub(crate) struct ManyPlace {
    /// The copies that they search; `None`: they read the pages.
    pub(crate) copies: Option<ManyCopied>,
    /// Why there, for the user.
    pub(crate) why: &'static str,
    pub(crate) book: SearchBook,
}

/// Copies on a GPU of an index.
pub(crate) struct ManyCopied {
    pub(crate) lists: IndexCopies,
    pub(crate) centroids: IndexCopies,
    crew: Crew,
}

impl ManyCopied {
    /// Both, searched by the session's crew.
    fn new(mut lists: IndexCopies, mut centroids: IndexCopies) -> Self {
        let crew = threads::search_crew();
        lists.use_crew(crew);
        centroids.use_crew(crew);
        Self {
            lists,
            centroids,
            crew,
        }
    }

    /// Both, to be searched under the snapshot of `checked`.
    pub(crate) fn both<'a>(&'a mut self, checked: &'a mut CheckedLists) -> ManyCopies<'a> {
        ManyCopies {
            lists: &mut self.lists,
            centroids: Some(&mut self.centroids),
            checked,
            crew: self.crew,
        }
    }
}

impl ManyPlace {
    /// Goes on without the GPU, which has failed.
    pub(crate) fn give_up(&mut self) {
        self.copies = None;
        self.why = "the GPU failed";
        self.book.device = ledger::Device::Cpu;
    }
}

/// Where many searches at once of an open `index` compute.
///
/// # Errors
/// As [`scan_place`].
pub(crate) fn many_place(index: pg_sys::Relation, meta: &Meta, work: &SearchWork) -> Result<ManyPlace> {
    // SAFETY: the caller's index is open.
    let (place, oid) = unsafe { (scan_place(index, meta, work)?, relation::oid(index)) };
    let in_pages = |why| {
        let device = ledger::Device::Cpu;
        let book = SearchBook { device, ..place.book };
        let copies = None;
        Ok(ManyPlace { copies, why, book })
    };
    let Some(lists) = place.copies else {
        return in_pages(place.why);
    };
    let (choice, on_failure) = gpu_of_session(oid);
    // SAFETY: the caller's index is open.
    match unsafe { residency::centroid_copies(index, meta, &choice, on_failure) } {
        Ok(centroids) => Ok(ManyPlace {
            copies: Some(ManyCopied::new(lists, centroids)),
            why: place.why,
            book: place.book,
        }),
        Err(error) if Device::chosen() == Device::Auto && go_on(oid, &error) => in_pages("the GPU failed"),
        Err(error) => Err(error),
    }
}

/// The copies that are to be made of all lists of `index`.
///
/// # Errors
/// `Unsupported` under `cpu`; what opening the GPU reports.
pub(crate) fn prewarm_copies(index: pg_sys::Relation, meta: &Meta) -> Result<IndexCopies> {
    // SAFETY: the caller's index is open.
    let oid = unsafe { relation::oid(index) };
    if !meta.has_products() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the CPU computes the {}, and keeps no copies of lists",
                meta.metric.words()
            ),
        ));
    }
    if Device::chosen() == Device::Cpu {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "vectorgpu.device is cpu, which keeps no copies of lists",
        )
        .with_hint("SET vectorgpu.device = auto, or gpu."));
    }
    let (choice, on_failure) = gpu_of_session(oid);
    // SAFETY: the caller's index is open.
    unsafe { residency::copies(index, meta, &choice, on_failure) }
}

/// The GPU that searches of an index use where they use one, and what becomes of a failure: an error where the session forces
/// the GPU, else the CPU takes over.
fn gpu_of_session(index: pg_sys::Oid) -> (DeviceChoice, OnFailure) {
    match Device::chosen() {
        Device::Gpu(choice) => (choice, Box::new(|_| false)),
        Device::Auto | Device::Cpu => (DeviceChoice::Auto, Box::new(move |error| go_on(index, error))),
    }
}

/// Whether the CPU takes over after `error` in a search of an index; warns.
fn go_on(index: pg_sys::Oid, error: &Error) -> bool {
    let goes_on = is_device_failure(error);
    if goes_on {
        account(index, Savings::failed);
        warn(error);
    }
    goes_on
}

fn warn(error: &Error) {
    pgrx::warning!("the GPU failed and the CPU goes on: {error}");
}

/// Notes at its end what a build's assignments took.
pub(crate) struct BuildBook {
    job: Job,
    device: ledger::Device,
    rates: Rates,
    meter: Meter,
    /// The CPU took over, and the time is no device's.
    fell_back: Rc<Cell<bool>>,
}

impl BuildBook {
    /// If the work began on the GPU: for how long it pays to wait for the GPU rather than do `work` on the CPU, in seconds.
    /// Infinite where the GPU is asked for.
    pub(crate) fn patience_s(&self, work: AssignmentWork) -> Option<f64> {
        match (self.device, Device::chosen()) {
            (ledger::Device::Cpu, _) => None,
            (ledger::Device::Gpu, Device::Gpu(_)) => Some(f64::INFINITY),
            (ledger::Device::Gpu, _) => Some(self.rates.assignment(work).cpu_s),
        }
    }

    /// Notes what was done.
    pub(crate) fn close(self) {
        let (work, time) = self.meter.read();
        if !self.fell_back.get() {
            ledger::record(self.job, self.device, self.rates.assignment(work), time, true);
        }
    }
}

/// The backend for k-means and assignments of about `work`, and the book to close after it.
///
/// # Errors
/// As [`scan_place`].
pub(crate) fn build_backend(job: Job, work: AssignmentWork) -> Result<(Box<dyn Backend>, BuildBook)> {
    let mut book = BuildBook {
        job,
        device: ledger::Device::Cpu,
        rates: calibration::rates(),
        meter: Meter::default(),
        fell_back: Rc::default(),
    };
    let backend: Box<dyn Backend> = match Device::chosen() {
        _ if !interrupt::is_client_backend() => Box::new(CpuBackend::new()),
        Device::Cpu => Box::new(CpuBackend::new()),
        Device::Gpu(choice) => {
            book.device = ledger::Device::Gpu;
            Box::new(lifecycle::engine(&choice)?.backend())
        }
        Device::Auto => match faster_engine(job, &|rates| rates.assignment(work), &mut book.rates)? {
            Some(engine) => {
                book.device = ledger::Device::Gpu;
                let fell_back = Rc::clone(&book.fell_back);
                let on_failure = Box::new(move |error: &Error| {
                    fell_back.set(true);
                    warn(error);
                });
                let (gpu, cpu) = (Box::new(engine.backend()), Box::new(CpuBackend::new()));
                Box::new(Fallback::new(gpu, cpu, on_failure))
            }
            None => Box::new(CpuBackend::new()),
        },
    };
    Ok((Box::new(Metered::new(backend, book.meter.clone())), book))
}

/// The GPU, where it is clearly faster for a piece of work with this estimate; `rates` are those that were measured, then.
fn faster_engine(
    job: Job,
    estimate: &dyn Fn(&Rates) -> Estimate,
    rates: &mut Rates,
) -> Result<Option<Rc<Engine>>> {
    let is_faster = |rates: &Rates, opening_s: f64| {
        let estimate = ledger::corrected(job, estimate(rates));
        let faster = estimate.cpu_s > CLEARLY_FASTER * (estimate.gpu_s + opening_s);
        log::debug!(
            target: "vectorgpu::policy",
            "{}: {:.2} s on the CPU, {:.2} s and {opening_s:.2} s for opening it on a GPU",
            job.name(), estimate.cpu_s, estimate.gpu_s
        );
        faster
    };
    let is_open = lifecycle::is_open(&DeviceChoice::Auto);
    let opening_s = if is_open { 0.0 } else { rates.gpu.start_s };
    if !is_faster(rates, opening_s) {
        return Ok(None);
    }
    let Ok(engine) = lifecycle::engine(&DeviceChoice::Auto) else {
        return Ok(None);
    };
    match calibration::rates_with(&engine) {
        Ok(measured) => *rates = measured,
        Err(error) if is_device_failure(&error) => {
            warn(&error);
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    Ok(is_faster(rates, 0.0).then_some(engine))
}
