//! The ordering of sparse vectors: that of the dense vectors they stand for.

use std::cmp::Ordering;

use super::Sparse;

/// Orders by the first different element, then by the number of dimensions, as PostgreSQL orders arrays.
pub fn compare(a: Sparse<'_>, b: Sparse<'_>) -> Ordering {
    let (mut a_rest, mut b_rest) = (elements(a), elements(b));
    loop {
        let (x, y) = match (a_rest.next(), b_rest.next()) {
            (None, None) => break,
            // An element beyond the shorter vector's end is compared with nothing; nor is any behind it.
            (Some((at, x)), None) if inside(at, b) => (x, 0.0),
            (None, Some((at, y))) if inside(at, a) => (0.0, y),
            (Some(_), None) | (None, Some(_)) => break,
            // Where indices differ, the one behind belongs to a vector that is zero at the one before.
            (Some((i, x)), Some((j, y))) => match i.cmp(&j) {
                Ordering::Less => (x, 0.0),
                Ordering::Equal => (x, y),
                Ordering::Greater => (0.0, y),
            },
        };
        if x != y {
            return x.partial_cmp(&y).unwrap_or(Ordering::Equal);
        }
    }
    a.dims.cmp(&b.dims)
}

fn elements(a: Sparse<'_>) -> impl Iterator<Item = (i32, f32)> {
    a.indices.iter().copied().zip(a.values.iter().copied())
}

fn inside(index: i32, vector: Sparse<'_>) -> bool {
    usize::try_from(index).is_ok_and(|index| index < vector.dims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::strategy::sparse;
    use super::super::to_dense;
    use super::*;
    use crate::property::cases;
    use crate::vector::algebra;

    proptest! {
        #![proptest_config(cases(2000))]

        #[test]
        fn order_is_that_of_the_dense_vectors(
            a in (1..12).prop_flat_map(|dims| sparse(dims, prop_oneof![Just(-1.0f32), Just(1.0), Just(2.0)])),
            b in (1..12).prop_flat_map(|dims| sparse(dims, prop_oneof![Just(-1.0f32), Just(1.0), Just(2.0)])),
        ) {
            let dense = |sparse: Sparse<'_>| {
                let mut elements = vec![0.0f32; sparse.dims];
                to_dense(sparse, &mut elements).expect("inside");
                elements
            };
            let (a, b) = (a.as_sparse(), b.as_sparse());
            prop_assert_eq!(compare(a, b), algebra::compare(&dense(a), &dense(b)));
        }
    }
}
