//! The server's settings: what memory may be used, settings that others define, and changes for the length of a scope.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

/// `work_mem`, in bytes.
pub(crate) fn work_mem_bytes() -> usize {
    // SAFETY: a setting of this process.
    bytes(unsafe { pg_sys::work_mem })
}

/// `maintenance_work_mem`, in bytes.
pub(crate) fn maintenance_work_mem_bytes() -> usize {
    // SAFETY: a setting of this process.
    bytes(unsafe { pg_sys::maintenance_work_mem })
}

/// `max_parallel_workers`.
pub(crate) fn max_parallel_workers() -> usize {
    // SAFETY: a setting of this process.
    usize::try_from(unsafe { pg_sys::max_parallel_workers }).unwrap_or(0)
}

/// The number of the account that the server runs as.
pub(crate) fn server_user() -> u32 {
    // SAFETY: asks the system, and cannot fail.
    unsafe { libc::geteuid() }
}

/// The text of a setting that nobody may have defined; `None` while it is not set. One that was set for a transaction alone is empty
/// after it.
pub(crate) fn text(name: &CStr) -> Option<CString> {
    // SAFETY: the name is NUL-terminated; NULL where there is no such setting, as `true` asks for, else a text that lives until
    // the next call.
    let value = unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_owned())
    };
    value.filter(|value| !value.is_empty())
}

/// The number that `text` is, as the server reads one for a setting without a unit; `None` where it is none.
pub(crate) fn integer(text: &CStr) -> Option<i32> {
    let mut number = 0;
    // SAFETY: the text is NUL-terminated, the number has a place, and NULL is allowed where no hint is wanted.
    let is_one = unsafe { pg_sys::parse_int(text.as_ptr(), &raw mut number, 0, std::ptr::null_mut()) };
    is_one.then_some(number)
}

/// The server keeps both in kilobytes, 64 at least.
fn bytes(kilobytes: i32) -> usize {
    usize::try_from(kilobytes).unwrap_or(64).saturating_mul(1024)
}

/// Changes of settings; taken back when it is dropped, or by the server where an error ends the statement.
pub(crate) struct SettingScope {
    level: i32,
}

impl SettingScope {
    /// Opens a scope.
    pub(crate) fn open() -> Self {
        // SAFETY: counts up.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        Self { level }
    }

    /// Sets `name` until the scope ends. The server raises its own error for a value that it refuses.
    pub(crate) fn set(&self, name: &CStr, value: i32) {
        let value = CString::new(value.to_string()).expect("digits");
        // SAFETY: both strings are NUL-terminated; a change that is saved belongs to the scope opened last.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

impl Drop for SettingScope {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the level is that of the scope, which ends here and nowhere else.
        unsafe { pg_sys::AtEOXact_GUC(true, self.level) };
    }
}
