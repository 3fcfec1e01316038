//! A uniform sample of a stream whose length is not known beforehand.
//!
//! Algorithm L (K.-H. Li, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", 1994): it draws how
//! many rows to pass over, so most rows cost one comparison.

use crate::random::Random;

/// Decides for each row offered in turn whether a sample keeps it, and where.
#[derive(Debug, Clone)]
pub struct Reservoir {
    capacity: usize,
    random: Random,
    /// Rows offered so far.
    offered: u64,
    /// The number of the next row to keep, once the reservoir is full.
    next: u64,
    /// The largest of `capacity` uniform numbers, of those kept.
    threshold: f64,
}

impl Reservoir {
    /// A sample of at most `capacity` rows.
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            capacity,
            random: Random::new(seed),
            offered: 0,
            next: 0,
            threshold: 1.0,
        }
    }

    /// Offers the next row. `Some(slot)`: keep it in `slot`, below the capacity; slots fill in order, and a filled one
    /// is given again when its row is to be replaced. `None`: pass over it.
    pub fn offer(&mut self) -> Option<usize> {
        let row = self.offered;
        self.offered += 1;
        if self.capacity == 0 {
            return None;
        }
        let kept = u64::try_from(self.capacity).unwrap_or(u64::MAX);
        if row < kept {
            if row + 1 == kept {
                self.skip_from(row);
            }
            return usize::try_from(row).ok();
        }
        if row < self.next {
            return None;
        }
        self.skip_from(row);
        Some(self.random.below(self.capacity))
    }

    /// Rows offered so far.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Rows the sample holds now.
    pub fn len(&self) -> usize {
        usize::try_from(self.offered)
            .unwrap_or(usize::MAX)
            .min(self.capacity)
    }

    /// Whether the sample holds no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates: a skip beyond any stream's end"
    )]
    #[expect(
        clippy::cast_sign_loss,
        reason = "the quotient of two negative logarithms is not negative"
    )]
    fn skip_from(&mut self, row: u64) {
        // 1 - unit() is in (0, 1], so that no logarithm is of zero.
        self.threshold *= ((1.0 - self.random.unit()).ln() / self.capacity as f64).exp();
        let skip = ((1.0 - self.random.unit()).ln() / (-self.threshold).ln_1p()).floor();
        self.next = row.saturating_add(1).saturating_add(skip as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(capacity: usize, rows: usize, seed: u64) -> Vec<usize> {
        let mut reservoir = Reservoir::new(capacity, seed);
        let mut kept = Vec::new();
        for row in 0..rows {
            match reservoir.offer() {
                Some(slot) if slot == kept.len() => kept.push(row),
                Some(slot) => kept[slot] = row,
                None => {}
            }
        }
        assert_eq!(kept.len(), reservoir.len());
        kept
    }

    #[test]
    fn short_streams_are_kept_whole() {
        assert_eq!(sample(5, 3, 1), [0, 1, 2]);
        assert_eq!(sample(5, 5, 1), [0, 1, 2, 3, 4]);
        assert!(sample(0, 10, 1).is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "statistics over 4,000 samples, all safe code")]
    fn every_row_is_as_likely_as_any_other() {
        let mut counts = [0u32; 40];
        for seed in 0..4000 {
            for row in sample(10, 40, seed) {
                counts[row] += 1;
            }
        }
        // 1000 expected, standard deviation 27.
        assert!(
            counts.iter().all(|count| (860..1140).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_seed_determines_the_sample_and_rows_are_distinct() {
        let rows = if cfg!(miri) { 1_000 } else { 100_000 };
        let mut kept = sample(100, rows, 3);
        assert_eq!(kept, sample(100, rows, 3));
        assert_ne!(kept, sample(100, rows, 4));
        kept.sort_unstable();
        kept.dedup();
        assert_eq!(kept.len(), 100);
    }
}
