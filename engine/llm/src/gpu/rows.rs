//! The rows of a pass as a device does them: texts that read one token first, then those that read more, in tiles.
//!
//! Pure bookkeeping over parts. Invariant: every block that a table names is one of the cache's.

use vectorgpu_compute::{BLOCK_TOKENS, RowPlace, Tile};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::batch::{self, Part};

/// What the arrangement depends on beside the parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Blocks of the cache.
    pub(super) blocks: usize,
    /// Blocks of a table.
    pub(super) table_blocks: usize,
    /// Rows of a tile; `None` where many rows of a text are done one by one.
    pub(super) tile_rows: Option<usize>,
    /// Whether single rows store their own keys and values.
    pub(super) own: bool,
}

/// The rows of a pass.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    /// Of each row, its token.
    pub(super) tokens: Vec<u32>,
    pub(super) places: Vec<RowPlace>,
    /// A table for each part.
    pub(super) tables: Vec<u32>,
    /// So many rows are the only ones of their texts, and come first.
    pub(super) singles: usize,
    /// What the others are cut into; none where they are done one by one.
    pub(super) tiles: Vec<Tile>,
    /// Longest contexts of the single rows, and of the others.
    pub(super) longest: [usize; 2],
    /// Of each of the caller's rows, which it is here.
    pub(super) rows: Vec<usize>,
    /// The rows whose logits are wanted, in the caller's order.
    pub(super) wanted: Vec<u32>,
}

impl Arranged {
    /// Arranges the rows of `parts`.
    ///
    /// # Errors
    /// `Internal` for a table that has no room, names a block that is not there, or is too long.
    pub(super) fn new(parts: &[Part<'_>], limits: Limits) -> Result<Self> {
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|part| parts[*part].tokens.len() > 1);
        let mut arranged = Self::default();
        let mut first_rows = vec![0; parts.len()];
        for (sequence, number) in (0..).zip(order) {
            first_rows[number] = arranged.places.len();
            arranged.add(&parts[number], sequence, limits)?;
        }
        for (part, first) in parts.iter().zip(first_rows) {
            arranged.rows.extend(first..first + part.tokens.len());
        }
        let wanted = batch::wanted_rows(parts);
        let wanted = wanted.into_iter().map(|row| as_u32(arranged.rows[row]));
        arranged.wanted = wanted.collect::<Result<_>>()?;
        Ok(arranged)
    }

    fn add(&mut self, part: &Part<'_>, sequence: u32, limits: Limits) -> Result<()> {
        let (rows, before) = (part.tokens.len(), part.table.tokens());
        let blocks = part.table.blocks();
        let has_room = (before + rows).div_ceil(BLOCK_TOKENS) <= blocks.len();
        let is_there = |block: &u32| (*block as usize) < limits.blocks;
        if !has_room || blocks.len() > limits.table_blocks || !blocks.iter().all(is_there) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "a table of {} blocks for {} tokens, where there are {} and a text may have {}",
                    blocks.len(),
                    before + rows,
                    limits.blocks,
                    limits.table_blocks
                ),
            ));
        }
        let start = self.tables.len();
        self.tables.extend_from_slice(blocks);
        self.tables.resize(start + limits.table_blocks, 0);
        let is_single = rows == 1 && limits.own;
        self.singles += usize::from(is_single);
        if let Some(tile_rows) = limits.tile_rows.filter(|_| !is_single) {
            for first in (0..rows).step_by(tile_rows) {
                self.tiles.push(Tile {
                    row_first: as_u32(self.places.len() + first)?,
                    rows: as_u32(tile_rows.min(rows - first))?,
                });
            }
        }
        let longest = &mut self.longest[usize::from(!is_single)];
        *longest = (before + rows).max(*longest);
        self.tokens.extend_from_slice(part.tokens);
        for position in before..before + rows {
            let position = as_u32(position)?;
            self.places.push(RowPlace { sequence, position });
        }
        Ok(())
    }

    /// Whether the caller's rows lie in the same order here.
    pub(super) fn is_in_order(&self) -> bool {
        self.rows.iter().copied().eq(0..self.rows.len())
    }
}

pub(super) fn as_u32(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("{number} are too many")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Wants;
    use crate::cache::{BlockPool, BlockTable};

    const LIMITS: Limits = Limits {
        blocks: 8,
        table_blocks: 3,
        tile_rows: Some(5),
        own: true,
    };

    fn table(pool: &mut BlockPool, before: usize, rows: usize) -> BlockTable {
        let mut table = BlockTable::default();
        pool.reserve(&mut table, before + rows).expect("room");
        table.advance(before);
        table
    }

    #[test]
    fn single_rows_come_first_and_every_row_is_found_again() {
        let mut pool = BlockPool::new(8);
        let tables = [
            table(&mut pool, 3, 7),
            table(&mut pool, 17, 1),
            table(&mut pool, 0, 1),
        ];
        let part = |tokens, table, wants| Part { tokens, table, wants };
        let parts = [
            part(&[1, 2, 3, 4, 5, 6, 7][..], &tables[0], Wants::Every),
            part(&[8], &tables[1], Wants::Nothing),
            part(&[9], &tables[2], Wants::Last),
        ];
        let arranged = Arranged::new(&parts, LIMITS).expect("a sound pass");
        assert_eq!(arranged.tokens, [8, 9, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((arranged.singles, arranged.longest), (2, [18, 10]));
        assert_eq!(arranged.rows, [2, 3, 4, 5, 6, 7, 8, 0, 1]);
        assert_eq!(arranged.wanted, [2, 3, 4, 5, 6, 7, 8, 1]);
        let tiles = [(2, 5), (7, 2)].map(|(row_first, rows)| Tile { row_first, rows });
        assert_eq!(arranged.tiles, tiles);
        assert_eq!(arranged.tables.len(), 9);
        assert_eq!(arranged.tables[..2], tables[1].blocks()[..]);
        let place = |sequence, position| RowPlace { sequence, position };
        assert_eq!(arranged.places[0], place(0, 17));
        assert_eq!(arranged.places[1], place(1, 0));
        assert_eq!(arranged.places[8], place(2, 9));
        assert!(!arranged.is_in_order());
        let apart = Arranged::new(&parts, Limits { own: false, ..LIMITS }).expect("a sound pass");
        assert_eq!((apart.singles, apart.tiles.len()), (0, 4));
    }

    #[test]
    fn tables_without_room_or_with_foreign_blocks_are_refused() {
        let table = table(&mut BlockPool::new(8), 30, 3);
        let part = |table| {
            [Part {
                tokens: &[1, 2, 3, 4][..],
                table,
                wants: Wants::Last,
            }]
        };
        assert!(Arranged::new(&part(&table), LIMITS).is_ok());
        let empty = BlockTable::default();
        assert!(Arranged::new(&part(&empty), LIMITS).is_err());
        for limits in [
            Limits { blocks: 2, ..LIMITS },
            Limits {
                table_blocks: 2,
                ..LIMITS
            },
        ] {
            let refused = Arranged::new(&part(&table), limits).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::Internal);
        }
    }
}
