//! The type modifiers that PostgreSQL hands to a `typmod_in` function.

use std::ffi::CStr;

use pgrx::Array;
use pgrx::pg_sys;

/// Reads the modifiers as PostgreSQL does, with its errors for what is not an integer.
#[expect(
    unsafe_code,
    reason = "PostgreSQL's own parser of type modifiers has only a C interface"
)]
pub(super) fn integer_modifiers(modifiers: Array<'_, &CStr>) -> Vec<i32> {
    let mut count = 0;
    let array = modifiers.into_array_type().cast_mut();
    // SAFETY: a valid array, which the function only reads; `count` receives the number of integers.
    let first = unsafe { pg_sys::ArrayGetIntegerTypmods(array, &raw mut count) };
    let Ok(count @ 1..) = usize::try_from(count) else {
        return Vec::new();
    };
    // SAFETY: the function returned `count` integers in palloc'd memory.
    unsafe { std::slice::from_raw_parts(first, count) }.to_vec()
}
