//! Blocks of quantised elements: what they stand for.
//!
//! A block is unpacked into small whole numbers and, for each group of them, a scale and a minimum: an element is `scale * number - minimum`.
//! Layouts are those of the ggml library (ggml-common.h); numbers are f32 as it computes them. Must not know tensors.

mod unpack;

pub use unpack::{Unpacked, unpack};

use half::{bf16, f16};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::tensor::DType;

/// Decodes whole blocks: `bytes` of type `dtype` into as many elements as `out` has.
///
/// # Errors
/// `Internal` when `bytes` are not those of `out.len()` elements.
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    if dtype.bytes(out.len()) != Ok(bytes.len()) {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("{} bytes of {} for {} elements", bytes.len(), dtype.name(), out.len()),
        ));
    }
    match dtype {
        DType::F32 => decode_each(bytes, out, f32::from_le_bytes),
        DType::F16 => decode_each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
        DType::BF16 => decode_each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => {
            let mut unpacked = Unpacked::default();
            let blocks = bytes.chunks_exact(dtype.block_bytes());
            for (block, out) in blocks.zip(out.chunks_exact_mut(dtype.block_elements())) {
                unpack(dtype, block, &mut unpacked);
                unpacked.values(out);
            }
        }
    }
    Ok(())
}

fn decode_each<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = decode(*bytes);
    }
}
