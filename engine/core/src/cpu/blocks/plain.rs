//! The definition, in plain loops.

use super::{BlockKernels, TokenRow, WeightRow};
use crate::blocks::{BlockType, GROUP, unpack as unpack_row};

pub(in super::super) const KERNELS: BlockKernels = BlockKernels {
    unpack,
    product,
    fused: super::no_fused,
};

fn unpack(of_type: BlockType, row: &[u8], numbers: &mut [u8], scales: &mut [f32], minima: &mut [f32]) {
    unpack_row(of_type, row, numbers, scales, minima);
}

fn product(weights: WeightRow<'_>, token: TokenRow<'_>) -> f32 {
    let groups = weights
        .numbers
        .chunks_exact(GROUP)
        .zip(token.numbers.chunks_exact(GROUP));
    let scales = weights.scales.iter().zip(token.scales);
    let mut sum = 0.0;
    for ((numbers, others), (scale, other)) in groups.zip(scales) {
        let products = numbers
            .iter()
            .zip(others)
            .map(|(a, b)| i32::from(*a) * i32::from(*b));
        sum += scale * other * products.sum::<i32>() as f32;
    }
    let minima = weights.minima.iter().zip(token.sums);
    sum - minima.map(|(minimum, sum)| minimum * sum).sum::<f32>()
}
