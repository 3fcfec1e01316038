//! A small seeded generator: the same numbers on every machine and in every version.
//!
//! Not for secrets. Algorithm: xoshiro256++ (D. Blackman and S. Vigna, "Scrambled linear pseudorandom number
//! generators", 2021), its state filled by splitmix64.

/// By how much the state of splitmix64 grows from one number to the next.
pub(crate) const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of splitmix64 (S. Vigna, in the public domain): a number of which every bit depends on all bits of `state`.
pub(crate) const fn mixed(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A stream of random numbers that its seed determines.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; 4];
        let mut weyl = seed;
        for word in &mut state {
            weyl = weyl.wrapping_add(WEYL);
            *word = mixed(weyl);
        }
        Self { state }
    }

    /// A stream of its own, which this one's next number determines.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number in `[0, 1)`, of 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `[0, 1)`, of 24 bits.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a 128-bit product: its bias, bound / 2^64, is out of sight.
        let product = u128::from(self.bits()) * (bound as u128);
        usize::try_from(product >> 64).expect("less than bound")
    }

    /// A number from the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_stream() {
        let stream = |seed| {
            (0..5)
                .map(|_| 0)
                .scan(Random::new(seed), |r, _| Some(r.bits()))
                .collect::<Vec<_>>()
        };
        assert_eq!(stream(7), stream(7));
        assert_ne!(stream(7), stream(8));
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // First outputs of xoshiro256++ from the state 1, 2, 3, 4, worked out from the paper's definition.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!(random.bits(), (5u64 << 23) + 1);
        assert_eq!(random.state, [7, 0, 262_146, 211_106_232_532_992]);
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_all_of_it() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 7];
        let mut mean = 0.0;
        for _ in 0..7000 {
            seen[random.below(7)] += 1;
            let unit = random.unit();
            assert!((0.0..1.0).contains(&unit));
            mean += random.normal() / 7000.0;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert!(f64::abs(mean) < 0.06);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }
}
