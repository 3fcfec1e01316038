//! Kernels for quantised codes: int8 products and squared differences, and bit counts.
//!
//! Every kernel takes bytes and sums 32-bit integers, so one loop per instruction set serves all of them, and the order
//! of summation is free. Invariant: every kernel returns the exact sum, modulo 2^32, for all bytes: -128 too, which no
//! encoder writes, but a damaged page may hold.

use crate::limits::MAX_DIMS;

pub(super) mod nibbles;
pub(super) mod scalar;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(super) mod lookup_avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

/// What a kernel sums; a const parameter, because dispatch on it happens once, in the table.
const DOT: u8 = 0;
const SQUARED_L2: u8 = 1;
const HAMMING: u8 = 2;
const AND: u8 = 3;

/// Rows that a block kernel takes at a time.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const ROWS: usize = 4;

// The largest sums that a vector can give fit an i32: squared differences, and the offset products of AVX-512.
const _: () = assert!(MAX_DIMS * 255 * 255 <= 0x7fff_ffff);

#[cfg(test)]
mod tests;
