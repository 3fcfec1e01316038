//! Products of quantised weights with rounded activations.
//!
//! Whole numbers are multiplied and summed exactly within a group of 16; a group's sum is scaled and added in f32, in an order of each
//! instruction set. So results of two machines may differ in their last bits.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "x86_64")]
mod fused_avx512;
pub(super) mod plain;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod unpack_avx2;

use crate::blocks::BlockType;

/// Weights of a row, unpacked: `numbers` of `[elements]`, `scales` and `minima` of `[elements / 16]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightRow<'a> {
    pub(super) numbers: &'a [u8],
    pub(super) scales: &'a [f32],
    pub(super) minima: &'a [f32],
}

/// A token's activations, as many: `scales` and `sums` of `[elements / 16]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenRow<'a> {
    pub(super) numbers: &'a [i8],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [f32],
}

/// `fn(type, row, numbers, scales, minima)`: a row of whole blocks, of as many elements as there are numbers.
pub(super) type UnpackKernel = unsafe fn(BlockType, &[u8], &mut [u8], &mut [f32], &mut [f32]);
/// `fn(weights, token)`: equally long rows, of a multiple of 32 elements.
pub(super) type ProductKernel = unsafe fn(WeightRow<'_>, TokenRow<'_>) -> f32;

/// `fn(type, row, token)`: the product of a row of whole blocks with an equally long token, for types for which that is faster.
pub(super) type FusedKernel = unsafe fn(BlockType, &[u8], TokenRow<'_>) -> Option<f32>;

/// The kernels of one instruction set.
#[derive(Clone, Copy)]
pub(super) struct BlockKernels {
    pub(super) unpack: UnpackKernel,
    pub(super) product: ProductKernel,
    pub(super) fused: FusedKernel,
}

/// For instruction sets without such a kernel.
pub(super) fn no_fused(_: BlockType, _: &[u8], _: TokenRow<'_>) -> Option<f32> {
    None
}
