//! The binary format of `COPY BINARY` and drivers: int16 dims, int16 zero, dims elements, all in network order.
//!
//! Must not know PostgreSQL's message buffers. Invariant: [`encode`] then decode gives the same bits.

use super::{DenseElement, check_element, check_typmod};
use crate::error::{Error, ErrorKind, Result};

/// Bytes before the first element.
pub const HEADER_BYTES: usize = 4;

/// Reads the header and returns the number of dimensions, which `typmod` (negative: any) has to allow.
///
/// # Errors
/// `DataException` or `LimitExceeded` for the number of dimensions, `DataException` when the reserved field is not 0.
pub fn decode_header<T: DenseElement>(header: [u8; HEADER_BYTES], typmod: i32) -> Result<usize> {
    let [d0, d1, u0, u1] = header;
    // Both fields are signed: a negative number of dimensions is too small, not too large.
    let dims = usize::try_from(i16::from_be_bytes([d0, d1])).unwrap_or(0);
    let unused = i16::from_be_bytes([u0, u1]);
    T::TYPE.check_dims(dims)?;
    check_typmod(typmod, dims)?;
    if unused != 0 {
        return Err(Error::new(
            ErrorKind::DataException,
            format!("expected unused to be 0, not {unused}"),
        ));
    }
    Ok(dims)
}

/// Reads as many whole elements as both `bytes` and `elements` hold.
///
/// # Errors
/// `DataException` for NaN or infinity.
pub fn decode_elements<T: DenseElement>(bytes: &[u8], elements: &mut [T]) -> Result<()> {
    for (element, bytes) in elements.iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
        *element = T::from_network(bytes);
        check_element(*element)?;
    }
    Ok(())
}

/// The wire form of `elements`, of which there are at most `MAX_DIMS`.
///
/// # Panics
/// When there are more than 65,535 elements, which no vector has.
pub fn encode<T: DenseElement>(elements: &[T]) -> Vec<u8> {
    let dims = u16::try_from(elements.len()).expect("a vector has at most MAX_DIMS dimensions");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + size_of_val(elements));
    bytes.extend_from_slice(&dims.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    elements
        .iter()
        .for_each(|element| element.append_network(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::property::cases;

    #[test]
    fn a_bad_header_is_refused() {
        for (header, typmod, kind, message) in [
            (
                [0, 0, 0, 0],
                -1,
                ErrorKind::DataException,
                "vector must have at least 1 dimension",
            ),
            (
                [0x3e, 0x81, 0, 0],
                -1,
                ErrorKind::LimitExceeded,
                "vector cannot have more than 16000 dimensions",
            ),
            (
                [0xff, 0xff, 0, 0],
                -1,
                ErrorKind::DataException,
                "vector must have at least 1 dimension",
            ),
            (
                [0, 3, 0, 0],
                2,
                ErrorKind::DataException,
                "expected 2 dimensions, not 3",
            ),
            (
                [0, 3, 0, 1],
                -1,
                ErrorKind::DataException,
                "expected unused to be 0, not 1",
            ),
            (
                [0, 3, 0xff, 0xff],
                3,
                ErrorKind::DataException,
                "expected unused to be 0, not -1",
            ),
        ] {
            let error = decode_header::<f32>(header, typmod).expect_err(message);
            assert_eq!((error.kind(), error.message()), (kind, message));
        }
        assert_eq!(decode_header::<f32>([0x3e, 0x80, 0, 0], 16_000), Ok(16_000));
    }

    #[test]
    fn elements_that_no_vector_holds_are_refused() {
        for (element, message) in [
            (f32::NAN, "NaN not allowed in vector"),
            (f32::INFINITY, "infinite value not allowed in vector"),
            (f32::NEG_INFINITY, "infinite value not allowed in vector"),
        ] {
            let error = decode_elements(&element.to_be_bytes(), &mut [0.0f32]).expect_err(message);
            assert_eq!(
                (error.kind(), error.message()),
                (ErrorKind::DataException, message)
            );
        }
    }

    #[test]
    fn halves_take_two_bytes_and_name_their_type() {
        let halves = [1.0, -2.0, -0.0].map(f16::from_f32);
        let bytes = encode(&halves);
        assert_eq!(bytes, [0, 3, 0, 0, 0x3c, 0, 0xc0, 0, 0x80, 0]);
        let mut back = [f16::ONE; 3];
        assert_eq!(decode_header::<f16>([0, 3, 0, 0], 3), Ok(3));
        decode_elements(&bytes[HEADER_BYTES..], &mut back).expect("own output");
        assert_eq!(back.map(f16::to_bits), halves.map(f16::to_bits));
        for (code, message) in [
            ([0x7c, 0], "infinite value not allowed in halfvec"),
            ([0xfe, 1], "NaN not allowed in halfvec"),
        ] {
            let error = decode_elements(&code, &mut [f16::ZERO]).expect_err(message);
            assert_eq!(error.message(), message);
        }
        let error = decode_header::<f16>([0; 4], -1).expect_err("no dimension");
        assert_eq!(error.message(), "halfvec must have at least 1 dimension");
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn wire_round_trip_keeps_every_bit(bits in prop::collection::vec(any::<u32>(), 1..100)) {
            let elements: Vec<f32> =
                bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { -0.0 }).collect();
            let bytes = encode(&elements);
            let header = bytes[..HEADER_BYTES].try_into().expect("four bytes");
            let dims = decode_header::<f32>(header, -1).expect("own output");
            prop_assert_eq!(bytes.len(), HEADER_BYTES + dims * 4);
            let mut back = vec![0.0f32; dims];
            decode_elements(&bytes[HEADER_BYTES..], &mut back).expect("own output");
            let bits = |elements: &[f32]| elements.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back), bits(&elements));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 4..100), room in 0usize..30) {
            let header = bytes[..HEADER_BYTES].try_into().expect("four bytes");
            let _ = decode_header::<f32>(header, -1);
            let _ = decode_elements(&bytes[HEADER_BYTES..], &mut vec![0.0f32; room]);
        }
    }
}
