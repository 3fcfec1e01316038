//! Plain Rust kernels for two vectors of halves: the definition that the others are compared with.

use super::super::scalar::{folded, padded_row, step};
use super::super::table::CosineParts;
use super::super::{DOT, GROUP, L1, LANES, SQUARED_L2};
use super::{HalfKernels, WIDTH};

pub(in super::super) const KERNELS: HalfKernels = HalfKernels {
    squared_l2: pair::<SQUARED_L2>,
    dot: pair::<DOT>,
    l1: pair::<L1>,
    cosine_parts,
};

fn pair<const OP: u8>(a: &[u8], b: &[u8]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let groups = a.chunks(GROUP * WIDTH).zip(b.chunks(GROUP * WIDTH));
    for (i, (a, b)) in groups.enumerate() {
        let (a, b) = (padded_row::<true>(a), padded_row::<true>(b));
        let half = (i % 2) * GROUP;
        for lane in 0..GROUP {
            let sum = &mut sums[half + lane];
            *sum = step::<OP>(*sum, a[lane], b[lane]);
        }
    }
    folded(sums)
}

fn cosine_parts(a: &[u8], b: &[u8]) -> CosineParts {
    CosineParts {
        dot: pair::<DOT>(a, b),
        norm_sq_a: pair::<DOT>(a, a),
        norm_sq_b: pair::<DOT>(b, b),
    }
}
