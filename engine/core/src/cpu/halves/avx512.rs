//! AVX-512 kernels for two vectors of halves.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::x86_64::*;

use super::super::avx512::{folded, load_masked, load_pair, step};
use super::super::table::CosineParts;
use super::super::{DOT, GROUP, L1, LANES, SQUARED_L2};
use super::{HalfKernels, WIDTH};

pub(in super::super) const KERNELS: HalfKernels = HalfKernels {
    squared_l2: pair::<SQUARED_L2>,
    dot: pair::<DOT>,
    l1: pair::<L1>,
    cosine_parts,
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pair<const OP: u8>(a: &[u8], b: &[u8]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let dims = a.len() / WIDTH;
    let mut sums = [_mm512_setzero_ps(); 2];
    let mut i = 0;
    while i + LANES <= dims {
        // SAFETY: i + 32 <= dims, so 32 elements of `a` are there.
        let (a0, a1) = unsafe { load_pair::<true>(a.as_ptr().wrapping_add(i * WIDTH)) };
        // SAFETY: as above; `b` is as long as `a`.
        let (b0, b1) = unsafe { load_pair::<true>(b.as_ptr().wrapping_add(i * WIDTH)) };
        sums[0] = step::<OP>(sums[0], a0, b0);
        sums[1] = step::<OP>(sums[1], a1, b1);
        i += LANES;
    }
    for sum in &mut sums {
        if i == dims {
            break;
        }
        let count = GROUP.min(dims - i);
        // SAFETY: `count` elements of both vectors are there at i.
        let (x, y) = unsafe { load_group(a, b, i, count) };
        *sum = step::<OP>(*sum, x, y);
        i += count;
    }
    folded(_mm512_add_ps(sums[0], sums[1]))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn cosine_parts(a: &[u8], b: &[u8]) -> CosineParts {
    debug_assert_eq!(a.len(), b.len());
    let dims = a.len() / WIDTH;
    let mut dot = [_mm512_setzero_ps(); 2];
    let mut norm_a = dot;
    let mut norm_b = dot;
    let mut i = 0;
    while i < dims {
        let count = GROUP.min(dims - i);
        // SAFETY: `count` elements of both vectors are there at i.
        let (x, y) = unsafe { load_group(a, b, i, count) };
        dot[0] = _mm512_fmadd_ps(x, y, dot[0]);
        norm_a[0] = _mm512_fmadd_ps(x, x, norm_a[0]);
        norm_b[0] = _mm512_fmadd_ps(y, y, norm_b[0]);
        // The other half's turn; which is which does not matter to the fold.
        dot.swap(0, 1);
        norm_a.swap(0, 1);
        norm_b.swap(0, 1);
        i += count;
    }
    CosineParts {
        dot: folded(_mm512_add_ps(dot[0], dot[1])),
        norm_sq_a: folded(_mm512_add_ps(norm_a[0], norm_a[1])),
        norm_sq_b: folded(_mm512_add_ps(norm_b[0], norm_b[1])),
    }
}

/// Loads `count` (1 to 16) elements of both vectors from element `i` on, zero beyond them.
///
/// # Safety
/// Both vectors have that many elements at `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_group(a: &[u8], b: &[u8], i: usize, count: usize) -> (__m512, __m512) {
    let mask = u16::MAX >> (GROUP - count);
    // SAFETY: the caller's; the mask reads `count` elements.
    let x = unsafe { load_masked::<true>(a.as_ptr().wrapping_add(i * WIDTH), mask) };
    // SAFETY: as above.
    let y = unsafe { load_masked::<true>(b.as_ptr().wrapping_add(i * WIDTH), mask) };
    (x, y)
}
