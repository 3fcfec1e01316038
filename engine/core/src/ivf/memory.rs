//! Pages in memory, for tests of the page algorithms: checks lock rules and can lose every record after a chosen one.
//!
//! Single-threaded: a lock that would wait is a broken rule here and panics.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;

use crate::error::{Error, Result};

use super::build::PageSink;
use super::page::PAGE_SIZE;
use super::store::{PageStore, RECORD_PAGES};

type Page = Rc<[u8]>;

/// An index file in memory, with its log.
#[derive(Debug, Default)]
pub struct MemoryStore {
    pages: RefCell<Vec<Page>>,
    base: RefCell<Vec<Page>>,
    log: RefCell<Vec<Vec<(u32, Page)>>>,
    locks: Rc<RefCell<HashMap<u32, i32>>>,
    pauses: Cell<u64>,
}

/// A locked page of a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryPage {
    block: u32,
    exclusive: bool,
    bytes: Page,
    locks: Rc<RefCell<HashMap<u32, i32>>>,
}

impl Deref for MemoryPage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for MemoryPage {
    fn drop(&mut self) {
        let mut locks = self.locks.borrow_mut();
        let count = locks.entry(self.block).or_default();
        *count += if self.exclusive { 1 } else { -1 };
    }
}

impl MemoryStore {
    /// An index file without pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the present state the one that a crash falls back to, and empties the log.
    pub fn checkpoint(&self) {
        self.base.replace(self.pages.borrow().clone());
        self.log.borrow_mut().clear();
    }

    /// Records since the last checkpoint.
    pub fn records(&self) -> usize {
        self.log.borrow().len()
    }

    /// The file as crash recovery leaves it when only the first `records` records reached the disk.
    pub fn recovered(&self, records: usize) -> Self {
        let mut pages = self.base.borrow().clone();
        for record in &self.log.borrow()[..records] {
            for (block, bytes) in record {
                let at = *block as usize;
                while pages.len() <= at {
                    pages.push(zero_page());
                }
                pages[at] = Rc::clone(bytes);
            }
        }
        Self {
            pages: RefCell::new(pages.clone()),
            base: RefCell::new(pages),
            ..Self::default()
        }
    }

    /// Flips bits of a page, as a failing disk would.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn damage(&self, block: u32, at: usize, mask: u8) {
        let mut pages = self.pages.borrow_mut();
        let mut bytes = pages[block as usize].to_vec();
        bytes[at] ^= mask;
        pages[block as usize] = bytes.into();
    }

    /// Whether nothing is locked.
    pub fn pause_is_safe(&self) -> bool {
        self.locks.borrow().values().all(|count| *count == 0)
    }

    /// How often [`PageStore::pause`] was called.
    pub fn pauses(&self) -> u64 {
        self.pauses.get()
    }

    fn lock(&self, block: u32, exclusive: bool) -> Result<MemoryPage> {
        let bytes = self.pages.borrow().get(block as usize).map(Rc::clone);
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("the index has no block {block}")))?;
        let mut locks = self.locks.borrow_mut();
        let count = locks.entry(block).or_default();
        assert!(
            if exclusive { *count == 0 } else { *count >= 0 },
            "block {block} is locked already ({count})"
        );
        *count += if exclusive { -1 } else { 1 };
        Ok(MemoryPage {
            block,
            exclusive,
            bytes,
            locks: Rc::clone(&self.locks),
        })
    }
}

impl PageStore for MemoryStore {
    type Shared = MemoryPage;
    type Exclusive = MemoryPage;

    fn share(&self, block: u32) -> Result<MemoryPage> {
        self.lock(block, false)
    }

    fn exclusive(&self, block: u32) -> Result<MemoryPage> {
        self.lock(block, true)
    }

    fn apply(&self, pages: &mut [&mut MemoryPage], edit: &mut dyn FnMut(&mut [&mut [u8]])) -> Result<()> {
        assert!(pages.len() <= RECORD_PAGES && pages.iter().all(|page| page.exclusive));
        let mut images: Vec<Vec<u8>> = pages.iter().map(|page| page.bytes.to_vec()).collect();
        let mut views: Vec<&mut [u8]> = images.iter_mut().map(Vec::as_mut_slice).collect();
        edit(&mut views);
        let mut record = Vec::with_capacity(pages.len());
        for (page, image) in pages.iter_mut().zip(images) {
            page.bytes = image.into();
            self.pages.borrow_mut()[page.block as usize] = Rc::clone(&page.bytes);
            record.push((page.block, Rc::clone(&page.bytes)));
        }
        self.log.borrow_mut().push(record);
        Ok(())
    }

    fn extend(&self, count: u32) -> Result<u32> {
        let mut pages = self.pages.borrow_mut();
        let first = u32::try_from(pages.len()).expect("a test's index is small");
        for _ in 0..count {
            pages.push(zero_page());
        }
        Ok(first)
    }

    fn blocks(&self) -> Result<u32> {
        Ok(u32::try_from(self.pages.borrow().len()).expect("a test's index is small"))
    }

    fn pause(&self) -> Result<()> {
        assert!(self.pause_is_safe(), "pause with a page locked");
        self.pauses.set(self.pauses.get() + 1);
        Ok(())
    }
}

impl PageSink for &MemoryStore {
    fn append(&mut self, pages: &[u8]) -> Result<()> {
        let mut all = self.pages.borrow_mut();
        all.extend(pages.chunks_exact(PAGE_SIZE).map(Page::from));
        Ok(())
    }
}

fn zero_page() -> Page {
    vec![0; PAGE_SIZE].into()
}
