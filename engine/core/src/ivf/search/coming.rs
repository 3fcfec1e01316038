//! Pages that a pass will read next, asked for bit by bit while it works on those before.

use crate::cpu::Ahead;

/// Parts that can wait: those of a page, of a centroid over a few pages, of a further page.
const PARTS: usize = 8;

/// What is still to be asked for, the first to be read first.
#[derive(Debug)]
pub(super) struct Coming {
    parts: [Ahead; PARTS],
    first: usize,
    end: usize,
}

impl Default for Coming {
    fn default() -> Self {
        Self {
            parts: [Ahead::NONE; PARTS],
            first: 0,
            end: 0,
        }
    }
}

impl Coming {
    /// Forgets what is left.
    pub(super) fn clear(&mut self) {
        (self.first, self.end) = (0, 0);
    }

    /// Adds a part; one too many is left out, since it is only a hint.
    pub(super) fn push(&mut self, part: Ahead) {
        if self.end < PARTS {
            self.parts[self.end] = part;
            self.end += 1;
        }
    }

    /// The next part, or the next `lines` lines of it.
    pub(super) fn take(&mut self, lines: usize) -> Ahead {
        while self.first < self.end {
            let taken = self.parts[self.first].split(lines);
            if taken.lines() > 0 {
                return taken;
            }
            self.first += 1;
        }
        Ahead::NONE
    }

    /// Asks for all that is left.
    pub(super) fn ask_all(&mut self) {
        for part in &self.parts[self.first..self.end] {
            part.ask_all();
        }
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_in_turn_and_none_twice() {
        let bytes = [0u8; 64 * 16];
        let part = |lines: usize| Ahead::new(bytes.as_ptr(), 64 * lines - bytes.as_ptr().addr() % 64);
        let mut coming = Coming::default();
        [3, 2].into_iter().for_each(|lines| coming.push(part(lines)));
        let taken: Vec<usize> = (0..5).map(|_| coming.take(2).lines()).collect();
        assert_eq!(taken, [2, 1, 2, 0, 0]);
        coming.clear();
        (0..2 * PARTS).for_each(|_| coming.push(part(1)));
        assert_eq!((0..20).map(|_| coming.take(9).lines()).sum::<usize>(), PARTS);
    }
}
