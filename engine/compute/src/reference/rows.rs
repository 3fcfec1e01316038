//! Reading rows as the shaders' `rows_f32` and `rows_f16` do.

use half::f16;
use vectorgpu_core::metric::Element;

/// The elements of little-endian `codes` in `element`, exactly.
pub(super) fn decoded(element: Element, codes: &[u8]) -> Vec<f32> {
    match element {
        Element::F32 => codes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
        Element::F16 => codes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
            .collect(),
    }
}
