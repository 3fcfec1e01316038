//! The binary format of `COPY BINARY` and drivers: int32 dims, int32 number of elements that are not zero, int32 zero,
//! int32 indices counted from 0, float4 values, all in network order.
//!
//! Must not know PostgreSQL's message buffers. Invariant: [`encode`] then decode gives the same bits.

use super::{Sparse, check_count, check_index, check_value};
use crate::error::{Error, ErrorKind, Result};
use crate::vector_type::{VectorType, check_typmod};

/// Bytes before the first index.
pub const HEADER_BYTES: usize = 12;
/// Bytes of an index, and of a value.
pub const ELEMENT_BYTES: usize = 4;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of dimensions.
    pub dims: usize,
    /// Number of indices, and of values.
    pub count: usize,
}

/// Reads the header, whose number of dimensions `typmod` (negative: any) has to allow.
///
/// # Errors
/// `DataException` or `LimitExceeded` for the number of dimensions or of elements, `DataException` when the reserved
/// field is not 0.
pub fn decode_header(header: [u8; HEADER_BYTES], typmod: i32) -> Result<Header> {
    let (fields, _) = header.as_chunks();
    let [dims, count, unused] = [fields[0], fields[1], fields[2]].map(i32::from_be_bytes);
    let dims = usize::try_from(dims).unwrap_or(0);
    VectorType::Sparsevec.check_dims(dims)?;
    let count = check_count(count, dims)?;
    check_typmod(typmod, dims)?;
    if unused != 0 {
        return Err(Error::new(
            ErrorKind::DataException,
            format!("expected unused to be 0, not {unused}"),
        ));
    }
    Ok(Header { dims, count })
}

/// Reads as many whole indices, of a vector of `dims` dimensions, as both `bytes` and `indices` hold.
///
/// # Errors
/// `DataException` for an index outside the vector, or not behind the one before.
pub fn decode_indices(bytes: &[u8], dims: usize, indices: &mut [i32]) -> Result<()> {
    let mut previous = None;
    for (index, &chunk) in indices.iter_mut().zip(bytes.as_chunks().0) {
        *index = i32::from_be_bytes(chunk);
        check_index(*index, previous, dims)?;
        previous = Some(*index);
    }
    Ok(())
}

/// Reads as many whole values as both `bytes` and `values` hold.
///
/// # Errors
/// `DataException` for NaN, infinity or zero.
pub fn decode_values(bytes: &[u8], values: &mut [f32]) -> Result<()> {
    for (value, &chunk) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_be_bytes(chunk);
        check_value(*value)?;
        if *value == 0.0 {
            return Err(Error::new(
                ErrorKind::DataException,
                "binary representation of sparsevec cannot contain zero values",
            ));
        }
    }
    Ok(())
}

/// The wire form of `vector`.
///
/// # Panics
/// When it has more dimensions or elements than an i32 counts, which no sparse vector has.
pub fn encode(vector: Sparse<'_>) -> Vec<u8> {
    let field = |number: usize| {
        i32::try_from(number).expect("a sparse vector has at most MAX_SPARSE_DIMS dimensions")
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 2 * ELEMENT_BYTES * vector.indices.len());
    bytes.extend_from_slice(&field(vector.dims).to_be_bytes());
    bytes.extend_from_slice(&field(vector.indices.len()).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend(vector.indices.iter().flat_map(|index| index.to_be_bytes()));
    bytes.extend(vector.values.iter().flat_map(|value| value.to_be_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SparseBuffer;
    use super::super::strategy::{sparse, value};
    use super::*;
    use crate::property::cases;

    /// Decodes a whole message; what is missing at its end stays zero.
    fn decoded(bytes: &[u8]) -> Result<SparseBuffer> {
        let (header, rest) = bytes.split_first_chunk().expect("a header");
        let Header { dims, count } = decode_header(*header, -1)?;
        let (mut indices, mut values) = (vec![0; count], vec![0.0; count]);
        let (index_bytes, value_bytes) = rest.split_at((count * ELEMENT_BYTES).min(rest.len()));
        decode_indices(index_bytes, dims, &mut indices)?;
        decode_values(value_bytes, &mut values)?;
        Ok(SparseBuffer {
            dims,
            indices,
            values,
        })
    }

    #[test]
    fn a_bad_header_is_refused() {
        for (fields, typmod, kind, message) in [
            (
                [0, 0, 0],
                -1,
                ErrorKind::DataException,
                "sparsevec must have at least 1 dimension",
            ),
            (
                [-1, 0, 0],
                -1,
                ErrorKind::DataException,
                "sparsevec must have at least 1 dimension",
            ),
            (
                [1_000_000_001, 0, 0],
                -1,
                ErrorKind::LimitExceeded,
                "sparsevec cannot have more than 1000000000 dimensions",
            ),
            (
                [5, -1, 0],
                -1,
                ErrorKind::DataException,
                "sparsevec cannot have negative number of elements",
            ),
            (
                [5, 16_001, 0],
                -1,
                ErrorKind::LimitExceeded,
                "sparsevec cannot have more than 16000 non-zero elements",
            ),
            (
                [5, 6, 0],
                -1,
                ErrorKind::LimitExceeded,
                "sparsevec cannot have more elements than dimensions",
            ),
            (
                [5, 1, 0],
                4,
                ErrorKind::DataException,
                "expected 4 dimensions, not 5",
            ),
            (
                [5, 1, -7],
                5,
                ErrorKind::DataException,
                "expected unused to be 0, not -7",
            ),
        ] {
            let header = bytemuck::cast(fields.map(i32::to_be_bytes));
            let error = decode_header(header, typmod).expect_err(message);
            assert_eq!((error.kind(), error.message()), (kind, message));
        }
    }

    #[test]
    fn indices_and_values_that_no_sparse_vector_has_are_refused() {
        for (indices, message) in [
            ([-1, 0], "sparsevec index out of bounds"),
            ([0, 5], "sparsevec index out of bounds"),
            ([3, 1], "sparsevec indices must be in ascending order"),
            ([2, 2], "sparsevec indices must not contain duplicates"),
        ] {
            let bytes: [u8; 8] = bytemuck::cast(indices.map(i32::to_be_bytes));
            let error = decode_indices(&bytes, 5, &mut [0; 2]).expect_err(message);
            assert_eq!(
                (error.kind(), error.message()),
                (ErrorKind::DataException, message)
            );
        }
        for (value, message) in [
            (f32::NAN, "NaN not allowed in sparsevec"),
            (f32::NEG_INFINITY, "infinite value not allowed in sparsevec"),
            (
                -0.0,
                "binary representation of sparsevec cannot contain zero values",
            ),
        ] {
            let error = decode_values(&value.to_be_bytes(), &mut [0.0]).expect_err(message);
            assert_eq!(
                (error.kind(), error.message()),
                (ErrorKind::DataException, message)
            );
        }
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn wire_round_trip_keeps_every_bit(
            vector in prop_oneof![1i32..50, Just(1_000_000_000)].prop_flat_map(|dims| sparse(dims, value()))
        ) {
            let bytes = encode(vector.as_sparse());
            let back = decoded(&bytes).expect("own output");
            prop_assert_eq!(encode(back.as_sparse()), bytes);
            prop_assert_eq!(&back.indices, &vector.indices);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            dims in prop_oneof![-2i32..20, any::<i32>()], count in prop_oneof![-2i32..20, any::<i32>()],
            tail in prop::collection::vec(any::<u8>(), 4..100)
        ) {
            let bytes = [&dims.to_be_bytes()[..], &count.to_be_bytes(), &tail].concat();
            if bytes.len() >= HEADER_BYTES {
                let _ = decoded(&bytes);
            }
        }
    }
}
