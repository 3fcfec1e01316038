//! What an element of a dense vector has to offer: `f32` in `vector`, `f16` in `halfvec`.
//!
//! Invariant: arithmetic is that of f32 followed by one rounding to the element type. For halves this is the correctly
//! rounded result of one operation, because f32 has more than twice their digits.

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::cpu::{CosineParts, kernels};
use crate::error::Result;
use crate::metric::{Element, Score};
use crate::vector_type::VectorType;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
}

/// An element type of a dense vector.
pub trait DenseElement: Pod + PartialOrd + sealed::Sealed {
    /// The SQL type that has such elements.
    const TYPE: VectorType;

    /// The nearest element, ties to even; infinite beyond the largest.
    fn nearest(value: f32) -> Self;

    /// Whether it is neither NaN nor infinite.
    fn is_finite(self) -> bool;

    /// Whether it is NaN.
    fn is_nan(self) -> bool;

    /// Reads an element in network order from `size_of::<Self>()` bytes.
    ///
    /// # Panics
    /// When `bytes` has another length.
    fn from_network(bytes: &[u8]) -> Self;

    /// Appends the element in network order.
    fn append_network(self, bytes: &mut Vec<u8>);

    /// Writes the values of `elements`, as many as there are of both.
    fn widen(elements: &[Self], values: &mut [f32]);

    /// Writes the nearest elements of `values`, as many as there are of both.
    fn narrow(values: &[f32], elements: &mut [Self]);

    /// Calls `visit` with the values of `elements`, run after run, each with the position of its first element.
    fn visit(elements: &[Self], visit: impl FnMut(usize, &[f32]));

    /// `a_i = operation(a_i, b_i)`, rounded to the element type, for as many as there are of both.
    fn update(a: &mut [Self], b: &[Self], operation: impl Fn(f32, f32) -> f32);

    /// The score of two vectors of the same length, in f32.
    fn score(score: Score, a: &[Self], b: &[Self]) -> f32;

    /// The three sums of a cosine of two vectors of the same length, in f32.
    fn cosine_parts(a: &[Self], b: &[Self]) -> CosineParts;

    /// `|a|^2`, summed in f64.
    fn square(a: &[Self]) -> f64;
}

/// The nearest element to `value`, if it is a number that the type holds or was never finite.
///
/// # Errors
/// `OutOfRange`, quoting the value as PostgreSQL prints it, for a finite value that becomes infinite.
pub fn checked_nearest<T: DenseElement>(value: f32) -> Result<T> {
    let element = T::nearest(value);
    if element.is_finite() || !value.is_finite() {
        return Ok(element);
    }
    let mut text = Vec::new();
    super::print_float::print(value, &mut text);
    Err(T::TYPE.out_of_range(&text))
}

/// Writes the nearest elements of `values`; both have the same length.
///
/// # Errors
/// As [`checked_nearest`], for the first such value; `elements` is then unspecified.
pub fn checked_narrow<T: DenseElement>(values: &[f32], elements: &mut [T]) -> Result<()> {
    T::narrow(values, elements);
    match elements
        .iter()
        .zip(values)
        .find(|(element, _)| !element.is_finite())
    {
        Some((_, &value)) => checked_nearest::<T>(value).map(drop),
        None => Ok(()),
    }
}

impl DenseElement for f32 {
    const TYPE: VectorType = VectorType::Vector;

    #[inline]
    fn nearest(value: f32) -> Self {
        value
    }

    #[inline]
    fn is_finite(self) -> bool {
        self.is_finite()
    }

    #[inline]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    #[inline]
    fn from_network(bytes: &[u8]) -> Self {
        Self::from_be_bytes(bytes.try_into().expect("four bytes"))
    }

    #[inline]
    fn append_network(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    #[inline]
    fn widen(elements: &[Self], values: &mut [f32]) {
        values
            .iter_mut()
            .zip(elements)
            .for_each(|(value, &element)| *value = element);
    }

    #[inline]
    fn narrow(values: &[f32], elements: &mut [Self]) {
        Self::widen(values, elements);
    }

    #[inline]
    fn visit(elements: &[Self], mut visit: impl FnMut(usize, &[f32])) {
        visit(0, elements);
    }

    #[inline]
    fn update(a: &mut [Self], b: &[Self], operation: impl Fn(f32, f32) -> f32) {
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = operation(*a, b));
    }

    #[inline]
    fn score(score: Score, a: &[Self], b: &[Self]) -> f32 {
        debug_assert_eq!(a.len(), b.len());
        kernels().row(score, Element::F32, a, bytemuck::cast_slice(b))
    }

    #[inline]
    fn cosine_parts(a: &[Self], b: &[Self]) -> CosineParts {
        debug_assert_eq!(a.len(), b.len());
        kernels().cosine_parts(a, b)
    }

    #[inline]
    fn square(a: &[Self]) -> f64 {
        kernels().square(a)
    }
}

/// Elements that are converted together: few enough for the first cache, and many to a test of what the CPU can do.
const RUN: usize = 64;

impl DenseElement for f16 {
    const TYPE: VectorType = VectorType::Halfvec;

    #[inline]
    fn nearest(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline]
    fn is_finite(self) -> bool {
        self.is_finite()
    }

    #[inline]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    #[inline]
    fn from_network(bytes: &[u8]) -> Self {
        Self::from_be_bytes(bytes.try_into().expect("two bytes"))
    }

    #[inline]
    fn append_network(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    fn widen(elements: &[Self], values: &mut [f32]) {
        let count = elements.len().min(values.len());
        elements[..count].convert_to_f32_slice(&mut values[..count]);
    }

    fn narrow(values: &[f32], elements: &mut [Self]) {
        let count = elements.len().min(values.len());
        elements[..count].convert_from_f32_slice(&values[..count]);
    }

    fn visit(elements: &[Self], mut visit: impl FnMut(usize, &[f32])) {
        let mut values = [0.0; RUN];
        for (run, elements) in elements.chunks(RUN).enumerate() {
            Self::widen(elements, &mut values);
            visit(run * RUN, &values[..elements.len()]);
        }
    }

    fn update(a: &mut [Self], b: &[Self], operation: impl Fn(f32, f32) -> f32) {
        let (mut values, mut others) = ([0.0; RUN], [0.0; RUN]);
        for (a, b) in a.chunks_mut(RUN).zip(b.chunks(RUN)) {
            Self::widen(a, &mut values);
            Self::widen(b, &mut others);
            let count = a.len().min(b.len());
            f32::update(&mut values[..count], &others[..count], &operation);
            Self::narrow(&values[..count], a);
        }
    }

    #[inline]
    fn score(score: Score, a: &[Self], b: &[Self]) -> f32 {
        kernels().half_pair(score, bytemuck::cast_slice(a), bytemuck::cast_slice(b))
    }

    #[inline]
    fn cosine_parts(a: &[Self], b: &[Self]) -> CosineParts {
        kernels().half_cosine_parts(bytemuck::cast_slice(a), bytemuck::cast_slice(b))
    }

    fn square(a: &[Self]) -> f64 {
        let mut values = vec![0.0; a.len()];
        Self::widen(a, &mut values);
        kernels().square(&values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_and_overflow_where_pgvector_does() {
        for (value, element) in [
            (65_504.0, Some(65_504.0)),
            (65_519.996, Some(65_504.0)),
            (65_520.0, None),
            (-65_520.0, None),
            (2049.0, Some(2048.0)),
            (2051.0, Some(2052.0)),
            (5.960_464_5e-8, Some(5.960_464_5e-8)),
            (2.980_232_2e-8, Some(0.0)),
            (2.980_233e-8, Some(5.960_464_5e-8)),
            (1e-45, Some(0.0)),
        ] {
            assert_eq!(
                checked_nearest::<f16>(value).ok().map(f16::to_f32),
                element,
                "{value}"
            );
            assert_eq!(checked_nearest::<f32>(value), Ok(value));
        }
        let error = checked_nearest::<f16>(65_520.0).expect_err("too large");
        assert_eq!(error.message(), "\"65520\" is out of range for type halfvec");
        let error = checked_nearest::<f16>(-1e7).expect_err("too large");
        assert_eq!(error.message(), "\"-1e+07\" is out of range for type halfvec");
        let mut halves = [f16::ZERO; 3];
        assert_eq!(checked_narrow(&[1.0, -2.0, 0.5], &mut halves), Ok(()));
        assert_eq!(halves.map(f16::to_f32), [1.0, -2.0, 0.5]);
        let error = checked_narrow(&[1.0, 7e4, 8e4], &mut halves).expect_err("too large");
        assert_eq!(error.message(), "\"70000\" is out of range for type halfvec");
        assert!(checked_nearest::<f16>(f32::NEG_INFINITY).is_ok_and(|element| element.is_infinite()));
        assert!(checked_nearest::<f16>(f32::NAN).is_ok_and(f16::is_nan));
    }

    #[test]
    #[cfg_attr(miri, ignore = "64,512 halves, and no unsafe code of ours")]
    fn every_half_widens_and_narrows_to_itself() {
        let halves: Vec<f16> = (0..=u16::MAX)
            .map(f16::from_bits)
            .filter(|half| !half.is_nan())
            .collect();
        let mut values = vec![0.0; halves.len()];
        f16::widen(&halves, &mut values);
        let mut back = vec![f16::ZERO; halves.len()];
        f16::narrow(&values, &mut back);
        let bits = |halves: &[f16]| halves.iter().map(|half| half.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&halves));
        let mut visited = Vec::new();
        f16::visit(&halves[..200], |first, run| {
            assert_eq!(first, visited.len());
            visited.extend_from_slice(run);
        });
        assert_eq!(visited, values[..200]);
    }

    #[test]
    fn norms_are_those_of_the_widened_elements() {
        for dims in [1, 7, 8, 64, 65, 1000] {
            let values: Vec<f32> = (0..dims)
                .map(|i| f16::from_f32((i as f32 * 0.37).sin()).to_f32())
                .collect();
            let mut halves = vec![f16::ZERO; dims];
            f16::narrow(&values, &mut halves);
            assert_eq!(f16::square(&halves).to_bits(), f32::square(&values).to_bits());
        }
    }
}
