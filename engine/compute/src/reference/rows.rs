//! Reading rows as the shaders' `rows_f32` and `rows_f16` do.

use half::f16;
use vectorgpu_core::metric::Storage;

/// The elements of little-endian `codes` in `storage`, exactly.
pub(super) fn decoded(storage: Storage, codes: &[u8]) -> Vec<f32> {
    match storage {
        Storage::F32 => codes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
        Storage::F16 => codes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
            .collect(),
    }
}
