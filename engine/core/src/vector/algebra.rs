//! Element-wise operations, slices and the ordering of vectors.
//!
//! Must not know where results are stored: every function writes into a slice that the caller provides.
//! Invariant: no result holds an infinity or NaN that its finite operands did not.

use std::cmp::Ordering;
use std::ops::Range;

use super::{DenseElement, check_same_dims};
use crate::error::{Error, ErrorKind, Result};
use crate::vector_type::{VectorType, check_expected_dims};

/// `sum_i += b_i`.
///
/// # Errors
/// `DataException` for different dimensions, `OutOfRange` on overflow; `sum` is then unspecified.
pub fn add_assign<T: DenseElement>(sum: &mut [T], b: &[T]) -> Result<()> {
    check_same_dims(sum, b)?;
    T::update(sum, b, |sum, b| sum + b);
    check_overflow(sum)
}

/// `difference_i -= b_i`.
///
/// # Errors
/// As [`add_assign`].
pub fn sub_assign<T: DenseElement>(difference: &mut [T], b: &[T]) -> Result<()> {
    check_same_dims(difference, b)?;
    T::update(difference, b, |difference, b| difference - b);
    check_overflow(difference)
}

/// `product_i = a_i * b_i`; all three have the same length.
///
/// # Errors
/// As [`add_assign`], and `OutOfRange` when a product of non-zero factors is zero.
pub fn mul<T: DenseElement>(a: &[T], b: &[T], product: &mut [T]) -> Result<()> {
    check_same_dims(a, b)?;
    product.copy_from_slice(a);
    T::update(product, b, |a, b| a * b);
    let zero = T::nearest(0.0);
    for (&product, (&a, &b)) in product.iter().zip(a.iter().zip(b)) {
        if !product.is_finite() {
            return Err(overflow());
        }
        if product == zero && a != zero && b != zero {
            return Err(Error::new(ErrorKind::OutOfRange, "value out of range: underflow"));
        }
    }
    Ok(())
}

/// The range of elements that `subvector(_, start, count)` takes from `dims` elements of a value of type `kind`; `start`
/// counts from 1, and what lies outside the vector is left out.
///
/// # Errors
/// `DataException` when nothing is left.
pub fn subvector_range(kind: VectorType, dims: usize, start: i32, count: i32) -> Result<Range<usize>> {
    // In i64 neither a start below 1 nor an end past i32::MAX wraps.
    let first = i64::from(start) - 1;
    let end = usize::try_from(first + i64::from(count)).unwrap_or(0).min(dims);
    let first = usize::try_from(first).unwrap_or(0);
    kind.check_dims(end.saturating_sub(first))?;
    Ok(first..end)
}

/// Orders by the first different element, then by the number of dimensions, as PostgreSQL orders arrays.
pub fn compare<T: DenseElement>(a: &[T], b: &[T]) -> Ordering {
    let difference = a.iter().zip(b).find(|(a, b)| a != b);
    match difference {
        Some((a, b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        None => a.len().cmp(&b.len()),
    }
}

/// Packs one bit for each element, the first in the highest bit of the first byte: 1 where the element is positive.
/// `bits` has `a.len().div_ceil(8)` bytes; padding bits become 0.
pub fn binary_quantize<T: DenseElement>(a: &[T], bits: &mut [u8]) {
    let zero = T::nearest(0.0);
    for (byte, elements) in bits.iter_mut().zip(a.chunks(8)) {
        *byte = elements.iter().enumerate().fold(0, |byte, (index, &element)| {
            byte | u8::from(element > zero) << (7 - index)
        });
    }
}

/// `sums_i += a_i` in double precision, for averages.
///
/// # Errors
/// `DataException` for different dimensions, `OutOfRange` on overflow; `sums` is then unspecified.
pub fn accumulate<T: DenseElement>(sums: &mut [f64], a: &[T]) -> Result<()> {
    check_expected_dims(sums.len(), a.len())?;
    T::visit(a, |first, values| {
        sums[first..]
            .iter_mut()
            .zip(values)
            .for_each(|(sum, &value)| *sum += f64::from(value));
    });
    check_sums(sums)
}

/// `sums_i += others_i`, for sums of two parts of the rows.
///
/// # Errors
/// As [`accumulate`].
pub fn combine(sums: &mut [f64], others: &[f64]) -> Result<()> {
    check_expected_dims(sums.len(), others.len())?;
    sums.iter_mut()
        .zip(others)
        .for_each(|(sum, &other)| *sum += other);
    check_sums(sums)
}

fn check_sums(sums: &[f64]) -> Result<()> {
    if sums.iter().any(|sum| sum.is_infinite()) {
        Err(overflow())
    } else {
        Ok(())
    }
}

fn check_overflow<T: DenseElement>(elements: &[T]) -> Result<()> {
    if elements.iter().all(|element| element.is_finite()) {
        Ok(())
    } else {
        Err(overflow())
    }
}

#[cold]
fn overflow() -> Error {
    Error::new(ErrorKind::OutOfRange, "value out of range: overflow")
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::property::cases;

    #[test]
    fn overflow_and_underflow_are_errors() {
        let message = |result: Result<()>| result.map_err(|error| error.message().to_owned());
        let overflow = Err("value out of range: overflow".to_owned());
        assert_eq!(message(add_assign(&mut [3e38f32], &[3e38])), overflow);
        assert_eq!(message(sub_assign(&mut [-3e38f32], &[3e38])), overflow);
        assert_eq!(message(mul(&[1e37f32], &[1e37], &mut [0.0])), overflow);
        assert_eq!(
            message(mul(&[1e-37f32], &[1e-37], &mut [0.0])),
            Err("value out of range: underflow".to_owned())
        );
        assert_eq!(mul(&[0.0f32, 1e-37], &[1e-37, 0.0], &mut [1.0, 1.0]), Ok(()));
        assert_eq!(message(combine(&mut [f64::MAX], &[f64::MAX])), overflow);
    }

    #[test]
    fn halves_are_rounded_once_and_overflow_at_their_own_bound() {
        let halves = |values: &[f32]| values.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>();
        let mut sum = halves(&[2048.0, 0.1, -1.0].repeat(40));
        add_assign(&mut sum, &halves(&[1.0, 0.2, 1.0].repeat(40))).expect("in range");
        assert_eq!(sum, halves(&[2048.0, 0.299_92, 0.0].repeat(40)));
        let message = |result: Result<()>| result.map_err(|error| error.message().to_owned());
        let overflow = Err("value out of range: overflow".to_owned());
        assert_eq!(
            message(add_assign(&mut halves(&[65_504.0]), &halves(&[65_504.0]))),
            overflow
        );
        assert_eq!(
            message(mul(&halves(&[1e3]), &halves(&[1e3]), &mut [f16::ZERO])),
            overflow
        );
        assert_eq!(
            message(mul(&halves(&[1e-7]), &halves(&[1e-3]), &mut [f16::ZERO])),
            Err("value out of range: underflow".to_owned())
        );
        let error = add_assign(&mut halves(&[1.0]), &halves(&[1.0, 2.0])).expect_err("dimensions");
        assert_eq!(error.message(), "different halfvec dimensions 1 and 2");
        let mut sums = vec![0.5; 100];
        accumulate(&mut sums, &halves(&[0.25; 100])).expect("in range");
        assert_eq!(sums, [0.75; 100]);
    }

    #[test]
    fn operands_of_different_dimensions_are_refused() {
        let expected = "different vector dimensions 1 and 2";
        for result in [
            add_assign(&mut [1.0f32], &[1.0, 2.0]),
            mul(&[1.0f32], &[1.0, 2.0], &mut [0.0]),
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
        let a = [1.0f32, 0.0, -1.0, 2.0, 1e-45, -0.0, 3.0, 4.0, 5.0, -5.0];
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
            match subvector_range(VectorType::Vector, dims, start, count) {
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
