//! The pages under the index, as the page algorithms see them.
//!
//! Implementors: PostgreSQL's buffers and generic WAL in the root crate, and [`super::memory::MemoryStore`], which
//! can lose every record after a chosen one.

use std::ops::{Deref, Range};

use crate::cpu::Ahead;
use crate::error::Result;

/// Most pages that one record can change, generic WAL's limit.
pub const RECORD_PAGES: usize = 4;

/// Where a page is.
#[derive(Debug, Clone, Copy)]
pub enum Whereabouts {
    /// In memory, in all likelihood. What was asked for is not yet on its way to the CPU.
    Memory(Ahead),
    /// On its way from the disk.
    Disk,
    /// Not known.
    Unknown,
}

impl Whereabouts {
    /// What can be brought nearer to the CPU.
    pub fn ahead(self) -> Ahead {
        match self {
            Self::Memory(ahead) => ahead,
            Self::Disk | Self::Unknown => Ahead::NONE,
        }
    }
}

/// Locked access to the pages of one index.
///
/// Guards release their page when dropped. A caller takes locks from a list's head towards its tail and the metapage
/// last, and holds none when it calls [`PageStore::pause`].
pub trait PageStore {
    /// A page that others may read too.
    type Shared: Deref<Target = [u8]>;
    /// A page that nobody else reads or writes.
    type Exclusive: Deref<Target = [u8]>;

    /// Locks `block` for reading.
    ///
    /// # Errors
    /// `CorruptIndex` when the index has no such block.
    fn share(&self, block: u32) -> Result<Self::Shared>;

    /// Locks `block` for writing.
    ///
    /// # Errors
    /// `CorruptIndex` when the index has no such block.
    fn exclusive(&self, block: u32) -> Result<Self::Exclusive>;

    /// Changes up to [`RECORD_PAGES`] locked pages as one record: after a crash either all or none of it is there.
    /// `edit` receives the pages' bytes in the order of `pages`.
    ///
    /// # Errors
    /// What the log reports; the pages are then unchanged.
    fn apply(&self, pages: &mut [&mut Self::Exclusive], edit: &mut dyn FnMut(&mut [&mut [u8]]))
    -> Result<()>;

    /// Appends `pages` neighbouring pages of zeroes and returns the first one's block.
    ///
    /// # Errors
    /// What the storage reports.
    fn extend(&self, pages: u32) -> Result<u32>;

    /// Number of pages of the index.
    ///
    /// # Errors
    /// What the storage reports.
    fn blocks(&self) -> Result<u32>;

    /// Finds out where a part of a page that will be read soon lies, and, if it may lie on the disk, has it read from
    /// there. Costs nothing but the asking, and reads nothing.
    fn prefetch(&self, block: u32, part: Range<usize>) -> Whereabouts {
        let _ = (block, part);
        Whereabouts::Unknown
    }

    /// Lets pending interrupts through. Nothing is locked here.
    ///
    /// # Errors
    /// `Cancelled`.
    fn pause(&self) -> Result<()>;
}
