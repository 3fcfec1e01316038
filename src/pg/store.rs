//! The index's pages: PostgreSQL's buffers, locks and generic WAL behind [`PageStore`].

use std::cell::Cell;
use std::ops::{Deref, Range};
use std::rc::Rc;
use std::slice;

use pgrx::pg_sys;
use vectorgpu_core::cpu::Ahead;
use vectorgpu_core::ivf::page::{self, PAGE_SIZE};
use vectorgpu_core::ivf::store::{PageStore, RECORD_PAGES, Whereabouts};
use vectorgpu_core::{Error, Result};

use super::recent::RecentBuffers;
use super::{INVALID_SUBTRANSACTION, buffers, interrupt};

const _: () = assert!(
    pg_sys::BLCKSZ as usize == PAGE_SIZE,
    "pages of another size are not supported"
);
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(pg_sys::PageHeaderData, pd_lower) == 12);
    assert!(offset_of!(pg_sys::PageHeaderData, pd_upper) == 14);
    assert!(offset_of!(pg_sys::PageHeaderData, pd_special) == 16);
    assert!(offset_of!(pg_sys::PageHeaderData, pd_pagesize_version) == 18);
    assert!(offset_of!(pg_sys::PageHeaderData, pd_linp) == 24);
    assert!(pg_sys::PG_PAGE_LAYOUT_VERSION == 4);
};

/// The main fork of an open index.
pub(crate) struct PgStore {
    index: pg_sys::Relation,
    strategy: pg_sys::BufferAccessStrategy,
    known_blocks: Cell<u32>,
    recent: Option<Rc<RecentBuffers>>,
    /// Page reads for which it still counts that one had to wait for the disk.
    cold_reads: Cell<u32>,
}

/// So many reads after the last one that had to wait for the disk, pages are no longer read ahead.
const COLD_READS: u32 = 256;

/// A pinned, share-locked page.
pub(crate) struct SharedPage(LockedBuffer);

/// A pinned, exclusively locked page.
pub(crate) struct ExclusivePage(LockedBuffer);

struct LockedBuffer {
    buffer: pg_sys::Buffer,
    page: *const u8,
}

impl PgStore {
    /// The pages of `index`, which stays open and locked for as long as the store is used.
    ///
    /// # Safety
    /// `index` must be an open index relation that outlives the store; `strategy` is NULL or lives as long.
    pub(crate) unsafe fn new(index: pg_sys::Relation, strategy: pg_sys::BufferAccessStrategy) -> Self {
        Self {
            index,
            strategy,
            known_blocks: Cell::new(0),
            recent: None,
            cold_reads: Cell::new(0),
        }
    }

    /// Looks for pages first where they were last.
    pub(crate) fn use_recent(&mut self, recent: Rc<RecentBuffers>) {
        self.recent = Some(recent);
    }

    fn lock(&self, block: u32, mode: u32) -> Result<LockedBuffer> {
        if block >= self.known_blocks.get() && block >= self.blocks()? {
            return Err(Error::corrupt(format!(
                "the index points to block {block} and has {} blocks",
                self.known_blocks.get()
            ))
            .with_hint("REINDEX the index."));
        }
        let buffer = self.pin_and_lock(block, mode);
        // SAFETY: `buffer` is pinned.
        let page = unsafe { pg_sys::BufferGetPage(buffer) }.cast::<u8>().cast_const();
        Ok(LockedBuffer { buffer, page })
    }

    /// Pins and locks the buffer of `block`, which exists.
    fn pin_and_lock(&self, block: u32, mode: u32) -> pg_sys::Buffer {
        if let Some(recent) = &self.recent {
            // SAFETY: `new`'s caller keeps the relation open; the block exists, and is locked by nobody but its guard.
            if let Some(buffer) = unsafe { recent.lock(self.index, block, mode) } {
                return buffer;
            }
        }
        let buffer = self.read(block);
        // SAFETY: `buffer` was pinned just now and is not locked by this backend.
        unsafe { pg_sys::LockBuffer(buffer, mode.cast_signed()) };
        buffer
    }

    /// Pins the buffer of `block`, which is looked up and, if need be, read.
    fn read(&self, block: u32) -> pg_sys::Buffer {
        let read_before = blocks_read();
        // SAFETY: `new`'s caller keeps the relation open; the block exists.
        let buffer = unsafe {
            pg_sys::ReadBufferExtended(
                self.index,
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            )
        };
        if let Some(recent) = &self.recent {
            recent.note(block, buffer);
        }
        if blocks_read() == read_before {
            self.cold_reads.set(self.cold_reads.get().saturating_sub(1));
        } else {
            self.cold_reads.set(COLD_READS);
        }
        buffer
    }

    /// Has the server read `block` from the disk without waiting for it, where pages are coming from there and the index
    /// is known to have it. Asking for a page that is in the cache already costs a look-up, so that is not done else.
    fn read_ahead(&self, block: u32) -> Whereabouts {
        // SAFETY: a setting of this process, or of the tablespace of the open relation.
        let concurrency =
            || unsafe { pg_sys::get_tablespace_io_concurrency((*(*self.index).rd_rel).reltablespace) };
        if self.cold_reads.get() == 0 || block >= self.known_blocks.get() || concurrency() == 0 {
            return Whereabouts::Unknown;
        }
        // SAFETY: `new`'s caller keeps the relation open; the block exists.
        unsafe { pg_sys::PrefetchBuffer(self.index, pg_sys::ForkNumber::MAIN_FORKNUM, block) };
        Whereabouts::Disk
    }

    fn is_local(&self) -> bool {
        // SAFETY: `new`'s caller keeps the relation open.
        unsafe { (*self.index).rd_islocaltemp || (*self.index).rd_createSubid != INVALID_SUBTRANSACTION }
    }
}

/// Pages that this process has waited for.
fn blocks_read() -> i64 {
    // SAFETY: a counter of this process.
    unsafe { pg_sys::pgBufferUsage.shared_blks_read }
}

impl Deref for LockedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the page is pinned and locked for as long as `self` lives, and BLCKSZ bytes long.
        unsafe { slice::from_raw_parts(self.page, PAGE_SIZE) }
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pinned and locked by `lock`, released once.
            unsafe { buffers::unlock(self.buffer) }
        }
    }
}

impl Deref for SharedPage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for ExclusivePage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl PageStore for PgStore {
    type Shared = SharedPage;
    type Exclusive = ExclusivePage;

    fn share(&self, block: u32) -> Result<SharedPage> {
        self.lock(block, pg_sys::BUFFER_LOCK_SHARE).map(SharedPage)
    }

    fn exclusive(&self, block: u32) -> Result<ExclusivePage> {
        self.lock(block, pg_sys::BUFFER_LOCK_EXCLUSIVE).map(ExclusivePage)
    }

    fn apply(&self, pages: &mut [&mut ExclusivePage], edit: &mut dyn FnMut(&mut [&mut [u8]])) -> Result<()> {
        assert!(
            pages.len() <= RECORD_PAGES,
            "a generic WAL record changes at most 4 pages"
        );
        // SAFETY: the relation is open; the state is finished below, or freed with its memory context on error.
        let state = unsafe { pg_sys::GenericXLogStart(self.index) };
        let mut images: Vec<&mut [u8]> = Vec::with_capacity(RECORD_PAGES);
        for locked in pages.iter() {
            let is_new = page::is_new(locked);
            let flags = if is_new {
                pg_sys::GENERIC_XLOG_FULL_IMAGE
            } else {
                0
            };
            // SAFETY: the buffer is pinned and exclusively locked; each is registered once.
            let image =
                unsafe { pg_sys::GenericXLogRegisterBuffer(state, locked.0.buffer, flags.cast_signed()) };
            // SAFETY: the image is a private copy of BLCKSZ bytes, one for each buffer, valid until Finish.
            images.push(unsafe { slice::from_raw_parts_mut(image.cast::<u8>(), PAGE_SIZE) });
        }
        edit(&mut images);
        // SAFETY: `state` was started above and its buffers are still locked.
        unsafe { pg_sys::GenericXLogFinish(state) };
        Ok(())
    }

    fn extend(&self, pages: u32) -> Result<u32> {
        let lock = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        if !self.is_local() {
            // SAFETY: the relation is open.
            unsafe { pg_sys::LockRelationForExtension(self.index, lock) };
        }
        let first = self.blocks()?;
        for _ in 0..pages {
            // SAFETY: under the extension lock; the new page is zeroed by the server.
            unsafe {
                let buffer = pg_sys::ReadBufferExtended(
                    self.index,
                    pg_sys::ForkNumber::MAIN_FORKNUM,
                    pg_sys::InvalidBlockNumber,
                    pg_sys::ReadBufferMode::RBM_NORMAL,
                    self.strategy,
                );
                pg_sys::ReleaseBuffer(buffer);
            }
        }
        if !self.is_local() {
            // SAFETY: locked above.
            unsafe { pg_sys::UnlockRelationForExtension(self.index, lock) };
        }
        self.known_blocks.set(first + pages);
        Ok(first)
    }

    fn blocks(&self) -> Result<u32> {
        // SAFETY: the relation is open.
        let blocks =
            unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.index, pg_sys::ForkNumber::MAIN_FORKNUM) };
        self.known_blocks.set(blocks);
        Ok(blocks)
    }

    fn prefetch(&self, block: u32, part: Range<usize>) -> Whereabouts {
        let Some(buffer) = self.recent.as_ref().and_then(|recent| recent.last(block)) else {
            return self.read_ahead(block);
        };
        if part.is_empty() {
            return Whereabouts::Memory(Ahead::NONE);
        }
        // Pinning it touches its descriptor.
        // SAFETY: shared buffers are numbered from 1 and each has a descriptor, which is not read here.
        let descriptor = unsafe { pg_sys::BufferDescriptors.wrapping_add(buffer as usize - 1) };
        Ahead::new(descriptor.cast(), size_of::<pg_sys::BufferDescPadded>()).ask_all();
        // SAFETY: a buffer's memory is there whatever it holds, and it is not read here.
        let page = unsafe { pg_sys::BufferGetPage(buffer) }.cast::<u8>().cast_const();
        Whereabouts::Memory(Ahead::new(page.wrapping_add(part.start), part.len()))
    }

    fn pause(&self) -> Result<()> {
        interrupt::check();
        Ok(())
    }
}
