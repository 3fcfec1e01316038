//! Cuts a run of fixed-size records that goes on over several pages into blocks that kernels can take.
//!
//! Whole records are handed on where they lie; one that straddles pages is put together in a scratch buffer.

use crate::error::Result;

/// A position in a run of records.
#[derive(Debug)]
pub(super) struct Run<'a> {
    record_bytes: usize,
    remaining: usize,
    scratch: &'a mut Vec<u8>,
}

impl<'a> Run<'a> {
    /// A run of `records` records of `record_bytes` bytes.
    pub(super) fn new(record_bytes: usize, records: usize, scratch: &'a mut Vec<u8>) -> Self {
        scratch.clear();
        Self {
            record_bytes,
            remaining: records,
            scratch,
        }
    }

    /// Whether further pages are needed.
    pub(super) fn is_unfinished(&self) -> bool {
        self.remaining > 0
    }

    /// Takes the next page's part of the run; `sink` gets one or more whole records at a time, in order.
    pub(super) fn feed(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if !self.scratch.is_empty() {
            let missing = (self.record_bytes - self.scratch.len()).min(bytes.len());
            self.scratch.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.scratch.len() < self.record_bytes {
                return Ok(());
            }
            sink(self.scratch)?;
            self.scratch.clear();
            self.remaining -= 1;
        }
        let whole = self.remaining.min(bytes.len() / self.record_bytes);
        if whole > 0 {
            sink(&bytes[..whole * self.record_bytes])?;
            self.remaining -= whole;
        }
        if self.remaining > 0 {
            self.scratch
                .extend_from_slice(&bytes[whole * self.record_bytes..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_whole_and_in_order_however_pages_cut_them() {
        let bytes: Vec<u8> = (0..=255).collect();
        for record in [1, 3, 7, 64, 100] {
            for page in [1, 5, 50, 256] {
                let (mut scratch, mut out) = (Vec::new(), Vec::new());
                let records = bytes.len() / record;
                let mut run = Run::new(record, records, &mut scratch);
                for part in bytes.chunks(page) {
                    if !run.is_unfinished() {
                        break;
                    }
                    run.feed(part, &mut |rows| {
                        assert!(rows.len() % record == 0);
                        out.extend_from_slice(rows);
                        Ok(())
                    })
                    .expect("the sink never fails");
                }
                assert!(!run.is_unfinished());
                assert_eq!(out, bytes[..records * record]);
            }
        }
    }
}
