//! Rotary positions: pairs of numbers are turned by an angle that grows with the position.
//!
//! Models that were trained further for longer texts turn more slowly, each in a way of its own; that is a table of frequencies, and a
//! factor for what is turned. Sources: J. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021;
//! S. Chen et al., "Extending Context Window of Large Language Models via Positional Interpolation", 2023; B. Peng et al., "YaRN: Efficient
//! Context Window Extension of Large Language Models", 2023; Llama 3.1's published code.

use std::f64::consts::PI;

/// Which numbers are a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Numbers beside each other. Files of llama models have their weights permuted for it.
    Adjacent,
    /// A number and the one half a head further.
    Halves,
}

/// How turns are slowed down for longer texts than a model was first trained for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Slow ones by a factor, fast ones not at all, and those between in part; all numbers are magnified.
    Yarn {
        /// The factor.
        factor: f32,
        /// Positions that the model was first trained for.
        original: usize,
        /// Pairs with so many turns or more in those are fast.
        fast: f32,
        /// Those with so many or fewer are slow.
        slow: f32,
        /// The magnification.
        magnitude: f32,
    },
    /// As with YaRN, but by the lengths of waves, and without magnification.
    Llama3 {
        /// The factor.
        factor: f32,
        /// Positions that the model was first trained for.
        original: usize,
        /// Waves longer than the positions divided by this are slow.
        low: f32,
        /// Those shorter than the positions divided by this are fast.
        high: f32,
    },
}

impl RopeScaling {
    /// What becomes of the frequency of pair `pair` of heads of which `dims` numbers turn.
    fn apply(self, frequency: f64, pair: usize, dims: usize, base: f64) -> f64 {
        let between = |factor: f32, kept: f64| frequency * (kept + (1.0 - kept) / f64::from(factor));
        match self {
            Self::None => frequency,
            Self::Linear { factor } => between(factor, 0.0),
            Self::Yarn {
                factor,
                original,
                fast,
                slow,
                ..
            } => {
                let turning = |turns: f32| {
                    let length = original as f64 / (f64::from(turns) * 2.0 * PI);
                    dims as f64 * length.ln() / (2.0 * base.ln())
                };
                let low = turning(fast).floor().max(0.0);
                let high = turning(slow).ceil().min(dims as f64 - 1.0);
                let ramp = (pair as f64 - low) / (high - low).max(1e-3);
                between(factor, 1.0 - ramp.clamp(0.0, 1.0))
            }
            Self::Llama3 {
                factor,
                original,
                low,
                high,
            } => {
                let waves = original as f64 * frequency / (2.0 * PI);
                let kept = (waves - f64::from(low)) / f64::from(high - low);
                between(factor, kept.clamp(0.0, 1.0))
            }
        }
    }
}

/// Frequencies of the pairs of a head.
#[derive(Debug)]
pub(crate) struct Rope {
    pairs: Pairs,
    frequencies: Vec<f64>,
    magnitude: f64,
}

impl Rope {
    /// For heads of which `dims` numbers turn; `factors`, if there are any, divide the frequencies.
    pub(super) fn new(
        pairs: Pairs,
        dims: usize,
        base: f32,
        scaling: RopeScaling,
        factors: Option<&[f32]>,
    ) -> Self {
        let base = f64::from(base);
        let frequency = |pair: usize| {
            let plain = base.powf(-2.0 * pair as f64 / dims as f64);
            let plain = plain / factors.map_or(1.0, |factors| f64::from(factors[pair]));
            scaling.apply(plain, pair, dims, base)
        };
        Self {
            pairs,
            frequencies: (0..dims / 2).map(frequency).collect(),
            magnitude: match scaling {
                RopeScaling::Yarn { magnitude, .. } => f64::from(magnitude),
                _ => 1.0,
            },
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

    /// Cosine and sine of each pair's angle at `position`, magnified.
    pub(crate) fn turns(&self, position: usize) -> impl Iterator<Item = [f32; 2]> + '_ {
        self.frequencies.iter().map(move |frequency| {
            let (sin, cos) = (frequency * position as f64).sin_cos();
            #[expect(clippy::cast_possible_truncation, reason = "rounding to f32")]
            let turn = [(cos * self.magnitude) as f32, (sin * self.magnitude) as f32];
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs and their frequencies, computed in Python by the formulas of transformers' `modeling_rope_utils.py`.
    const YARN: [(usize, f64); 7] = [
        (0, 1.0),
        (20, 0.013_335_214_321_633_24),
        (23, 0.006_978_305_848_598_663),
        (30, 0.001_064_360_981_247_002),
        (40, 4.445_698_525_097_307e-5),
        (45, 1.510_740_975_595_332e-5),
        (63, 3.102_344_401_879_299e-7),
    ];
    const LLAMA3: [(usize, f64); 8] = [
        (0, 1.0),
        (10, 0.016_560_440_080_994_446),
        (14, 0.003_211_445_994_752_591),
        (15, 0.001_290_547_928_209_264),
        (16, 0.000_429_556_796_559_368_15),
        (17, 9.708_287_802_627_67e-5),
        (18, 1.946_163_818_483_112_5e-5),
        (31, 9.418_306_725_434_91e-8),
    ];

    fn assert_frequencies(rope: &Rope, expected: &[(usize, f64)]) {
        for (pair, frequency) in expected {
            let found = rope.frequencies[*pair];
            assert!((found / frequency - 1.0).abs() < 1e-12, "pair {pair}: {found}");
        }
    }

    #[test]
    fn scaled_frequencies_are_those_of_the_published_formulas() {
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original: 32_768,
            fast: 32.0,
            slow: 1.0,
            magnitude: 1.5,
        };
        let yarn = Rope::new(Pairs::Halves, 128, 1e6, yarn, None);
        assert_frequencies(&yarn, &YARN);
        let llama3 = RopeScaling::Llama3 {
            factor: 32.0,
            original: 8192,
            low: 1.0,
            high: 4.0,
        };
        assert_frequencies(&Rope::new(Pairs::Halves, 64, 500_000.0, llama3, None), &LLAMA3);
        let plain = Rope::new(Pairs::Halves, 64, 1e4, RopeScaling::None, None);
        let linear = Rope::new(Pairs::Halves, 64, 1e4, RopeScaling::Linear { factor: 8.0 }, None);
        for (linear, plain) in linear.frequencies.iter().zip(&plain.frequencies) {
            assert_eq!(*linear, plain / 8.0);
        }
    }

    #[test]
    fn what_yarn_turns_is_magnified_and_nothing_else_is() {
        let length = |scaling| {
            let mut numbers = [3.0f32, 4.0];
            Rope::new(Pairs::Adjacent, 2, 1e4, scaling, None).turn(&mut numbers, 2, 77);
            numbers[0].hypot(numbers[1])
        };
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original: 64,
            fast: 32.0,
            slow: 1.0,
            magnitude: 1.5,
        };
        assert!((length(yarn) - 7.5).abs() < 1e-5);
        assert!((length(RopeScaling::Linear { factor: 2.0 }) - 5.0).abs() < 1e-5);
    }
}
