//! Sparse vectors for property tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::SparseBuffer;

/// A finite value other than zero, of any magnitude.
pub(super) fn value() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(|bits| {
        let value = f32::from_bits(bits);
        if value.is_finite() && value != 0.0 {
            value
        } else {
            -1.5
        }
    })
}

/// A sparse vector of `dims` dimensions, with few enough for two of them to meet where `dims` is small.
pub(super) fn sparse(dims: i32, value: impl Strategy<Value = f32>) -> impl Strategy<Value = SparseBuffer> {
    prop::collection::btree_map(0..dims, value, 0..20).prop_map(move |elements| buffer(dims, &elements))
}

fn buffer(dims: i32, elements: &BTreeMap<i32, f32>) -> SparseBuffer {
    SparseBuffer {
        dims: usize::try_from(dims).expect("not negative"),
        indices: elements.keys().copied().collect(),
        values: elements.values().copied().collect(),
    }
}
