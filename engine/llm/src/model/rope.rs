//! Rotary positions: pairs of numbers are turned by an angle that grows with the position.
//!
//! Source: J. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.

/// Which numbers are a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Numbers beside each other. Files of llama models have their weights permuted for it.
    Adjacent,
    /// A number and the one half a head further.
    Halves,
}

/// Frequencies of the pairs of a head.
#[derive(Debug)]
pub(crate) struct Rope {
    pairs: Pairs,
    frequencies: Vec<f64>,
}

impl Rope {
    /// For heads of which `dims` numbers turn; `factors`, if there are any, divide the frequencies.
    pub(super) fn new(pairs: Pairs, dims: usize, base: f32, factors: Option<&[f32]>) -> Self {
        let frequency = |pair: usize| {
            let plain = f64::from(base).powf(-2.0 * pair as f64 / dims as f64);
            plain / factors.map_or(1.0, |factors| f64::from(factors[pair]))
        };
        Self {
            pairs,
            frequencies: (0..dims / 2).map(frequency).collect(),
        }
    }

    /// Whether pairs are numbers beside each other.
    pub(crate) fn is_adjacent(&self) -> bool {
        self.pairs == Pairs::Adjacent
    }

    /// Pairs of a head.
    pub(crate) fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Cosine and sine of each pair's angle at `position`.
    pub(crate) fn turns(&self, position: usize) -> impl Iterator<Item = [f32; 2]> + '_ {
        self.frequencies.iter().map(move |frequency| {
            let (sin, cos) = (frequency * position as f64).sin_cos();
            #[expect(clippy::cast_possible_truncation, reason = "between -1 and 1")]
            let turn = [cos as f32, sin as f32];
            turn
        })
    }

    /// Turns the heads of `numbers`, each `head` long, as those of `position`.
    pub(super) fn turn(&self, numbers: &mut [f32], head: usize, position: usize) {
        let half = self.frequencies.len();
        for (pair, [cos, sin]) in self.turns(position).enumerate() {
            let (first, second) = match self.pairs {
                Pairs::Adjacent => (2 * pair, 2 * pair + 1),
                Pairs::Halves => (pair, pair + half),
            };
            for numbers in numbers.chunks_exact_mut(head) {
                let (a, b) = (numbers[first], numbers[second]);
                numbers[first] = a * cos - b * sin;
                numbers[second] = a * sin + b * cos;
            }
        }
    }
}
