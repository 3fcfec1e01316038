//! Who holds the bytes of tensors.

use std::ops::Deref;
use std::sync::Arc;

use crate::format::MappedFile;

/// Bytes that several views share.
#[derive(Debug, Clone)]
pub enum TensorBytes {
    /// A file in memory without a copy.
    Mapped(Arc<MappedFile>),
    /// Memory of this process.
    Owned(Arc<Vec<u8>>),
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Owned(bytes) => bytes,
        }
    }
}
