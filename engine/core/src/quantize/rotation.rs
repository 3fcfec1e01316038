//! A seeded random rotation, by which a vector's length spreads evenly over its elements.
//!
//! Rounds of random sign flips and Walsh-Hadamard transforms (N. Ailon and B. Chazelle, "The fast Johnson-Lindenstrauss
//! transform", SIAM J. Comput. 39, 2009): `O(d log d)` a vector, and nothing to keep but the signs. Where the length is
//! not a power of two, a round transforms the first `2^k` elements, the next one the last and then turns the two halves
//! into each other (a step of Kac's walk), so that every element reaches every other.
//!
//! Invariant: seed and length determine the rotation in every version; index pages hold rotated codes.

use crate::cpu::kernels;
use crate::random::Random;

/// Enough to spread even a single element as a random direction would be.
const ROUNDS: usize = 4;

/// A rotation of vectors of one length.
///
/// ```
/// use vectorgpu_core::quantize::rotation::Rotation;
///
/// let rotation = Rotation::new(100, 42);
/// let mut x = vec![0.0; 100];
/// x[7] = 3.0;
/// rotation.apply(&mut x);
/// let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
/// assert!((length - 3.0).abs() < 1e-4 && x.iter().all(|x| x.abs() < 2.0));
/// ```
#[derive(Debug, Clone)]
pub struct Rotation {
    dims: usize,
    signs: Vec<u32>,
}

impl Rotation {
    /// The rotation of vectors of `dims` elements that `seed` determines.
    pub fn new(dims: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let words = ROUNDS * dims.div_ceil(32);
        let upper = |bits: u64| u32::try_from(bits >> 32).expect("32 bits");
        let signs = (0..words).map(|_| upper(random.bits())).collect();
        Self { dims, signs }
    }

    /// Turns `x` in place. Its length changes by rounding only, some 1e-6 of it.
    ///
    /// # Panics
    /// When `x` does not have the rotation's length.
    pub fn apply(&self, x: &mut [f32]) {
        assert_eq!(x.len(), self.dims, "vector length");
        kernels().rotate(x, &self.signs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Kernels;

    const LENGTHS: &[usize] = if cfg!(miri) {
        &[1, 2, 3, 33, 40]
    } else {
        &[
            1, 2, 3, 4, 7, 8, 31, 32, 33, 64, 100, 127, 784, 1000, 1536, 16_000,
        ]
    };

    fn vector(dims: usize) -> Vec<f32> {
        (0..dims).map(|i| (i as f32 * 0.7).sin()).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn lengths_and_angles_stay() {
        for &dims in LENGTHS {
            let rotation = Rotation::new(dims, 7);
            let (mut a, mut b) = (vector(dims), vec![0.25; dims]);
            let before = [dot(&a, &a), dot(&b, &b), dot(&a, &b)];
            rotation.apply(&mut a);
            rotation.apply(&mut b);
            let after = [dot(&a, &a), dot(&b, &b), dot(&a, &b)];
            for (before, after) in before.iter().zip(after) {
                assert!(
                    (before - after).abs() <= 4e-6 * (1.0 + dims as f64),
                    "{dims}: {before} {after}"
                );
            }
        }
    }

    #[test]
    fn every_table_turns_alike() {
        for &dims in LENGTHS {
            let rotation = Rotation::new(dims, 8);
            let original = vector(dims);
            let mut expected = original.clone();
            rotation.apply(&mut expected);
            for table in Kernels::all_supported() {
                let mut x = original.clone();
                table.rotate(&mut x, &rotation.signs);
                assert_eq!(x, expected, "{} {dims}", table.name());
            }
        }
    }

    /// What index pages rely on.
    #[test]
    fn a_seed_means_the_same_rotation_for_ever() {
        let mut x: Vec<f32> = (1..=5u8).map(f32::from).collect();
        Rotation::new(5, 42).apply(&mut x);
        let expected: [f32; 5] = [6.035_534, 0.499_999_85, 1.0, 3.085_786, 2.792_893];
        assert_eq!(x, expected);
    }

    #[test]
    #[cfg_attr(miri, ignore = "long vectors, in the kernels that shorter ones run too")]
    fn the_length_of_one_element_spreads_over_all() {
        for dims in [100, 300, 784, 1000, 1025, 2047] {
            let rotation = Rotation::new(dims, 9);
            for place in [0, dims / 2, dims - 1] {
                let mut x = vec![0.0; dims];
                x[place] = (dims as f32).sqrt();
                rotation.apply(&mut x);
                // Of a random direction: the largest of 2,000 normal numbers is below 5.5 but once in 10,000 times.
                let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                let small = x.iter().filter(|x| x.abs() < 0.1).count();
                assert!(largest < 5.5, "{dims} {place}: {largest}");
                assert!(small * 6 < dims, "{dims} {place}: {small} of {dims} are small");
            }
        }
    }
}
