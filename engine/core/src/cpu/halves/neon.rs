//! NEON kernels for two vectors of halves.
#![expect(
    unsafe_code,
    reason = "loads from raw memory, with lengths that the table checks"
)]

use std::arch::aarch64::*;

use super::super::neon::{PARTS, REGISTER, folded, load, load_padded, step};
use super::super::table::CosineParts;
use super::super::{DOT, GROUP, L1, LANES, SQUARED_L2};
use super::{HalfKernels, WIDTH};

pub(in super::super) const KERNELS: HalfKernels = HalfKernels {
    squared_l2: pair::<SQUARED_L2>,
    dot: pair::<DOT>,
    l1: pair::<L1>,
    cosine_parts,
};

#[target_feature(enable = "neon")]
fn pair<const OP: u8>(a: &[u8], b: &[u8]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let dims = a.len() / WIDTH;
    let mut sums = [vdupq_n_f32(0.0); LANES / REGISTER];
    let mut i = 0;
    while i + LANES <= dims {
        for (part, sum) in sums.iter_mut().enumerate() {
            let at = (i + part * REGISTER) * WIDTH;
            // SAFETY: i + 32 <= dims, and a part of it starts at a multiple of 4 below 32.
            let x = unsafe { load::<true>(a.as_ptr().wrapping_add(at)) };
            // SAFETY: as above; `b` is as long as `a`.
            let y = unsafe { load::<true>(b.as_ptr().wrapping_add(at)) };
            *sum = step::<OP>(*sum, x, y);
        }
        i += LANES;
    }
    for part in [0, PARTS] {
        if i == dims {
            break;
        }
        let count = GROUP.min(dims - i);
        let bytes = i * WIDTH..(i + count) * WIDTH;
        let (x, y) = (
            load_padded::<true>(&a[bytes.clone()]),
            load_padded::<true>(&b[bytes]),
        );
        for p in 0..PARTS {
            sums[part + p] = step::<OP>(sums[part + p], x[p], y[p]);
        }
        i += count;
    }
    folded(sums)
}

#[target_feature(enable = "neon")]
fn cosine_parts(a: &[u8], b: &[u8]) -> CosineParts {
    CosineParts {
        dot: pair::<DOT>(a, b),
        norm_sq_a: pair::<DOT>(a, a),
        norm_sq_b: pair::<DOT>(b, b),
    }
}
