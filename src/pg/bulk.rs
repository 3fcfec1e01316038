//! Writes the pages of a new index past the buffer cache, WAL-logged in bulk: a whole fork in order, or, several
//! processes at a time, runs of blocks of a fork that has its final size already.
//!
//! Pages go to the storage manager first and to the WAL right after, so no fsync is needed at the end: a checkpoint
//! that lies between the two knows of the write and syncs it, and a crash replays every record behind its redo point.
//! The checkpointer is told once for all pages of a record that lie in one file, after the last of them: all processes
//! share one queue to it.
//! The relation's file is new, so no buffer can hold an older copy. Source: nbtsort.c and README of nbtree in
//! PostgreSQL 15, whose order (log, write, fsync) this turns round.
//!
//! Nobody may extend a fork beyond others' pages: when md.c opens a later 1 GB segment for extension, it fills up the
//! one before by writing its last block, which another process may just have written. So one process makes the fork
//! as long as it will be, a hole for the most part, and all then write inside it.

use super::version;
use pgrx::pg_sys;
use vectorgpu_core::Result;
use vectorgpu_core::ivf::build::PageSink;
use vectorgpu_core::ivf::page::PAGE_SIZE;

use super::{INVALID_SUBTRANSACTION, interrupt};

/// Pages that one WAL record carries.
const BATCH_PAGES: usize = pg_sys::XLR_MAX_BLOCK_ID as usize;

/// A run of blocks of a relation's fork that is being written in order.
pub(crate) struct BulkFork {
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    logged: bool,
    /// Whether the blocks exist already.
    reserved: bool,
    next_block: u32,
    pages: Vec<AlignedPage>,
}

/// The storage manager may use direct I/O in later releases, which wants aligned memory.
#[repr(C, align(4096))]
#[derive(Clone)]
struct AlignedPage([u8; PAGE_SIZE]);

impl BulkFork {
    /// The empty fork `fork` of `relation`.
    ///
    /// # Safety
    /// `relation` must be open for as long as this value lives, and nobody else may write to the fork.
    pub(crate) unsafe fn new(relation: pg_sys::Relation, fork: pg_sys::ForkNumber::Type) -> Self {
        // SAFETY: the relation is open.
        let logged = fork == pg_sys::ForkNumber::INIT_FORKNUM || unsafe { relation_needs_wal(relation) };
        Self {
            relation,
            fork,
            logged,
            reserved: false,
            next_block: 0,
            pages: Vec::with_capacity(BATCH_PAGES),
        }
    }

    /// The blocks of the main fork from `first_block` on, which [`reserve`] has made room for; `logged` is
    /// [`relation_needs_wal`] of the process that created the relation.
    ///
    /// # Safety
    /// `relation` must be open for as long as this value lives, and nobody else may write to the blocks written here.
    pub(crate) unsafe fn within(relation: pg_sys::Relation, first_block: u32, logged: bool) -> Self {
        Self {
            relation,
            fork: pg_sys::ForkNumber::MAIN_FORKNUM,
            logged,
            reserved: true,
            next_block: first_block,
            pages: Vec::with_capacity(BATCH_PAGES),
        }
    }

    /// Writes what is left and returns the number of pages.
    pub(crate) fn finish(mut self) -> u32 {
        self.flush();
        if self.fork == pg_sys::ForkNumber::INIT_FORKNUM {
            // An unlogged relation is reset from this fork after a crash, so it must be on disk by then.
            // SAFETY: the relation is open and the fork exists.
            unsafe { pg_sys::smgrimmedsync(smgr(self.relation), self.fork) };
        }
        self.next_block
    }

    fn flush(&mut self) {
        if self.pages.is_empty() {
            return;
        }
        let mut blocks: Vec<pg_sys::BlockNumber> = Vec::with_capacity(BATCH_PAGES);
        let last = self.pages.len() - 1;
        for (place, page) in self.pages.iter_mut().enumerate() {
            let bytes = page.0.as_mut_ptr().cast();
            // SAFETY: the page is BLCKSZ bytes long and a page with a header.
            unsafe { pg_sys::PageSetChecksumInplace(bytes, self.next_block) };
            let (reln, fork, block) = (smgr(self.relation), self.fork, self.next_block);
            let ends_file = (block + 1).is_multiple_of(pg_sys::RELSEG_SIZE);
            let untold = place < last && !ends_file;
            // SAFETY: the relation is open and the page BLCKSZ bytes long; `next_block` exists, or is the fork's end.
            unsafe {
                if self.reserved {
                    pg_sys::smgrwrite(reln, fork, block, bytes.cast(), untold);
                } else {
                    pg_sys::smgrextend(reln, fork, block, bytes.cast(), untold);
                }
            }
            blocks.push(self.next_block);
            self.next_block += 1;
        }
        if self.logged {
            let mut pages: Vec<*mut std::ffi::c_char> = self
                .pages
                .iter_mut()
                .map(|page| page.0.as_mut_ptr().cast())
                .collect();
            let count = i32::try_from(pages.len()).expect("at most 32 pages");
            // SAFETY: `blocks` and `pages` have `count` entries; every page has a standard header with a hole.
            unsafe {
                let mut node = version::file_node(self.relation);
                pg_sys::log_newpages(
                    &mut node,
                    self.fork,
                    count,
                    blocks.as_mut_ptr(),
                    pages.as_mut_ptr(),
                    true,
                );
            }
        }
        self.pages.clear();
        interrupt::check();
    }
}

impl PageSink for BulkFork {
    fn append(&mut self, pages: &[u8]) -> Result<()> {
        for page in pages.chunks_exact(PAGE_SIZE) {
            let mut copy = AlignedPage([0; PAGE_SIZE]);
            copy.0.copy_from_slice(page);
            self.pages.push(copy);
            if self.pages.len() == BATCH_PAGES {
                self.flush();
            }
        }
        Ok(())
    }
}

/// Makes the empty main fork of `relation` `blocks` long, at least 1. All of it must then be written by way of
/// [`BulkFork::within`]: the pages are zero until then, and no record says that they exist.
///
/// # Safety
/// `relation` must be open, and nobody else may write to the fork until this returns.
pub(crate) unsafe fn reserve(relation: pg_sys::Relation, blocks: u32) {
    let mut last = AlignedPage([0; PAGE_SIZE]);
    // SAFETY: the relation is open and the page BLCKSZ bytes long.
    unsafe {
        pg_sys::smgrextend(
            smgr(relation),
            pg_sys::ForkNumber::MAIN_FORKNUM,
            blocks - 1,
            last.0.as_mut_ptr().cast(),
            false,
        );
    }
}

fn smgr(relation: pg_sys::Relation) -> pg_sys::SMgrRelation {
    // Asked for each time, because an invalidation may close the storage manager's handle in between.
    // SAFETY: the relation is open.
    unsafe { pg_sys::smgropen(version::file_node(relation), (*relation).rd_backend) }
}

/// `RelationNeedsWAL`: false for unlogged and temporary relations, and for one created in this transaction under
/// `wal_level = minimal`.
///
/// # Safety
/// `relation` must be open.
pub(crate) unsafe fn relation_needs_wal(relation: pg_sys::Relation) -> bool {
    // SAFETY: reads a setting and the open relation's fields.
    unsafe {
        (*(*relation).rd_rel).relpersistence.cast_unsigned() == pg_sys::RELPERSISTENCE_PERMANENT
            && (pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA.cast_signed()
                || ((*relation).rd_createSubid == INVALID_SUBTRANSACTION
                    && version::new_files_in(relation) == INVALID_SUBTRANSACTION))
    }
}
