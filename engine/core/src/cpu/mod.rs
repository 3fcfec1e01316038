//! SIMD kernels of the CPU, chosen once at run time, and the CPU backend built on them.
//!
//! Must not know pages or metrics' SQL semantics (those are `distance`).
//! Invariant: every table computes the same scores, bit for bit. Element `i` is added, by one fused multiply-add, into partial sum
//! `i mod 32`; an incomplete last group of 16 elements is padded with zeros; the 32 partial sums are folded in halves
//! (16, 8, 4, 2, 1). One instruction set may run this order in wider registers than another, but never changes it, so
//! a norm that one machine stored in an index page still equals the value that a standby with another CPU computes.
//! (Which NaN results, its sign and payload, is not part of that.)

use std::sync::OnceLock;

use half::f16;

mod ahead;
mod backend;
mod blocks;
mod bounds;
mod codes;
mod encode;
mod halves;
mod measure;
mod nearest;
mod products;
mod rotate;
mod scalar;
mod screen;
mod table;
mod wide;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

pub use ahead::Ahead;
pub use backend::CpuBackend;
pub use bounds::{BoundKind, BoundLanes, BoundRow, BoundRows, BoundTerms, Near};
pub use encode::{CodeProducts, ResidualProducts};
pub use measure::measure;
pub use products::{Panels, Products};
pub use screen::{ORDINARY_SQUARES, ORDINARY_SUMS, ScreenLimit, ScreenRows, ScreenTerms};
pub use table::{
    CosineParts, Kernels, LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_LINES, LOOKUP_QUAD, LOOKUP_ROWS, NIBBLE_STEP,
    lanes,
};

#[cfg(target_endian = "big")]
compile_error!(
    "rows are little-endian bytes that the kernels load directly: big-endian hosts are not supported"
);

/// Partial sums of a row's score.
const LANES: usize = 32;
/// Elements that are loaded together, and the unit of zero padding.
const GROUP: usize = 16;
/// Largest finite f16, beyond which encoding clamps.
const F16_MAX: f32 = 65504.0;
const _: () = assert!(LANES == 2 * GROUP && f16::MAX.to_bits() == 0x7bff);

/// How far ahead of its loads a block kernel prefetches: an index page, so that a page's rows are all under way before
/// the first is scored, and the rows of a longer run are read steadily ahead.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8192;
/// Bytes that come from memory at once.
pub const CACHE_LINE: usize = 64;

/// What a kernel sums; a const parameter, because dispatch on it happens once, in the table.
const SQUARED_L2: u8 = 0;
const DOT: u8 = 1;
const L1: u8 = 2;

/// The fastest kernels that this machine supports, chosen on the first call.
pub fn kernels() -> &'static Kernels {
    static BEST: OnceLock<&'static Kernels> = OnceLock::new();
    BEST.get_or_init(|| {
        Kernels::all_supported()
            .first()
            .copied()
            .unwrap_or(&scalar::KERNELS)
    })
}

/// Asks the machine to bring `bytes` into its caches, so that a scan can have the next page under way while it scores
/// this one; without effect where the instruction set has no such hint.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    Ahead::new(bytes.as_ptr(), bytes.len()).ask_all();
}

impl Kernels {
    /// Every table that this machine supports, the fastest first; the scalar one is always the last.
    pub fn all_supported() -> Vec<&'static Self> {
        let mut tables = Vec::with_capacity(5);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx2")
            {
                if is_x86_feature_detected!("avx512vnni") {
                    if is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512vpopcntdq") {
                        tables.push(&avx512::KERNELS_VBMI);
                    }
                    tables.push(&avx512::KERNELS_VNNI);
                }
                tables.push(&avx512::KERNELS);
            }
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                tables.push(&avx2::KERNELS);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            tables.push(&neon::KERNELS);
        }
        tables.push(&scalar::KERNELS);
        tables
    }
}

#[cfg(test)]
mod tests;
