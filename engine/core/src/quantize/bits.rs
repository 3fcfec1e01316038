//! 1-bit codes: the signs of a row.
//!
//! Bit `i` is `x_i > 0` (so 0 for zeros and NaN). Element `i` is bit `i mod 32` of word `i / 32`; words are 32 bits,
//! little-endian, and the last one is filled up with zeros, so element `i` is also bit `i mod 8` of byte `i / 8`.

use crate::cpu::kernels;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of one row's code: whole words of 32 elements.
pub const fn code_bytes(dims: usize) -> usize {
    dims.div_ceil(32) * 4
}

/// Appends the code of `x` to `out`.
///
/// ```
/// use vectorgpu_core::cpu::kernels;
/// use vectorgpu_core::metric::CodeScore;
/// use vectorgpu_core::quantize::bits;
///
/// let (mut a, mut b) = (Vec::new(), Vec::new());
/// bits::encode(&[0.5, -0.5, 0.0, 3.0], &mut a)?;
/// bits::encode(&[0.5, 0.5, 0.5, 0.5], &mut b)?;
/// assert_eq!((&a[..], &b[..]), (&[0b1001, 0, 0, 0][..], &[0b1111, 0, 0, 0][..]));
/// assert_eq!(kernels().code_row(CodeScore::Hamming, &a, &b), 2);
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `OutOfMemory`.
pub fn encode(x: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let bytes = code_bytes(x.len());
    out.try_reserve(bytes)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
    let start = out.len();
    out.resize(start + bytes, 0);
    kernels().encode_bits(x, &mut out[start..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::Kernels;
    use crate::property::cases;

    fn check(x: &[f32]) {
        for table in Kernels::all_supported() {
            let mut code = vec![0xaa; code_bytes(x.len())];
            table.encode_bits(x, &mut code);
            for i in 0..code.len() * 8 {
                let bit = code[i / 8] >> (i % 8) & 1;
                let expected = u8::from(x.get(i).is_some_and(|x| *x > 0.0));
                assert_eq!(bit, expected, "{} {} bit {i}", table.name(), x.len());
            }
        }
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn a_bit_is_the_sign_of_its_element(bits in prop::collection::vec(any::<u32>(), 0..200)) {
            check(&bits.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn special_values_and_long_vectors_have_the_stated_bits() {
        check(&[]);
        check(&[
            0.0,
            -0.0,
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            -f32::INFINITY,
            f32::from_bits(1),
            -1.0,
        ]);
        let long = if cfg!(miri) { 300 } else { 16_000 };
        check(&(0..long).map(|i| (i as f32 * 1.7).sin()).collect::<Vec<_>>());
        assert_eq!([0, 1, 31, 32, 33, 16_000].map(code_bytes), [0, 4, 4, 4, 8, 2000]);
    }

    #[test]
    fn encoding_appends() {
        let mut out = vec![7];
        encode(&[1.0; 33], &mut out).expect("encode");
        assert_eq!(out, [7, 255, 255, 255, 255, 1, 0, 0, 0]);
    }
}
