//! Keys and values of the tokens so far, in blocks.
//!
//! A block holds [`BLOCK_TOKENS`] positions of one sequence: for each layer and each head of keys, `[position, head]` f16, and the same for
//! values. A sequence names its blocks in order (its block table), so they may lie anywhere, and may come and go. Which are free is
//! bookkeeping (`BlockPool`), which does not know in whose memory they lie.

use half::f16;
use vectorgpu_core::{Error, ErrorKind, Result};

/// Positions of a block, on a device too.
pub use vectorgpu_compute::BLOCK_TOKENS;

/// What a token keeps for later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers.
    pub layers: usize,
    /// Heads of keys and values of a layer.
    pub heads: usize,
    /// Numbers of a head.
    pub head: usize,
}

impl CacheShape {
    /// Bytes that `tokens` tokens take, in whole blocks.
    pub fn bytes(self, tokens: usize) -> u64 {
        (tokens.div_ceil(BLOCK_TOKENS) as u64).saturating_mul((self.block() * size_of::<f16>()) as u64)
    }

    /// Numbers of one head of one layer in a block.
    fn run(self) -> usize {
        BLOCK_TOKENS * self.head
    }

    /// Numbers of a block: keys, then values.
    fn block(self) -> usize {
        2 * self.layers * self.heads * self.run()
    }
}

/// Which blocks are free, wherever they lie.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<u32>,
}

/// Blocks in the host's memory.
#[derive(Debug)]
pub struct KvCache {
    shape: CacheShape,
    numbers: Vec<f16>,
}

/// The blocks of a sequence. A copy names the same ones; they are given back once.
#[derive(Debug, Default, Clone)]
pub struct BlockTable {
    blocks: Vec<u32>,
    tokens: usize,
}

impl BlockTable {
    /// The blocks, in the order of the positions that they hold.
    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// Positions that are written.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Notes that `tokens` more positions are written.
    pub fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}

impl BlockPool {
    /// `blocks` free blocks.
    pub fn new(blocks: u32) -> Self {
        Self {
            free: (0..blocks).rev().collect(),
        }
    }

    /// Blocks that are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Gives `table` room for `tokens` more positions.
    ///
    /// # Errors
    /// `LimitExceeded` when there are not enough free blocks; the table is as it was then.
    pub fn reserve(&mut self, table: &mut BlockTable, tokens: usize) -> Result<()> {
        let wanted = (table.tokens + tokens).div_ceil(BLOCK_TOKENS);
        let more = wanted.saturating_sub(table.blocks.len());
        if more > self.free.len() {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{tokens} tokens need {more} more blocks of the cache, of which {} are free",
                    self.free.len()
                ),
            ));
        }
        let at = self.free.len() - more;
        table.blocks.extend(self.free.drain(at..).rev());
        Ok(())
    }

    /// Takes the blocks of `table` back.
    pub fn release(&mut self, table: BlockTable) {
        self.free.extend(table.blocks);
    }
}

impl KvCache {
    /// `blocks` blocks.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(shape: CacheShape, blocks: u32) -> Result<Self> {
        let wanted = shape.block().saturating_mul(blocks as usize);
        // Zeroed by the system, so memory that no text needs is never touched.
        let numbers = bytemuck::allocation::try_zeroed_vec(wanted)
            .map_err(|()| Error::new(ErrorKind::OutOfMemory, "no memory for keys and values"))?;
        Ok(Self { shape, numbers })
    }

    /// Writes keys and values, `[heads, head]` each, of `position` in `layer`.
    pub fn write(&mut self, table: &BlockTable, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        let of_block = position % BLOCK_TOKENS * shape.head;
        for (kind, numbers) in [keys, values].into_iter().enumerate() {
            for (head, numbers) in numbers.chunks_exact(shape.head).enumerate() {
                let start = self.start(table, position / BLOCK_TOKENS, kind, layer, head) + of_block;
                let out = &mut self.numbers[start..start + shape.head];
                for (out, number) in out.iter_mut().zip(numbers) {
                    *out = f16::from_f32(*number);
                }
            }
        }
    }

    /// The keys of a head in block `number` of a sequence, `[BLOCK_TOKENS, head]`.
    pub fn keys(&self, table: &BlockTable, number: usize, layer: usize, head: usize) -> &[f16] {
        let start = self.start(table, number, 0, layer, head);
        &self.numbers[start..start + self.shape.run()]
    }

    /// The values, as [`Self::keys`].
    pub fn values(&self, table: &BlockTable, number: usize, layer: usize, head: usize) -> &[f16] {
        let start = self.start(table, number, 1, layer, head);
        &self.numbers[start..start + self.shape.run()]
    }

    fn start(&self, table: &BlockTable, number: usize, kind: usize, layer: usize, head: usize) -> usize {
        let shape = self.shape;
        let block = table.blocks[number] as usize * shape.block();
        block + ((kind * shape.layers + layer) * shape.heads + head) * shape.run()
    }
}
