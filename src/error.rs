//! The one place where this extension raises a PostgreSQL ERROR.
//!
//! Everything else returns `vectorgpu_core::Result`; the SQL boundary calls [`OrRaise::or_raise`]. Invariant: a raise
//! unwinds the Rust frames up to the `#[pg_guard]` of the callback, and only there becomes PostgreSQL's `ereport`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use vectorgpu_core::{Error, ErrorKind};

/// Leaves Rust with a PostgreSQL ERROR where there is no value to go on with.
pub(crate) trait OrRaise<T> {
    /// The value, or an ERROR with the error's SQLSTATE, message, detail and hint.
    ///
    /// To be called with no engine state borrowed: a pending cancel or terminate is acted on first.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T, Error> {
    #[inline]
    #[track_caller]
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => raise(&error),
        }
    }
}

/// Raises `error`. See [`OrRaise::or_raise`].
#[cold]
#[track_caller]
pub(crate) fn raise(error: &Error) -> ! {
    if error.kind() == ErrorKind::Cancelled {
        // Terminate and cancel have their own wording, and terminate does not return.
        pgrx::check_for_interrupts!();
    }
    let report = ErrorReport::new(sqlstate(error.kind()), error.message().to_owned(), "vectorgpu");
    let report = error.detail().into_iter().fold(report, ErrorReport::set_detail);
    let report = error.hint().into_iter().fold(report, ErrorReport::set_hint);
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Keeps Rust backtraces, with the build machine's paths in them, out of the DETAIL of errors that PostgreSQL raises
/// below us; without this a server started with `RUST_BACKTRACE` set sends them to every client.
/// A developer who wants them starts the server with `RUST_LIB_BACKTRACE=1`.
pub(crate) fn hide_backtraces() {
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        #[expect(
            unsafe_code,
            reason = "the standard library's only switch that pgrx's panic hook obeys"
        )]
        // SAFETY: called from _PG_init, when the process has one thread, so nobody reads the environment meanwhile.
        unsafe {
            std::env::set_var("RUST_LIB_BACKTRACE", "0");
        }
    }
}

fn sqlstate(kind: ErrorKind) -> PgSqlErrorCode {
    match kind {
        ErrorKind::InvalidText => PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
        ErrorKind::DataException => PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        ErrorKind::OutOfRange => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        ErrorKind::InvalidArgument => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        ErrorKind::UndefinedObject => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        ErrorKind::NullNotAllowed => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        ErrorKind::LimitExceeded => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        ErrorKind::Unsupported => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        ErrorKind::OutOfMemory => PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
        ErrorKind::Cancelled => PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        ErrorKind::DeviceLost => PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
        ErrorKind::CorruptIndex => PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED,
        ErrorKind::CorruptFile => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        // Internal, and whatever a later engine adds without telling this table.
        _ => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use pgrx::pg_sys::panic::CaughtError;

    use super::*;

    fn caught(error: &Error) -> (PgSqlErrorCode, String, Option<String>, Option<String>) {
        PgTryBuilder::new(|| raise(error))
            .catch_others(|caught| match caught {
                CaughtError::PostgresError(report)
                | CaughtError::ErrorReport(report)
                | CaughtError::RustPanic { ereport: report, .. } => (
                    report.sql_error_code(),
                    report.message().to_owned(),
                    report.detail().map(str::to_owned),
                    report.hint().map(str::to_owned),
                ),
            })
            .execute()
    }

    #[pg_test]
    fn every_kind_is_raised_with_its_sqlstate() {
        for (kind, code) in [
            (ErrorKind::InvalidText, "22P02"),
            (ErrorKind::DataException, "22000"),
            (ErrorKind::OutOfRange, "22003"),
            (ErrorKind::InvalidArgument, "22023"),
            (ErrorKind::NullNotAllowed, "22004"),
            (ErrorKind::LimitExceeded, "54000"),
            (ErrorKind::Unsupported, "0A000"),
            (ErrorKind::OutOfMemory, "53200"),
            (ErrorKind::Cancelled, "57014"),
            (ErrorKind::DeviceLost, "58000"),
            (ErrorKind::CorruptIndex, "XX002"),
            (ErrorKind::CorruptFile, "XX001"),
            (ErrorKind::Internal, "XX000"),
        ] {
            let error = Error::new(kind, "it is 100% wrong");
            let (raised, message, detail, hint) = caught(&error.clone().with_detail("%s").with_hint("try"));
            assert_eq!(sqlstate_text(raised), code);
            assert_eq!(
                (message.as_str(), detail.as_deref(), hint.as_deref()),
                ("it is 100% wrong", Some("%s"), Some("try"))
            );
            assert_eq!(caught(&error), (raised, message, None, None));
        }
    }

    /// The five characters that PostgreSQL packs into an integer, six bits each.
    fn sqlstate_text(code: PgSqlErrorCode) -> String {
        let packed = u32::from_ne_bytes((code as i32).to_ne_bytes());
        (0..5)
            .filter_map(|at| char::from_u32((packed >> (6 * at) & 0x3f) + u32::from(b'0')))
            .collect()
    }
}
