//! The server's settings: what memory may be used, and changes for the length of a scope.

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
