//! What the stored elements of a tensor stand for.

use half::{bf16, f16};
use vectorgpu_core::blocks::Numbers;
use vectorgpu_core::cpu::kernels;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::tensor::DType;

/// Decodes whole blocks: `bytes` of type `dtype` into as many elements as `out` has.
///
/// # Errors
/// `Internal` when `bytes` are not those of `out.len()` elements; `OutOfMemory`.
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    if dtype.bytes(out.len()) != Ok(bytes.len()) {
        return Err(Error::new(
            ErrorKind::Internal,
            format!(
                "{} bytes of {} for {} elements",
                bytes.len(),
                dtype.name(),
                out.len()
            ),
        ));
    }
    match dtype {
        DType::F32 => decode_each(bytes, out, f32::from_le_bytes),
        DType::F16 => decode_each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
        DType::BF16 => decode_each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        DType::Blocks(of_type) => {
            let mut numbers = Numbers::with_room(of_type.elements())?;
            let blocks = bytes.chunks_exact(of_type.bytes());
            for (block, out) in blocks.zip(out.chunks_exact_mut(of_type.elements())) {
                kernels().unpack_blocks(of_type, block, &mut numbers);
                numbers.values(out);
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
