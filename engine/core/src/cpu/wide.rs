//! Sums in f64 of products of f32, which the compiler fits to each instruction set: a table wraps them in functions of its
//! own target features.
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

#[cfg(test)]
mod tests {
    use crate::cpu::Kernels;

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
