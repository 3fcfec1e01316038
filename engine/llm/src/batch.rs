//! What one pass through a model reads: tokens of one text or of many, side by side.
//!
//! A pass reads each weight once for all its rows, so texts that are read or written together cost little more than one. Parts know
//! nothing of each other: what a part's logits are does not depend on who else is in the pass, but for the rounding of sums on devices
//! that multiply many rows in another order than few.

use crate::cache::BlockTable;

/// Which logits of a part are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// None: more tokens of the text follow.
    Nothing,
    /// Those after its last token.
    Last,
    /// Those after each token.
    Every,
}

/// The next tokens of one text.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The tokens; at least one.
    pub tokens: &'a [u32],
    /// Where those before them keep keys and values, with room for these.
    pub table: &'a BlockTable,
    /// Which logits come back.
    pub wants: Wants,
}

/// Where a row of a pass belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Its part.
    pub part: usize,
    /// Its position in the text, from 0.
    pub position: usize,
}

/// The rows of all parts, in their order.
pub fn row_places(parts: &[Part<'_>]) -> Vec<RowPlace> {
    let rows = parts.iter().enumerate().flat_map(|(part, of_part)| {
        let first = of_part.table.tokens();
        (first..first + of_part.tokens.len()).map(move |position| RowPlace { part, position })
    });
    rows.collect()
}

/// The rows whose logits are wanted, by their number.
pub fn wanted_rows(parts: &[Part<'_>]) -> Vec<usize> {
    let mut rows = Vec::new();
    let mut end = 0;
    for part in parts {
        let first = end;
        end += part.tokens.len();
        match part.wants {
            Wants::Nothing => {}
            Wants::Last => rows.extend((first..end).last()),
            Wants::Every => rows.extend(first..end),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_after_those_of_their_text_and_only_wanted_ones_are_named() {
        let mut tables: [BlockTable; 3] = Default::default();
        tables[1].advance(5);
        let wants = [Wants::Last, Wants::Every, Wants::Nothing];
        let parts = tables.iter().zip(wants).map(|(table, wants)| Part {
            tokens: &[7, 8],
            table,
            wants,
        });
        let parts: Vec<Part<'_>> = parts.collect();
        let places: Vec<(usize, usize)> = row_places(&parts)
            .iter()
            .map(|place| (place.part, place.position))
            .collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 5), (1, 6), (2, 0), (2, 1)]);
        assert_eq!(wanted_rows(&parts), [1, 2, 3]);
    }
}
