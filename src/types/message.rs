//! The message buffer that a receive function reads from.

use pgrx::datum::Internal;
use pgrx::pg_sys;
use vectorgpu_core::Result;

/// The message that a receive function reads from.
pub(super) struct Message {
    buffer: pg_sys::StringInfo,
}

#[expect(
    unsafe_code,
    reason = "a receive function gets PostgreSQL's message buffer as a raw pointer"
)]
impl Message {
    /// The message in the argument of a receive function.
    pub(super) fn new(buffer: Internal) -> Self {
        let buffer = buffer.unwrap().expect("a receive function is strict");
        Self::over(buffer.cast_mut_ptr())
    }

    /// The message in a valid `buffer`, which nobody else uses meanwhile.
    pub(super) fn over(buffer: pg_sys::StringInfo) -> Self {
        Self { buffer }
    }

    /// Bytes not yet read.
    pub(super) fn remaining(&self) -> usize {
        // SAFETY: the argument of type internal of a receive function is a StringInfo.
        let buffer = unsafe { &*self.buffer };
        usize::try_from(buffer.len - buffer.cursor).unwrap_or(0)
    }

    /// Reads `count` bytes, or raises 08P01 when fewer are left.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let length = i32::try_from(count).unwrap_or(i32::MAX);
        // SAFETY: a StringInfo as above; the function checks the length and moves the cursor.
        let start = unsafe { pg_sys::pq_getmsgbytes(self.buffer, length) };
        // SAFETY: the function returned `count` bytes inside the buffer, which nobody changes during the call.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }

    /// Reads `count` bytes by `read`, or raises 08P01 when fewer are left: not before `read` has seen what is there, as
    /// a reader of single numbers would notice a wrong one first.
    pub(super) fn read(&mut self, count: usize, read: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        let present = count.min(self.remaining());
        read(self.take(present))?;
        self.take(count - present);
        Ok(())
    }
}
