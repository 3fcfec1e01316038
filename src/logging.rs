//! The `log` facade, routed to the server's log.
//!
//! Records may come from a driver's thread, or from inside a GPU call, where the server must not be called. So they
//! are queued, and emitted by the main thread at the extension's boundary. wgpu's own records rank low: what matters
//! of them comes back as an error.

use std::collections::VecDeque;
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};
use pgrx::PgLogLevel;
use pgrx::pg_sys;

/// Records kept until the next flush; more are dropped and counted.
const QUEUE_LENGTH: usize = 256;

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    records: VecDeque::new(),
    dropped: 0,
});
static LOGGER: ServerLog = ServerLog;

struct Queue {
    records: VecDeque<(PgLogLevel, String)>,
    dropped: u64,
}

struct ServerLog;

impl Log for ServerLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Ok(mut queue) = QUEUE.lock() else { return };
        if queue.records.len() == QUEUE_LENGTH {
            queue.dropped += 1;
            return;
        }
        let level = server_level(record.level(), record.target().starts_with("vectorgpu"));
        queue
            .records
            .push_back((level, format!("{}: {}", record.target(), record.args())));
    }

    fn flush(&self) {}
}

/// Installs the facade; called once, when the library is loaded.
pub(crate) fn register() {
    // Another extension in the same process has its own copy of the facade, so this cannot fail; if it did, its
    // logger would serve.
    let installed = log::set_logger(&LOGGER);
    log::set_max_level(LevelFilter::Warn);
    debug_assert!(installed.is_ok());
}

/// Emits what was queued, and takes over the session's log level. Only on the main thread, with no engine borrowed.
pub(crate) fn flush() {
    log::set_max_level(wanted_level());
    let (records, dropped) = {
        let Ok(mut queue) = QUEUE.lock() else { return };
        (
            std::mem::take(&mut queue.records),
            std::mem::take(&mut queue.dropped),
        )
    };
    for (level, text) in records {
        emit(level, text);
    }
    if dropped > 0 {
        emit(
            PgLogLevel::DEBUG1,
            format!("vectorgpu: {dropped} log records were dropped"),
        );
    }
}

fn emit(level: PgLogLevel, text: String) {
    pgrx::ereport!(level, pgrx::PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, text);
}

fn server_level(level: Level, ours: bool) -> PgLogLevel {
    match (level, ours) {
        (Level::Error, true) => PgLogLevel::WARNING,
        (Level::Warn, true) => PgLogLevel::LOG,
        (Level::Error | Level::Warn, false) | (Level::Info, true) => PgLogLevel::DEBUG1,
        (Level::Debug, true) => PgLogLevel::DEBUG2,
        (Level::Info, false) => PgLogLevel::DEBUG3,
        (Level::Trace, true) => PgLogLevel::DEBUG4,
        (Level::Debug | Level::Trace, false) => PgLogLevel::DEBUG5,
    }
}

/// The most talkative level that either the log or the client wants to see.
fn wanted_level() -> LevelFilter {
    // SAFETY: settings of this process, read on its main thread.
    #[expect(unsafe_code, reason = "the server's settings are C globals")]
    let wanted = unsafe { pg_sys::log_min_messages.min(pg_sys::client_min_messages) };
    if wanted <= pg_sys::DEBUG4.cast_signed() {
        LevelFilter::Trace
    } else if wanted <= pg_sys::DEBUG1.cast_signed() {
        LevelFilter::Debug
    } else {
        LevelFilter::Warn
    }
}
