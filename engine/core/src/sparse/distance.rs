//! The distances that the SQL operators return for sparse vectors.
//!
//! Invariant: sums run in ascending order of indices, in f32, without fused operations, so every machine computes the
//! same. The two vectors of every function have the same number of dimensions (callers check).
//!
//! ```
//! use vectorgpu_core::sparse::{Sparse, distance};
//!
//! let a = Sparse { dims: 5, indices: &[0, 3], values: &[1.0, 2.0] };
//! let b = Sparse { dims: 5, indices: &[3, 4], values: &[5.0, 4.0] };
//! assert_eq!(distance::l2(a, b), (1.0f64 + 9.0 + 16.0).sqrt());
//! assert_eq!(distance::inner_product(a, b), 10.0);
//! assert_eq!(distance::l1(a, b), 8.0);
//! ```

use super::{Sparse, SparseBuffer};
use crate::distance::{cosine_from_parts, l2_from_squared, quotient};

/// Computes `sum((a_i - b_i)^2)` in f32.
pub fn l2_squared(a: Sparse<'_>, b: Sparse<'_>) -> f32 {
    let mut sum = 0.0;
    for_each_pair(a, b, |x, y| sum += (x - y) * (x - y));
    sum
}

/// Computes the Euclidean distance, `<->`.
pub fn l2(a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    l2_from_squared(l2_squared(a, b))
}

/// Computes `sum(a_i * b_i)`, summed in f32.
pub fn inner_product(a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    f64::from(dot(a, b))
}

/// Computes `-sum(a_i * b_i)`, `<#>`, summed in f32.
pub fn negative_inner_product(a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    -inner_product(a, b)
}

/// Computes the cosine distance in `[0, 2]`, `<=>`; NaN when a vector is zero.
pub fn cosine(a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    cosine_from_parts(dot(a, b), norm_squared(a), norm_squared(b))
}

/// Computes `|a|^2` in f32: the value that [`cosine`] uses.
pub fn norm_squared(a: Sparse<'_>) -> f32 {
    a.values.iter().fold(0.0, |sum, x| sum + x * x)
}

/// Computes `sum(|a_i - b_i|)`, `<+>`, summed in f32.
pub fn l1(a: Sparse<'_>, b: Sparse<'_>) -> f64 {
    let mut sum = 0.0f32;
    for_each_pair(a, b, |x, y| sum += (x - y).abs());
    f64::from(sum)
}

/// Computes the Euclidean norm, summed in f64.
pub fn norm(a: Sparse<'_>) -> f64 {
    let square = a
        .values
        .iter()
        .fold(0.0f64, |sum, &x| sum + f64::from(x) * f64::from(x));
    square.sqrt()
}

/// Scales a vector to length 1; a zero vector stays zero. What becomes zero is left out.
pub fn l2_normalize(a: Sparse<'_>) -> SparseBuffer {
    let norm = norm(a);
    let (indices, values) = a
        .indices
        .iter()
        .zip(a.values)
        .map(|(&index, &x)| (index, quotient(f64::from(x), norm)))
        .filter(|(_, value)| *value != 0.0)
        .unzip();
    SparseBuffer {
        dims: a.dims,
        indices,
        values,
    }
}

fn dot(a: Sparse<'_>, b: Sparse<'_>) -> f32 {
    let mut sum = 0.0;
    let (mut i, mut j) = (0, 0);
    while let (Some(a_index), Some(b_index)) = (a.indices.get(i), b.indices.get(j)) {
        if a_index == b_index {
            sum += a.values[i] * b.values[j];
        }
        // Both may go on: no jump depends on which vector is behind.
        i += usize::from(a_index <= b_index);
        j += usize::from(b_index <= a_index);
    }
    sum
}

/// Calls `visit(a_i, b_i)` wherever one of them is not zero, in ascending order.
#[inline]
fn for_each_pair(a: Sparse<'_>, b: Sparse<'_>, mut visit: impl FnMut(f32, f32)) {
    let (mut i, mut j) = (0, 0);
    while let (Some(a_index), Some(b_index)) = (a.indices.get(i), b.indices.get(j)) {
        let (takes_a, takes_b) = (a_index <= b_index, b_index <= a_index);
        visit(
            if takes_a { a.values[i] } else { 0.0 },
            if takes_b { b.values[j] } else { 0.0 },
        );
        i += usize::from(takes_a);
        j += usize::from(takes_b);
    }
    a.values[i..].iter().for_each(|&x| visit(x, 0.0));
    b.values[j..].iter().for_each(|&y| visit(0.0, y));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::strategy::sparse;
    use super::super::to_dense;
    use super::*;
    use crate::property::cases;

    /// The elements in f64, where their sums are exact enough to compare with.
    fn dense(vector: Sparse<'_>) -> Vec<f64> {
        let mut elements = vec![0.0f32; vector.dims];
        to_dense(vector, &mut elements).expect("inside");
        elements.into_iter().map(f64::from).collect()
    }

    fn near(value: f64, expected: f64, magnitude: f64) -> bool {
        // At most 40 additions, each of which rounds by 2^-24 of the sum of magnitudes.
        (value - expected).abs() <= 45.0 * magnitude * 2f64.powi(-24) || (value.is_nan() && expected.is_nan())
    }

    proptest! {
        #![proptest_config(cases(1000))]

        #[test]
        fn values_are_those_of_the_dense_vectors(
            (a, b) in (1..30).prop_flat_map(|dims| {
                let value = || prop_oneof![-3f32..-0.01, 0.01f32..3.0];
                (sparse(dims, value()), sparse(dims, value()))
            })
        ) {
            let (a, b) = (a.as_sparse(), b.as_sparse());
            let (x, y) = (dense(a), dense(b));
            let sum = |term: fn(f64, f64) -> f64| -> f64 { x.iter().zip(&y).map(|(x, y)| term(*x, *y)).sum() };
            let squares = sum(|x, y| (x - y) * (x - y));
            prop_assert!(near(f64::from(l2_squared(a, b)), squares, squares));
            let product = sum(|x, y| x * y);
            prop_assert!(near(inner_product(a, b), product, sum(|x, y| (x * y).abs())));
            prop_assert_eq!(negative_inner_product(a, b), -inner_product(a, b));
            let taxicab = sum(|x, y| (x - y).abs());
            prop_assert!(near(l1(a, b), taxicab, taxicab));
            let norms = (sum(|x, _| x * x), sum(|_, y| y * y));
            prop_assert!(near(cosine(a, b), 1.0 - product / (norms.0 * norms.1).sqrt(), 4.0));
            prop_assert!((norm(a) - norms.0.sqrt()).abs() <= 1e-12 * norm(a));
        }
    }

    #[test]
    fn normalised_vectors_have_length_one_and_no_zero() {
        let a = Sparse {
            dims: 9,
            indices: &[1, 4, 8],
            values: &[3.0, 1e-45, -4.0],
        };
        let normal = l2_normalize(a);
        let expected = Sparse {
            dims: 9,
            indices: &[1, 8],
            values: &[0.6, -0.8],
        };
        assert_eq!(normal.as_sparse(), expected);
        let zero = Sparse {
            dims: 9,
            indices: &[],
            values: &[],
        };
        assert_eq!(l2_normalize(zero).as_sparse(), zero);
        assert!(cosine(zero, expected).is_nan());
    }
}
