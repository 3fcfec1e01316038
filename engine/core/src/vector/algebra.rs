//! Element-wise operations, slices and the ordering of vectors.
//!
//! Must not know where results are stored: every function writes into a slice that the caller provides.
//! Invariant: no result holds an infinity or NaN that its finite operands did not.

use std::cmp::Ordering;
use std::ops::Range;

use super::{check_dims, check_same_dims};
use crate::error::{Error, ErrorKind, Result};

/// `sum_i += b_i`.
///
/// # Errors
/// `DataException` for different dimensions, `OutOfRange` on overflow; `sum` is then unspecified.
pub fn add_assign(sum: &mut [f32], b: &[f32]) -> Result<()> {
    check_same_dims(sum, b)?;
    sum.iter_mut().zip(b).for_each(|(sum, b)| *sum += b);
    check_overflow(sum)
}

/// `difference_i -= b_i`.
///
/// # Errors
/// As [`add_assign`].
pub fn sub_assign(difference: &mut [f32], b: &[f32]) -> Result<()> {
    check_same_dims(difference, b)?;
    difference
        .iter_mut()
        .zip(b)
        .for_each(|(difference, b)| *difference -= b);
    check_overflow(difference)
}

/// `product_i = a_i * b_i`; all three have the same length.
///
/// # Errors
/// As [`add_assign`], and `OutOfRange` when a product of non-zero factors is zero.
pub fn mul(a: &[f32], b: &[f32], product: &mut [f32]) -> Result<()> {
    check_same_dims(a, b)?;
    product
        .iter_mut()
        .zip(a.iter().zip(b))
        .for_each(|(product, (a, b))| *product = a * b);
    for (&product, (&a, &b)) in product.iter().zip(a.iter().zip(b)) {
        if product.is_infinite() {
            return Err(overflow());
        }
        if product == 0.0 && a != 0.0 && b != 0.0 {
            return Err(Error::new(ErrorKind::OutOfRange, "value out of range: underflow"));
        }
    }
    Ok(())
}

/// The range of elements that `subvector(_, start, count)` takes from `dims` elements; `start` counts from 1, and
/// what lies outside the vector is left out.
///
/// # Errors
/// `DataException` when nothing is left.
pub fn subvector_range(dims: usize, start: i32, count: i32) -> Result<Range<usize>> {
    // In i64 neither a start below 1 nor an end past i32::MAX wraps.
    let first = i64::from(start) - 1;
    let end = usize::try_from(first + i64::from(count)).unwrap_or(0).min(dims);
    let first = usize::try_from(first).unwrap_or(0);
    check_dims(end.saturating_sub(first))?;
    Ok(first..end)
}

/// Orders by the first different element, then by the number of dimensions, as PostgreSQL orders arrays.
pub fn compare(a: &[f32], b: &[f32]) -> Ordering {
    let difference = a.iter().zip(b).find(|(a, b)| a != b);
    match difference {
        Some((a, b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        None => a.len().cmp(&b.len()),
    }
}

/// Packs one bit for each element, the first in the highest bit of the first byte: 1 where the element is positive.
/// `bits` has `a.len().div_ceil(8)` bytes; padding bits become 0.
pub fn binary_quantize(a: &[f32], bits: &mut [u8]) {
    for (byte, elements) in bits.iter_mut().zip(a.chunks(8)) {
        *byte = elements.iter().enumerate().fold(0, |byte, (index, &element)| {
            byte | u8::from(element > 0.0) << (7 - index)
        });
    }
}

/// `sums_i += a_i` in double precision, for averages.
///
/// # Errors
/// `DataException` for different dimensions, `OutOfRange` on overflow; `sums` is then unspecified.
pub fn accumulate<T: Copy + Into<f64>>(sums: &mut [f64], a: &[T]) -> Result<()> {
    super::check_expected_dims(sums.len(), a.len())?;
    sums.iter_mut().zip(a).for_each(|(sum, &a)| *sum += a.into());
    if sums.iter().any(|sum| sum.is_infinite()) {
        Err(overflow())
    } else {
        Ok(())
    }
}

fn check_overflow(elements: &[f32]) -> Result<()> {
    if elements.iter().any(|element| element.is_infinite()) {
        Err(overflow())
    } else {
        Ok(())
    }
}

#[cold]
fn overflow() -> Error {
    Error::new(ErrorKind::OutOfRange, "value out of range: overflow")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::property::cases;

    #[test]
    fn overflow_and_underflow_are_errors() {
        let message = |result: Result<()>| result.map_err(|error| error.message().to_owned());
        let overflow = Err("value out of range: overflow".to_owned());
        assert_eq!(message(add_assign(&mut [3e38], &[3e38])), overflow);
        assert_eq!(message(sub_assign(&mut [-3e38], &[3e38])), overflow);
        assert_eq!(message(mul(&[1e37], &[1e37], &mut [0.0])), overflow);
        assert_eq!(
            message(mul(&[1e-37], &[1e-37], &mut [0.0])),
            Err("value out of range: underflow".to_owned())
        );
        assert_eq!(mul(&[0.0, 1e-37], &[1e-37, 0.0], &mut [1.0, 1.0]), Ok(()));
        assert_eq!(message(accumulate(&mut [f64::MAX], &[f64::MAX])), overflow);
    }

    #[test]
    fn operands_of_different_dimensions_are_refused() {
        let expected = "different vector dimensions 1 and 2";
        for result in [
            add_assign(&mut [1.0], &[1.0, 2.0]),
            mul(&[1.0], &[1.0, 2.0], &mut [0.0]),
        ] {
            assert_eq!(result.expect_err(expected).message(), expected);
        }
        let expected = "expected 1 dimensions, not 2";
        assert_eq!(
            accumulate(&mut [0.0], &[1.0f32, 2.0])
                .expect_err(expected)
                .message(),
            expected
        );
    }

    #[test]
    fn bits_fill_bytes_from_the_highest() {
        let a = [1.0, 0.0, -1.0, 2.0, 1e-45, -0.0, 3.0, 4.0, 5.0, -5.0];
        let mut bits = [0xff; 2];
        binary_quantize(&a, &mut bits);
        assert_eq!(bits, [0b1001_1011, 0b1000_0000]);
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn subvector_is_the_intersection_with_the_vector(
            dims in 1usize..50, start in prop_oneof![-60i32..60, any::<i32>()], count in prop_oneof![-5i32..60, any::<i32>()]
        ) {
            let wanted = i64::from(start)..i64::from(start) + i64::from(count);
            let expected: Vec<usize> = if count < 1 {
                Vec::new()
            } else {
                (0..dims).filter(|&at| wanted.contains(&(i64::try_from(at).expect("small") + 1))).collect()
            };
            match subvector_range(dims, start, count) {
                Ok(range) => prop_assert_eq!(range.collect::<Vec<_>>(), expected),
                Err(error) => {
                    prop_assert!(expected.is_empty());
                    prop_assert_eq!(error.message(), "vector must have at least 1 dimension");
                }
            }
        }

        #[test]
        fn compare_is_a_total_order(
            a in prop::collection::vec(-2i8..3, 1..5), b in prop::collection::vec(-2i8..3, 1..5),
            c in prop::collection::vec(-2i8..3, 1..5)
        ) {
            let [a, b, c] = [a, b, c].map(|v| v.into_iter().map(f32::from).collect::<Vec<_>>());
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert!(compare(&a, &c) != Ordering::Greater);
            }
        }
    }
}
