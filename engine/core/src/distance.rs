//! The distances that the SQL operators return, with pgvector's semantics.
//!
//! Of dense vectors of either element type, and of bit strings; those of sparse vectors are in `sparse`.
//! Must not know pages or backends. Invariant: [`l2_from_squared`] of a `SquaredL2` score and [`cosine_from_parts`] of
//! a `Dot` score and two stored `|x|^2` are bit for bit what [`l2`] and [`cosine`] return for the same vectors, because
//! all of them use the kernels of `cpu`. The two vectors of every function have the same length (callers check).
//!
//! ```
//! use vectorgpu_core::distance;
//!
//! let (a, b) = ([1.0, 2.0, 2.0], [1.0, 5.0, 6.0]);
//! assert_eq!(distance::l2(&a, &b), 5.0);
//! assert_eq!(distance::l1(&a, &b), 7.0);
//! assert_eq!(distance::negative_inner_product(&a, &b), -23.0);
//! assert_eq!(distance::cosine(&a, &[2.0, 4.0, 4.0]), 0.0);
//! ```

use crate::cpu::kernels;
use crate::metric::{CodeScore, Score};
use crate::vector::DenseElement;

/// Computes `sum((a_i - b_i)^2)` in f32.
pub fn l2_squared<T: DenseElement>(a: &[T], b: &[T]) -> f32 {
    T::score(Score::SquaredL2, a, b)
}

/// Computes the Euclidean distance, `<->`.
pub fn l2<T: DenseElement>(a: &[T], b: &[T]) -> f64 {
    l2_from_squared(l2_squared(a, b))
}

/// Computes the Euclidean distance from its square.
pub fn l2_from_squared(squared: f32) -> f64 {
    f64::from(squared).sqrt()
}

/// Computes `sum(a_i * b_i)`, summed in f32.
pub fn inner_product<T: DenseElement>(a: &[T], b: &[T]) -> f64 {
    f64::from(T::score(Score::Dot, a, b))
}

/// Computes `-sum(a_i * b_i)`, `<#>`, summed in f32.
pub fn negative_inner_product<T: DenseElement>(a: &[T], b: &[T]) -> f64 {
    -inner_product(a, b)
}

/// Computes the cosine distance in `[0, 2]`, `<=>`; NaN when a vector is zero.
pub fn cosine<T: DenseElement>(a: &[T], b: &[T]) -> f64 {
    let parts = T::cosine_parts(a, b);
    cosine_from_parts(parts.dot, parts.norm_sq_a, parts.norm_sq_b)
}

/// Computes the cosine distance from a `Dot` score and the `Dot` scores of the vectors with themselves
/// ([`norm_squared`]); NaN when one of those is zero and the score too.
pub fn cosine_from_parts(dot: f32, norm_sq_a: f32, norm_sq_b: f32) -> f64 {
    let similarity = f64::from(dot) / (f64::from(norm_sq_a) * f64::from(norm_sq_b)).sqrt();
    // A NaN passes through the clamp.
    1.0 - similarity.clamp(-1.0, 1.0)
}

/// Computes `|a|^2` in f32: the value that [`cosine`] uses and an index page stores.
pub fn norm_squared<T: DenseElement>(a: &[T]) -> f32 {
    T::score(Score::Dot, a, a)
}

/// Computes `sum(|a_i - b_i|)`, `<+>`, summed in f32.
pub fn l1<T: DenseElement>(a: &[T], b: &[T]) -> f64 {
    f64::from(T::score(Score::L1, a, b))
}

/// Counts the bits in which two bit strings of the same length differ, `<~>`.
pub fn hamming(a: &[u8], b: &[u8]) -> f64 {
    f64::from(bit_count(CodeScore::Hamming, a, b))
}

/// Computes the Jaccard distance in `[0, 1]` of two bit strings of the same length, `<%>`: one less the share of the
/// bits set in both among those set in either; 1 when none is set in both.
pub fn jaccard(a: &[u8], b: &[u8]) -> f64 {
    let both = bit_count(CodeScore::AndCount, a, b);
    let either = f64::from(both) + f64::from(bit_count(CodeScore::Hamming, a, b));
    jaccard_from_counts(f64::from(both), either)
}

/// Computes the Jaccard distance from the numbers of bits that are set in both strings, and in either.
pub fn jaccard_from_counts(both: f64, either: f64) -> f64 {
    if both > 0.0 { 1.0 - both / either } else { 1.0 }
}

/// A count of bits, exact because a bit string of SQL has fewer than 2^31.
fn bit_count(score: CodeScore, a: &[u8], b: &[u8]) -> u32 {
    kernels().code_row(score, a, b).cast_unsigned()
}

const SIGN: u64 = 1 << 63;

/// A distance as an integer that sorts as SQL sorts it: NaN last. Both zeros are one, and so are all NaN.
#[inline]
pub fn order(distance: f64) -> u64 {
    let bits = if distance.is_nan() {
        f64::NAN.to_bits() & !SIGN
    } else {
        (distance + 0.0).to_bits()
    };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The distance that [`order`] turned into `order`.
#[inline]
pub fn of_order(order: u64) -> f64 {
    f64::from_bits(if order & SIGN == 0 { !order } else { order & !SIGN })
}

/// Computes the Euclidean norm, summed in f64.
pub fn norm<T: DenseElement>(a: &[T]) -> f64 {
    T::square(a).sqrt()
}

/// Computes the angle between two vectors of length 1 as a share of pi, in `[0, 1]`.
pub fn spherical_distance<T: DenseElement>(a: &[T], b: &[T]) -> f64 {
    inner_product(a, b).clamp(-1.0, 1.0).acos() / std::f64::consts::PI
}

/// Scales a vector to length 1; a zero vector stays zero. Finite for every finite vector: the norm, in f64, neither
/// overflows nor underflows, and no element exceeds it.
pub fn l2_normalize<T: DenseElement>(a: &[T]) -> Vec<T> {
    let norm = norm(a);
    let mut normalized = vec![T::nearest(0.0); a.len()];
    if norm > 0.0 {
        T::visit(a, |first, values| {
            let quotients: Vec<f32> = values.iter().map(|&x| quotient(f64::from(x), norm)).collect();
            T::narrow(&quotients, &mut normalized[first..]);
        });
    }
    normalized
}

/// `dividend / divisor`, rounded to f32.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "rounding to the element type")]
pub(crate) fn quotient(dividend: f64, divisor: f64) -> f32 {
    (dividend / divisor) as f32
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::backend::{Backend, RowBlock};
    use crate::cpu::CpuBackend;
    use crate::metric::Element;

    const A: [f32; 3] = [1.0, 2.0, 2.0];
    const B: [f32; 3] = [3.0, -1.0, 0.5];

    #[test]
    fn values_are_those_of_the_formulas() {
        assert_eq!(l2_squared(&A, &B), 4.0 + 9.0 + 2.25);
        assert_eq!(l2(&A, &B), 15.25f64.sqrt());
        assert_eq!(inner_product(&A, &B), 2.0);
        assert_eq!(negative_inner_product(&A, &B), -2.0);
        assert_eq!(l1(&A, &B), 6.5);
        assert_eq!(norm(&A), 3.0);
        assert_eq!(cosine(&A, &B), 1.0 - 2.0 / (9.0f64 * 10.25).sqrt());
        assert!((spherical_distance(&[1.0, 0.0], &[0.0, 1.0]) - 0.5).abs() < 1e-15);
        assert_eq!(l2_normalize(&A), [1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn bits_are_counted_in_every_byte() {
        for length in [0, 1, 7, 8, 9, 63, 64, 65, 200, 2000] {
            let a: Vec<u8> = (0..length)
                .map(|i: u32| (i * 37 % 251).to_le_bytes()[0])
                .collect();
            let b: Vec<u8> = (0..length)
                .map(|i: u32| (i * 91 % 241).to_le_bytes()[0])
                .collect();
            let count = |operation: fn(u8, u8) -> u8| -> u32 {
                a.iter()
                    .zip(&b)
                    .map(|(a, b)| operation(*a, *b).count_ones())
                    .sum()
            };
            let (different, both, either) = (count(|a, b| a ^ b), count(|a, b| a & b), count(|a, b| a | b));
            assert_eq!(hamming(&a, &b), f64::from(different), "{length}");
            let expected = if both == 0 {
                1.0
            } else {
                1.0 - f64::from(both) / f64::from(either)
            };
            assert_eq!(jaccard(&a, &b), expected, "{length}");
        }
        assert_eq!(jaccard(&[0], &[0]), 1.0);
        assert_eq!(jaccard(&[0b11], &[0b11]), 0.0);
    }

    #[test]
    fn halves_have_the_distances_of_their_values() {
        let (a, b) = (A.map(f16::from_f32), B.map(f16::from_f32));
        assert_eq!(l2(&a, &b), l2(&A, &B));
        assert_eq!(negative_inner_product(&a, &b), negative_inner_product(&A, &B));
        assert_eq!(cosine(&a, &b), cosine(&A, &B));
        assert_eq!(l1(&a, &b), l1(&A, &B));
        assert_eq!(norm(&a), norm(&A));
        assert_eq!(spherical_distance(&a, &b), spherical_distance(&A, &B));
        let third = f16::from_f32(1.0 / 3.0);
        assert_eq!(l2_normalize(&a), [third, third + third, third + third]);
        let zeros = [f16::ZERO; 100];
        assert_eq!(l2_normalize(&zeros), zeros);
    }

    #[test]
    fn results_stay_in_their_range() {
        // 1.1 * 1.1 rounds so that the quotient exceeds 1 in one of these lengths.
        for dims in 1..if cfg!(miri) { 20 } else { 200 } {
            let a = vec![1.1f32; dims];
            let opposite = vec![-1.1f32; dims];
            assert!((0.0..=2.0).contains(&cosine(&a, &a)), "dims {dims}");
            assert!((0.0..=2.0).contains(&cosine(&a, &opposite)), "dims {dims}");
        }
        // No promise is made of the arc cosine's last places, and Miri holds us to that.
        assert!(spherical_distance(&[2.0], &[2.0]).abs() < 1e-14);
        assert!((spherical_distance(&[2.0], &[-2.0]) - 1.0).abs() < 1e-14);
    }

    #[test]
    fn zero_vectors_have_no_cosine_and_stay_zero_when_normalised() {
        assert!(cosine(&[0.0, 0.0], &[1.0, 2.0]).is_nan());
        assert!(cosine(&[1.0, 2.0], &[0.0, 0.0]).is_nan());
        assert_eq!(l2_normalize(&[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn norms_survive_values_whose_squares_leave_f32() {
        let (a, b) = (f64::from(3e30f32), f64::from(4e30f32));
        assert_eq!(norm(&[3e30, 4e30]), (a * a + b * b).sqrt());
        assert_eq!(l2_normalize(&[3e-42, 0.0]), [1.0, 0.0]);
        assert_eq!(l2_squared(&[1e30], &[-1e30]), f32::INFINITY);
    }

    #[test]
    fn scores_of_the_backend_give_the_operators_values() {
        let dims = 131;
        let value = |i: usize| (i as f32 * 0.37).sin() * 3.0;
        let query: Vec<f32> = (0..dims).map(value).collect();
        let rows: Vec<f32> = (0..7 * dims).map(|i| value(i + 5_000)).collect();
        let block = RowBlock {
            codes: bytemuck::cast_slice(&rows),
            element: Element::F32,
            dims,
        };
        let mut backend = CpuBackend::new();
        let (mut squares, mut dots) = (Vec::new(), Vec::new());
        backend
            .score(Score::SquaredL2, &query, block, &mut squares, &mut || true)
            .expect("score");
        backend
            .score(Score::Dot, &query, block, &mut dots, &mut || true)
            .expect("score");
        for (i, row) in rows.chunks_exact(dims).enumerate() {
            assert_eq!(l2_from_squared(squares[i]), l2(&query, row));
            assert_eq!(-f64::from(dots[i]), negative_inner_product(&query, row));
            let from_parts = cosine_from_parts(dots[i], norm_squared(&query), norm_squared(row));
            assert_eq!(from_parts, cosine(&query, row));
        }
    }
}
