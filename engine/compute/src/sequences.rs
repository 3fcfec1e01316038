//! Rows of several sequences, and where the keys and values of their positions lie: what attention works on.
//!
//! Must not know models nor who gives out blocks. A layer's cache is blocks of 16 positions of f16; a sequence names its blocks
//! in a table, so they may lie anywhere. Kernels check what tables and rows say against the sizes that are fixed here.

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::array::Array;
use crate::engine::Engine;
use crate::rows::invalid;

/// Positions of a block of the cache.
pub const BLOCK_TOKENS: usize = 16;

/// What a head's numbers come in: eight f16 are what a kernel loads at once.
const OCTET: usize = 8;
/// Most numbers of a head.
const HEAD_MAX: usize = 256;

/// The heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries.
    pub queries: usize,
    /// Heads of keys, and of values; each serves as many heads of queries.
    pub keys: usize,
    /// Numbers of a head.
    pub numbers: usize,
}

impl Heads {
    /// Checks that kernels can work with them.
    ///
    /// # Errors
    /// `InvalidArgument` unless heads of keys divide those of queries and a head has 8 to 256 numbers, a multiple of 8.
    pub fn check(self) -> Result<()> {
        let fits = self.keys > 0 && self.queries > 0 && self.queries.is_multiple_of(self.keys);
        if fits && self.numbers.is_multiple_of(OCTET) && (OCTET..=HEAD_MAX).contains(&self.numbers) {
            return Ok(());
        }
        Err(invalid(format!(
            "{} heads of queries and {} of keys of {} numbers each",
            self.queries, self.keys, self.numbers
        )))
    }

    /// Numbers of a row of queries, keys and values.
    #[must_use]
    pub fn row_numbers(self) -> usize {
        (self.queries + 2 * self.keys) * self.numbers
    }

    /// Heads of queries to a head of keys.
    pub(crate) fn group(self) -> usize {
        self.queries / self.keys
    }
}

/// Where a row of a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RowPlace {
    /// The number of its sequence's block table.
    pub sequence: u32,
    /// Its position in the sequence.
    pub position: u32,
}

/// The rows of a batch and the block tables of their sequences.
#[derive(Clone)]
pub struct Sequences {
    rows: Array<RowPlace>,
    tables: Array<u32>,
    table_blocks: usize,
}

impl Sequences {
    /// `rows`, and `tables` of `table_blocks` blocks for each sequence.
    ///
    /// # Errors
    /// `InvalidArgument` for tables that are not whole, or none.
    pub fn new(rows: Array<RowPlace>, tables: Array<u32>, table_blocks: usize) -> Result<Self> {
        if table_blocks == 0 || tables.is_empty() || !tables.len().is_multiple_of(table_blocks) {
            return Err(invalid(format!(
                "{} blocks are no tables of {table_blocks}",
                tables.len()
            )));
        }
        Ok(Self {
            rows,
            tables,
            table_blocks,
        })
    }

    /// Where each row stands.
    #[must_use]
    pub fn rows(&self) -> &Array<RowPlace> {
        &self.rows
    }

    /// The block tables, one after the other.
    #[must_use]
    pub fn tables(&self) -> &Array<u32> {
        &self.tables
    }

    /// Blocks of a table.
    #[must_use]
    pub fn table_blocks(&self) -> usize {
        self.table_blocks
    }
}

/// How positions turn pairs of a head's numbers.
#[derive(Clone)]
pub struct Turns {
    table: Array<[f32; 2]>,
    pairs: usize,
    adjacent: bool,
}

impl Turns {
    /// `table`, `[positions, pairs]` cosines and sines. A pair are two numbers beside each other if `adjacent`, else a number and
    /// the one `pairs` further; numbers beyond the pairs do not turn.
    ///
    /// # Errors
    /// `InvalidArgument` for a table that is not whole, or none.
    pub fn new(table: Array<[f32; 2]>, pairs: usize, adjacent: bool) -> Result<Self> {
        if pairs == 0 || table.is_empty() || !table.len().is_multiple_of(pairs) {
            return Err(invalid(format!("{} turns of {pairs} pairs", table.len())));
        }
        Ok(Self {
            table,
            pairs,
            adjacent,
        })
    }

    pub(crate) fn table(&self) -> &Array<[f32; 2]> {
        &self.table
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    pub(crate) fn is_adjacent(&self) -> bool {
        self.adjacent
    }

    /// Positions that it has turns for. Rows beyond are not turned.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.table.len() / self.pairs
    }
}

/// Keys and values of a layer: `[blocks, 2, heads of keys, 16, numbers of a head]` f16.
#[derive(Clone)]
pub struct LayerCache {
    heads: Heads,
    blocks: usize,
    words: Array<u32>,
}

impl LayerCache {
    /// The layer's heads.
    #[must_use]
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// Blocks that it has.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Its memory: two f16 to a word.
    #[must_use]
    pub fn words(&self) -> &Array<u32> {
        &self.words
    }

    /// Words of a block.
    #[must_use]
    pub fn block_words(heads: Heads) -> usize {
        heads.keys * BLOCK_TOKENS * heads.numbers
    }
}

impl Engine {
    /// Room for `blocks` blocks of keys and values of a layer, accounted under `label`. The contents are unspecified.
    ///
    /// # Errors
    /// `InvalidArgument` as [`Heads::check`], or for no blocks; as [`Engine::array`].
    pub fn layer_cache(
        &self,
        label: &'static str,
        heads: Heads,
        blocks: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<LayerCache> {
        heads.check()?;
        if blocks == 0 {
            return Err(invalid("a cache of no blocks".to_owned()));
        }
        let words = LayerCache::block_words(heads).saturating_mul(blocks);
        Ok(LayerCache {
            heads,
            blocks,
            words: self.array(label, words, keep_waiting)?,
        })
    }
}
