//! What an index holds, read from its metapage and the lists' head pages.

use crate::error::Result;

use super::layout::{self, ListHead, Meta};
use super::page::NO_BLOCK;
use super::search::list_head_block;
use super::store::PageStore;

/// Numbers of a whole index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Rows, tombstones not counted.
    pub rows: u64,
    /// Lists without a row.
    pub empty_lists: u32,
    /// Rows of the longest list.
    pub longest_list: u64,
    /// Groups that lists own.
    pub groups: u64,
}

/// Reads every list's head page.
///
/// # Errors
/// `CorruptIndex`, `Cancelled`.
pub fn index_stats<S: PageStore>(store: &S, meta: &Meta) -> Result<IndexStats> {
    let (shape, mut stats) = (meta.shape(), IndexStats::default());
    for list in 0..meta.lists {
        store.pause()?;
        let block = list_head_block(store, meta, list)?;
        if block == NO_BLOCK {
            stats.empty_lists += 1;
            continue;
        }
        meta.check_group_block(block, store.blocks()?)?;
        let page = store.share(block)?;
        layout::check_group(&page, block, list, &shape)?;
        let head = ListHead::read(&page);
        stats.rows += head.rows;
        stats.empty_lists += u32::from(head.rows == 0);
        stats.longest_list = stats.longest_list.max(head.rows);
        stats.groups += u64::from(head.groups);
    }
    Ok(stats)
}
