//! The one error type of the engine crates.
//!
//! A kind per SQLSTATE that the extension raises; only the root crate turns a kind into a SQLSTATE.

use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Malformed text input (22P02).
    InvalidText,
    /// Wrong dimensions, NaN, infinity, malformed wire data (22000).
    DataException,
    /// A number outside its type's range (22003).
    OutOfRange,
    /// An argument or option outside its domain (22023).
    InvalidArgument,
    /// A name that nothing has (42704).
    UndefinedObject,
    /// A NULL where none is allowed (22004).
    NullNotAllowed,
    /// A value beyond a fixed limit, or not enough working memory for the settings (54000).
    LimitExceeded,
    /// The machine or the format does not offer it (0A000).
    Unsupported,
    /// Memory of the host or the GPU is exhausted (53200).
    OutOfMemory,
    /// The caller's keep-waiting closure said stop (57014 once interrupts are processed).
    Cancelled,
    /// The GPU was lost or did not answer in time (58000).
    DeviceLost,
    /// A page that fails its checks (XX002).
    CorruptIndex,
    /// A model file that is damaged, or says what cannot be (XX001).
    CorruptFile,
    /// A broken invariant of ours (XX000).
    Internal,
}

/// An error with PostgreSQL's three parts: message, detail (facts), hint (the next step).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// A result with the engine's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error; the message is lower-case, without a full stop, and carries the numbers.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// Adds facts that would make the message too long.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A page that fails its checks.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::CorruptIndex, message)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, lower-case, without a full stop.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Facts beyond the message.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The user's next step.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
