//! The one engine of this backend: opened lazily, dropped before the process exits.
//!
//! Never in the postmaster, a parallel worker or autovacuum; an engine remembers its process and is not used after a
//! fork. It is dropped in `before_shmem_exit`, because destructors of the C library run after PostgreSQL's own exit;
//! a busy or lost GPU is leaked instead, since waiting for it could take for ever. A driver's threads may then be at work
//! while those destructors free what they use, so the process ends without running them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use vectorgpu_compute::{Counters, DeviceChoice, Engine, EngineBuilder, ListCache, Profiling, WaitHook};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::threads;
use crate::guc;
use crate::logging;
use crate::pg::{interrupt, wait_event};

/// How long a failure to open the GPU is remembered.
const BACK_OFF: Duration = Duration::from_secs(10);

/// What decides which engine is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    choice: DeviceChoice,
    allow_software: bool,
    vram_limit_bytes: u64,
    staging_bytes: u64,
    pipeline_cache: bool,
}

/// What this backend's engines have done, and how they ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Engines opened.
    pub(crate) opened: i64,
    /// Of those, lost.
    pub(crate) lost: i64,
    /// The counts of all of them.
    pub(crate) counters: Counters,
}

#[derive(Default)]
struct Slot {
    /// Of the engines that are no longer open.
    past: Totals,
    engine: Option<(Settings, Rc<Engine>)>,
    /// Copies of lists on that engine, once there are some.
    lists: Option<Rc<ListCache>>,
    failure: Option<(Settings, Instant, Error)>,
    /// Who else holds something of the engine.
    holders: Vec<fn(bool)>,
    exit_hooked: bool,
    /// An engine was let go that could not be closed.
    has_leaked: bool,
}

impl Slot {
    fn tell_holders(&mut self) {
        let may_close = self
            .engine
            .as_ref()
            .is_none_or(|(_, engine)| !engine.is_lost() && !engine.is_busy());
        self.holders.drain(..).for_each(|holder| holder(may_close));
    }
}

thread_local! {
    static SLOT: RefCell<Slot> = RefCell::default();
}

/// The backend's engine for `choice`, opened now if need be.
///
/// # Errors
/// `Unsupported` in a process that must not hold GPU objects or without a fitting adapter; what opening reports. A
/// failure is remembered for 10 s, so that a session without a GPU does not look for one at every statement.
pub(crate) fn engine(choice: &DeviceChoice) -> Result<Rc<Engine>> {
    if !interrupt::is_client_backend() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "parallel and background workers do not use the GPU",
        ));
    }
    let settings = settings(choice);
    if let Some(known) = known(&settings) {
        return known.inspect(|engine| engine.set_profiling(profiling()));
    }
    hook_exit();
    let opened = builder(&settings)
        .open()
        .map_err(|error| explained(error, &settings));
    logging::flush();
    SLOT.with_borrow_mut(|slot| match opened {
        Ok(engine) => {
            engine.set_profiling(profiling());
            let engine = Rc::new(engine);
            slot.failure = None;
            slot.past.opened += 1;
            slot.engine = Some((settings, Rc::clone(&engine)));
            Ok(engine)
        }
        Err(error) => {
            slot.failure = Some((settings, Instant::now(), error.clone()));
            Err(error)
        }
    })
}

/// Adds what a user without a usable GPU can do.
fn explained(error: Error, settings: &Settings) -> Error {
    if error.kind() != ErrorKind::Unsupported || error.hint().is_some() {
        return error;
    }
    error.with_hint(if settings.allow_software {
        "SELECT * FROM vectorgpu.devices() lists what there is; vectorgpu.device = auto or cpu needs no GPU."
    } else {
        "vectorgpu.device = auto or cpu needs no GPU; vectorgpu.allow_software_gpu = on lets software Vulkan count, for tests."
    })
}

/// The builder of an engine with the session's settings.
pub(crate) fn session_builder(choice: &DeviceChoice) -> EngineBuilder {
    builder(&settings(choice))
}

/// Whether [`engine`] has nothing to open for `choice`.
pub(crate) fn is_open(choice: &DeviceChoice) -> bool {
    SLOT.with_borrow(|slot| {
        let open = slot.engine.as_ref();
        open.is_some_and(|(open, engine)| open == &settings(choice) && !engine.is_lost())
    })
}

/// Has `let_go` called before the open engine is let go: it frees what it holds of that one or, told false, leaves it for ever,
/// because a busy or lost GPU is not waited for.
pub(crate) fn before_close(let_go: fn(bool)) {
    SLOT.with_borrow_mut(|slot| {
        if !slot
            .holders
            .iter()
            .any(|holder| std::ptr::fn_addr_eq(*holder, let_go))
        {
            slot.holders.push(let_go);
        }
    });
}

/// The engine that is open, if any.
pub(crate) fn open_engine() -> Option<Rc<Engine>> {
    SLOT.with_borrow(|slot| slot.engine.as_ref().map(|(_, engine)| Rc::clone(engine)))
}

/// The copies of lists on `engine`, which is the open one.
pub(crate) fn list_cache(engine: &Engine) -> Rc<ListCache> {
    SLOT.with_borrow_mut(|slot| Rc::clone(slot.lists.get_or_insert_with(|| engine.list_cache())))
}

/// The copies of lists on the open engine, if there are any and it still works.
pub(crate) fn open_list_cache() -> Option<Rc<ListCache>> {
    SLOT.with_borrow(|slot| {
        let (_, engine) = slot.engine.as_ref()?;
        slot.lists.clone().filter(|_| !engine.is_lost())
    })
}

/// What this backend's engines have done, the open one included.
pub(crate) fn totals() -> Totals {
    SLOT.with_borrow(|slot| match &slot.engine {
        Some((_, engine)) => slot.past.with(engine),
        None => slot.past,
    })
}

impl Totals {
    fn with(self, engine: &Engine) -> Self {
        Self {
            lost: self.lost + i64::from(engine.is_lost()),
            counters: self.counters + engine.counters(),
            ..self
        }
    }
}

fn profiling() -> Profiling {
    if guc::PROFILE.get() {
        Profiling::Kernels
    } else {
        Profiling::Off
    }
}

fn settings(choice: &DeviceChoice) -> Settings {
    let megabytes = |value: i32| u64::try_from(value).unwrap_or(1) << 20;
    Settings {
        choice: choice.clone(),
        allow_software: guc::ALLOW_SOFTWARE_GPU.get(),
        vram_limit_bytes: megabytes(guc::VRAM_LIMIT_MB.get()),
        staging_bytes: megabytes(guc::STAGING_MB.get()),
        pipeline_cache: guc::PIPELINE_CACHE.get(),
    }
}

/// The open engine or the recent failure, if it is for these settings. A lost or other engine is let go here.
fn known(settings: &Settings) -> Option<Result<Rc<Engine>>> {
    SLOT.with_borrow_mut(|slot| {
        let fits = slot
            .engine
            .as_ref()
            .is_some_and(|(open, engine)| open == settings && !engine.is_lost());
        if fits {
            return slot.engine.as_ref().map(|(_, engine)| Ok(Rc::clone(engine)));
        }
        slot.tell_holders();
        slot.lists = None;
        if let Some((_, engine)) = slot.engine.take() {
            slot.past = slot.past.with(&engine);
            slot.has_leaked |= engine.is_lost() || engine.is_busy();
        }
        let (failed, at, error) = slot.failure.as_ref()?;
        (failed == settings && at.elapsed() < BACK_OFF).then(|| Err(error.clone()))
    })
}

fn builder(settings: &Settings) -> EngineBuilder {
    quieten_drivers();
    let builder = EngineBuilder::new()
        .device(settings.choice.clone())
        .allow_software(settings.allow_software)
        .vram_limit(settings.vram_limit_bytes)
        .staging(settings.staging_bytes)
        .thread_guard(threads::block_signals)
        .wait_hook(WaitHook {
            begin: wait_event::begin,
            end: wait_event::end,
        });
    if settings.pipeline_cache {
        // The server's working directory is its data directory.
        builder.pipeline_cache("vectorgpu")
    } else {
        builder
    }
}

/// Mesa's device-selection layer writes to stderr, and its shader cache into the service user's home; neither belongs
/// into a server.
fn quieten_drivers() {
    for (name, value) in [("NODEVICE_SELECT", "1"), ("MESA_SHADER_CACHE_DISABLE", "true")] {
        if std::env::var_os(name).is_none() {
            // SAFETY: the backend has one thread until the first engine is open, and this runs before that; later
            // calls find the variable set.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

fn hook_exit() {
    let hooked = SLOT.with_borrow_mut(|slot| std::mem::replace(&mut slot.exit_hooked, true));
    if !hooked {
        // SAFETY: registers a callback of the right type once in this process.
        unsafe { pg_sys::before_shmem_exit(Some(close_at_exit), pg_sys::Datum::from(0)) };
    }
}

/// May run inside a FATAL, under frames that are never unwound: takes nothing that could be borrowed, raises nothing.
unsafe extern "C-unwind" fn close_at_exit(code: i32, _argument: pg_sys::Datum) {
    let closed = catch_unwind(AssertUnwindSafe(|| {
        SLOT.try_with(|slot| {
            let Ok(mut slot) = slot.try_borrow_mut() else {
                return false;
            };
            slot.tell_holders();
            let lists = slot.lists.take();
            let is_closed = slot.engine.take().is_none_or(|(_, engine)| close(engine, lists));
            is_closed && !slot.has_leaked
        })
    }));
    if !matches!(closed, Ok(Ok(true))) {
        EXIT_CODE.store(code, Ordering::Relaxed);
        // SAFETY: registers a function that may run at any time. What is registered last runs first.
        unsafe { libc::atexit(end_at_once) };
    }
}

/// What the process was to exit with.
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// Ends the process before the C library runs the destructors of drivers; PostgreSQL has done all that it does at exit.
extern "C" fn end_at_once() {
    // SAFETY: ends the process.
    unsafe { libc::_exit(EXIT_CODE.load(Ordering::Relaxed)) }
}

/// Closes the engine if that does not have to wait; says whether it did.
fn close(engine: Rc<Engine>, lists: Option<Rc<ListCache>>) -> bool {
    match Rc::try_unwrap(engine) {
        Ok(engine) if !engine.is_lost() && !engine.is_busy() => {
            drop(lists);
            drop(engine);
            return true;
        }
        Ok(engine) => {
            std::mem::forget(lists);
            engine.leak();
        }
        Err(shared) => std::mem::forget((shared, lists)),
    }
    false
}
