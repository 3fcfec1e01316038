//! Twin of shaders/vector/quantize_int8.wgsl.

use vectorgpu_core::metric::Element;

use super::rows::decoded;

/// 2^-119: a row whose largest magnitude lies below it counts as zero.
const NORMAL_MIN: f32 = f32::from_bits((127 - 119) << 23);

/// Quantises each row to int8 codes with one scale, in f32 operations of one rounding each: with `max` the largest
/// magnitude, `scale = max / 127` and `code = round(x * (127 / max))`, ties to even.
///
/// `rows` is `[n, dims]` row-major in `element`, little-endian, dims >= 1. Returns codes `[n, dims]` and scales `[n]`. A
/// row below 2^-119 has scale 0 and codes 0; a row that holds NaN or infinity has scale NaN and codes 0.
pub fn quantize_int8(element: Element, dims: usize, rows: &[u8]) -> (Vec<i8>, Vec<f32>) {
    let mut codes = Vec::new();
    let mut scales = Vec::new();
    for row in rows.chunks_exact(element.code_bytes(dims)) {
        let row = decoded(element, row);
        let max = row.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        let is_finite = row.iter().all(|x| x.is_finite());
        let has_codes = is_finite && max >= NORMAL_MIN;
        scales.push(match (is_finite, has_codes) {
            (false, _) => f32::NAN,
            (true, false) => 0.0,
            (true, true) => max / 127.0,
        });
        let inverse = 127.0 / max;
        codes.extend(row.iter().map(|&x| if has_codes { code(x * inverse) } else { 0 }));
    }
    (codes, scales)
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the type's range")]
fn code(scaled: f32) -> i8 {
    scaled.round_ties_even().clamp(-127.0, 127.0) as i8
}
