//! Twin of shaders/llm/embed.wgsl, and what weights of each type stand for.

use half::{bf16, f16};
use vectorgpu_core::blocks::Numbers;
use vectorgpu_core::cpu::kernels;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::weights::WeightType;

/// The numbers that rows of `inputs` weights stand for: `[rows, inputs]`.
///
/// # Errors
/// As [`WeightType::row_bytes`]; `OutOfMemory`.
pub fn weights(weight_type: WeightType, inputs: usize, bytes: &[u8]) -> Result<Vec<f32>> {
    let row_bytes = weight_type.row_bytes(inputs)?;
    let mut values = Vec::new();
    values
        .try_reserve_exact(bytes.len() / row_bytes * inputs)
        .map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for weights").with_detail(error.to_string())
        })?;
    match weight_type {
        WeightType::F32 => values.extend(bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x))),
        WeightType::F16 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|&x| f16::from_le_bytes(x).to_f32()),
        ),
        WeightType::BF16 => values.extend(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|&x| bf16::from_le_bytes(x).to_f32()),
        ),
        WeightType::Blocks(of_type) => {
            let mut numbers = Numbers::with_room(inputs)?;
            let mut row_values = vec![0.0; inputs];
            for row in bytes.chunks_exact(row_bytes) {
                kernels().unpack_blocks(of_type, row, &mut numbers);
                numbers.values(&mut row_values);
                values.extend_from_slice(&row_values);
            }
        }
    }
    Ok(values)
}

/// Rows of `weights`, `[rows, inputs]`, by number; zeros for a token that is no row. Returns `[tokens, inputs]`.
pub fn embed(weights: &[f32], inputs: usize, tokens: &[u32]) -> Vec<f32> {
    let row_of = |token: u32| {
        let start = usize::try_from(token).unwrap_or(usize::MAX).checked_mul(inputs)?;
        weights.get(start..start.checked_add(inputs)?)
    };
    let rows = tokens
        .iter()
        .map(|&token| row_of(token).map_or(vec![0.0; inputs], <[f32]>::to_vec));
    rows.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embed_takes_rows_by_number_and_zeros_for_others() {
        assert_eq!(
            embed(&[1.0, 2.0, 3.0, 4.0], 2, &[1, 9, 0]),
            [3.0, 4.0, 0.0, 0.0, 1.0, 2.0]
        );
    }

    #[test]
    fn the_upper_half_of_a_number_is_that_number_rounded() {
        let bytes = [0x80_u8, 0x3f].repeat(32);
        assert_eq!(weights(WeightType::BF16, 32, &bytes).unwrap(), [1.0; 32]);
    }
}
