//! Twin of shaders/vector/quantize_bits.wgsl.

use vectorgpu_core::metric::Element;

use super::rows::decoded;

/// Quantises each row to 1-bit codes: element `i` is bit `i mod 32` of word `i / 32`, set where it is above 0, so not
/// for zeros and NaN.
///
/// `rows` is `[n, dims]` row-major in `element`, little-endian, dims >= 1. Returns `[n, dims / 32 rounded up]`; bits
/// beyond the dimensions are 0.
pub fn quantize_bits(element: Element, dims: usize, rows: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    for row in rows.chunks_exact(element.code_bytes(dims)) {
        codes.extend(decoded(element, row).chunks(32).map(|elements| {
            (0..)
                .zip(elements)
                .fold(0, |word, (i, &x): (u32, _)| word | u32::from(x > 0.0) << i)
        }));
    }
    codes
}
