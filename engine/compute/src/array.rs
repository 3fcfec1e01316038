//! Typed arrays in device memory.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;

use crate::memory::view::{RangeError, View};

/// `len` elements of `T` in device memory, one after the other, little-endian.
///
/// Cloning and slicing share the memory; it is given back when the last of them is dropped and the device is done with
/// it. The contents of a new array are unspecified until written.
pub struct Array<T> {
    view: View,
    len: usize,
    storage_alignment: u64,
    element: PhantomData<T>,
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            view: self.view.clone(),
            len: self.len,
            storage_alignment: self.storage_alignment,
            element: PhantomData,
        }
    }
}

impl<T: Pod> Array<T> {
    /// The bytes that `len` elements take: whole words.
    pub(crate) fn bytes_of(len: usize) -> Option<u64> {
        let bytes = len.checked_mul(size_of::<T>())?.checked_next_multiple_of(4)?;
        u64::try_from(bytes).ok()
    }

    /// `len` elements in `view`, which has [`Array::bytes_of`] bytes.
    pub(crate) fn new(view: View, len: usize, storage_alignment: u64) -> Self {
        Self {
            view,
            len,
            storage_alignment,
            element: PhantomData,
        }
    }

    /// The memory, for binding and copying.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The same memory as words.
    pub(crate) fn words(&self) -> Array<u32> {
        let words = usize::try_from(self.view.bytes() / 4).unwrap_or(usize::MAX);
        Array::new(self.view.clone(), words, self.storage_alignment)
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range` as an array of their own, sharing this one's memory.
    ///
    /// # Errors
    /// `OutOfBounds`; `MisalignedOffset` unless the start, in bytes, is a multiple of the device's alignment of
    /// storage bindings (at most 256).
    pub fn slice(&self, range: Range<usize>) -> Result<Self, RangeError> {
        if range == (0..self.len) {
            // With what room there is behind it, so that it is bound as the whole is.
            return Ok(self.clone());
        }
        let len = range.end.saturating_sub(range.start);
        let beyond = RangeError::OutOfBounds {
            end: u64::MAX,
            bytes: self.view.bytes(),
        };
        let start = range
            .start
            .checked_mul(size_of::<T>())
            .and_then(|start| u64::try_from(start).ok());
        let (Some(start), Some(bytes)) = (start, Self::bytes_of(len)) else {
            return Err(beyond);
        };
        let view = self.view.part(start, bytes, self.storage_alignment)?;
        Ok(Self::new(view, len, self.storage_alignment))
    }
}
