//! Distances of bit strings that are stored as 1-bit codes (`super::bits`) of zeros and ones.
//!
//! Must not know pages. Invariant: they are what the operators return (`distance::hamming`, `distance::jaccard`), exactly, because
//! counts are whole numbers, in whatever order bits lie.

use crate::cpu::kernels;
use crate::distance::jaccard_from_counts;
use crate::error::Result;
use crate::metric::{CodeScore, Metric};

use super::bits;

/// A bit string that others are compared with.
#[derive(Debug, Clone)]
pub struct BitQuery {
    metric: Metric,
    code: Vec<u8>,
    /// Bits that are set.
    set: f64,
}

impl BitQuery {
    /// Prepares the bit string whose zeros and ones are `query`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(metric: Metric, query: &[f32]) -> Result<Self> {
        let mut code = Vec::new();
        bits::encode(query, &mut code)?;
        let set = code.iter().map(|byte| f64::from(byte.count_ones())).sum();
        Ok(Self { metric, code, set })
    }

    /// For each of `counts.len()` codes the bits by which its distance is told: those that differ, or those set in both.
    ///
    /// # Panics
    /// When `codes` are not as many codes of the query's length.
    pub fn counts(&self, codes: &[u8], counts: &mut [i32]) {
        let score = match self.metric {
            Metric::Jaccard => CodeScore::AndCount,
            _ => CodeScore::Hamming,
        };
        kernels().code_block(score, &self.code, codes, counts);
    }

    /// The operator's value for a row of this `count`, of whose bits `set` are ones; only `Jaccard` asks for those.
    pub fn distance(&self, count: i32, set: f32) -> f64 {
        let count = f64::from(count);
        match self.metric {
            Metric::Jaccard => jaccard_from_counts(count, self.set + f64::from(set) - count),
            _ => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distance::{self, norm_squared};
    use crate::property::cases;

    fn packed(bits: &[bool]) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let bit = |(place, bit): (usize, &bool)| u8::from(*bit) << (7 - place);
            bits.iter().enumerate().map(bit).sum()
        };
        bits.chunks(8).map(byte).collect()
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn distances_are_those_of_the_operators(
            (query, rows) in (1usize..300).prop_flat_map(|dims| {
                let bits = move || prop::collection::vec(any::<bool>(), dims);
                (bits(), prop::collection::vec(bits(), 1..6))
            })
        ) {
            let floats = |bits: &[bool]| -> Vec<f32> { bits.iter().map(|bit| f32::from(u8::from(*bit))).collect() };
            for metric in [Metric::Hamming, Metric::Jaccard] {
                let prepared = BitQuery::new(metric, &floats(&query)).expect("memory");
                let mut codes = Vec::new();
                for row in &rows {
                    bits::encode(&floats(row), &mut codes).expect("memory");
                }
                let mut counts = vec![0; rows.len()];
                prepared.counts(&codes, &mut counts);
                for (row, count) in rows.iter().zip(counts) {
                    let expected = match metric {
                        Metric::Hamming => distance::hamming(&packed(&query), &packed(row)),
                        _ => distance::jaccard(&packed(&query), &packed(row)),
                    };
                    prop_assert_eq!(prepared.distance(count, norm_squared(&floats(row))), expected);
                }
            }
        }
    }
}
