//! Memory that will be read soon, asked for a cache line at a time while a kernel works.
//!
//! A core has a dozen lines or so under way at once, and waits with the next request, and all behind it, while all are
//! taken: asked for together, a page costs the time that it takes to arrive.

use super::CACHE_LINE;

/// A run of memory, of which nothing is read here: it need not be there.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    start: *const u8,
    lines: usize,
}

impl Ahead {
    /// Nothing.
    pub const NONE: Self = Self {
        start: std::ptr::null(),
        lines: 0,
    };

    /// `len` bytes from `start` on.
    pub fn new(start: *const u8, len: usize) -> Self {
        let before = start.addr() % CACHE_LINE;
        Self {
            start: start.wrapping_sub(before),
            lines: (before + len).div_ceil(CACHE_LINE),
        }
    }

    /// Lines that are still to be asked for.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The first `lines` of it, or all; they are taken away.
    #[must_use]
    pub fn split(&mut self, lines: usize) -> Self {
        let lines = lines.min(self.lines);
        let first = Self { lines, ..*self };
        self.start = self.start.wrapping_add(lines * CACHE_LINE);
        self.lines -= lines;
        first
    }

    /// Asks for the next `lines` lines, or as many as there are.
    #[inline(always)]
    pub fn ask(&mut self, lines: usize) {
        for _ in 0..lines.min(self.lines) {
            line(self.start);
            self.start = self.start.wrapping_add(CACHE_LINE);
            self.lines -= 1;
        }
    }

    /// Asks for all that is left.
    pub fn ask_all(mut self) {
        self.ask(usize::MAX);
    }
}

/// Asks for one line; without effect where the instruction set has no such hint.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "std::arch marks the hint unsafe outside SSE functions")
)]
fn line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE belongs to every x86-64, and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_touched_counts_and_is_taken_once() {
        let bytes = [0u8; 1000];
        let start = bytes.as_ptr().wrapping_sub(bytes.as_ptr().addr() % CACHE_LINE);
        for (from, len, lines) in [(0, 0, 0), (0, 1, 1), (63, 2, 2), (64, 64, 1), (1, 128, 3)] {
            let mut ahead = Ahead::new(start.wrapping_add(from), len);
            assert_eq!(ahead.lines(), lines, "{from} {len}");
            let first = ahead.split(2);
            assert_eq!(
                (first.lines(), ahead.lines()),
                (lines.min(2), lines - lines.min(2))
            );
            ahead.ask(1);
            assert_eq!(ahead.lines(), lines.saturating_sub(3));
            ahead.ask_all();
        }
    }
}
