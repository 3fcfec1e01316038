//! Sums in f64 of f32 and their products, and what is done to each element by itself, which the compiler fits to each instruction set: a
//! table wraps them in functions of its own target features.
//!
//! Invariant: sums run in one order and none of the operations is fused, so every machine computes the same.

/// Partial sums, so that none waits for the one before.
const LANES: usize = 8;

/// `|a|^2`: element `i` is added into partial sum `i mod 8`, those one after the other, then what is left of `a`.
#[inline(always)]
pub(super) fn square(a: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (groups, tail) = a.as_chunks::<LANES>();
    for group in groups {
        for (sum, x) in sums.iter_mut().zip(group) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let tail: f64 = tail.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    sums.iter().sum::<f64>() + tail
}

/// `sums_i += weight * a_i`, for as many as there are of both.
#[inline(always)]
pub(super) fn add(sums: &mut [f64], a: &[f32], weight: f64) {
    for (sum, x) in sums.iter_mut().zip(a) {
        *sum += f64::from(*x) * weight;
    }
}

/// `x_i = factor * x_i`, in f64.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "rounding to the element type")]
pub(super) fn scale(x: &mut [f32], factor: f64) {
    for x in x {
        *x = (f64::from(*x) * factor) as f32;
    }
}

/// `x_i -= weight * a_i`, in f32, for as many as there are of both.
#[inline(always)]
pub(super) fn subtract(x: &mut [f32], a: &[f32], weight: f32) {
    for (x, a) in x.iter_mut().zip(a) {
        *x -= weight * a;
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::Kernels;

    #[test]
    fn every_table_scales_and_subtracts_bit_for_bit() {
        let a: Vec<f32> = (0..77u8).map(|i| (f32::from(i) * 0.37).sin()).collect();
        for length in [0, 1, 7, 16, 31, 77] {
            let x: Vec<f32> = a[..length].iter().rev().map(|x| x * 1.7).collect();
            let scaled: Vec<f32> = x.iter().map(|x| x / 3.0).collect();
            let product = 1.0f64 / 3.0;
            let near = |x: &f32, y: &f32| (x - y).abs() <= f32::EPSILON * y.abs();
            let less: Vec<f32> = x.iter().zip(&a).map(|(x, a)| x - 0.7 * a).collect();
            let mut first = None;
            for table in Kernels::all_supported() {
                let (mut by_scale, mut by_subtraction) = (x.clone(), x.clone());
                table.scale(&mut by_scale, product);
                table.subtract(&mut by_subtraction, &a[..length], 0.7);
                assert_eq!(by_subtraction, less, "{} {length}", table.name());
                assert!(by_scale.iter().zip(&scaled).all(|(x, y)| near(x, y)));
                assert_eq!(
                    &by_scale,
                    first.get_or_insert(by_scale.clone()),
                    "{}",
                    table.name()
                );
            }
        }
    }

    #[test]
    fn every_table_adds_alike() {
        let a: Vec<f32> = (0..77u8).map(|i| (f32::from(i) * 0.37).sin()).collect();
        for length in [0, 1, 7, 8, 9, 31, 77] {
            let start: Vec<f64> = (0..length).map(|i| (i as f64).cos()).collect();
            let expected: Vec<f64> = start
                .iter()
                .zip(&a)
                .map(|(sum, x)| sum + f64::from(*x) / 3.0)
                .collect();
            for table in Kernels::all_supported() {
                let mut sums = start.clone();
                table.add(&mut sums, &a[..length], 1.0 / 3.0);
                assert_eq!(sums.len(), length);
                for (sum, expected) in sums.iter().zip(&expected) {
                    assert!((sum - expected).abs() <= 1e-15, "{} {length}", table.name());
                }
                let mut other = start.clone();
                super::add(&mut other, &a[..length], 1.0 / 3.0);
                assert_eq!(sums, other, "{} {length}", table.name());
            }
        }
    }

    #[test]
    fn every_table_sums_alike() {
        let a: Vec<f32> = (0..200u8)
            .map(|i| (f32::from(i) * 0.37).sin() * 10f32.powi(i32::from(i % 60) - 30))
            .collect();
        for length in [0, 1, 7, 8, 9, 16, 31, 32, 33, 100, 200] {
            let expected = super::square(&a[..length]);
            let exact: f64 = a[..length].iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((expected - exact).abs() <= 1e-14 * exact);
            for table in Kernels::all_supported() {
                let square = table.square(&a[..length]);
                assert_eq!(square.to_bits(), expected.to_bits(), "{} {length}", table.name());
            }
        }
    }
}
