//! Rows that are encoded before their lists are known, in the order in which they came.

use vectorgpu_core::ivf::build::EncodedRow;

/// A queue of encoded rows, all of the same size.
#[derive(Debug, Default)]
pub(super) struct EncodedRows {
    bytes: Vec<u8>,
    /// Of a row.
    row_bytes: usize,
    /// Bytes of the rows that were taken.
    taken: usize,
}

impl EncodedRows {
    /// Adds a row.
    pub(super) fn push(&mut self, row: &EncodedRow<'_>) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytemuck::cast_slice(row.factors));
        self.bytes.extend_from_slice(row.filter);
        self.bytes.extend_from_slice(row.code);
        self.row_bytes = self.bytes.len() - before;
    }

    /// Takes the row that came first: its factors, then its codes.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let row = self.bytes.get(self.taken..self.taken + self.row_bytes)?;
        self.taken += self.row_bytes;
        (!row.is_empty()).then_some(row)
    }

    /// Drops the rows that were taken.
    pub(super) fn forget(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
    }
}
