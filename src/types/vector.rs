//! The types `vector` and `halfvec` as Rust values: [`Vector`] and [`HalfVector`] read a datum, [`VectorBuilder`] and
//! [`HalfVectorBuilder`] make one.
//!
//! Layout, pgvector's byte for byte: int32 length word, int16 dims, int16 zero, elements `[dims]`, float4 or half.
//! Must not know what is computed with the elements. Invariant: 1 to `MAX_DIMS` dimensions and a length to match.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use vectorgpu_core::limits::MAX_DIMS;
use vectorgpu_core::vector::{DenseElement, check_typmod, f16};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::value::{Layout, Value, ValueBuilder};

/// Bytes of `dims` and the reserved field, between the length word and the elements.
const HEADER_BYTES: usize = 4;

// The largest dims fit the layout's int16 field.
const _: () = assert!(MAX_DIMS <= i16::MAX as usize);

/// The layout of a vector of elements of type `T`.
pub(crate) struct DenseLayout<T>(PhantomData<T>);

/// A vector in PostgreSQL's memory, read as a slice of its elements.
pub(crate) type Dense<'a, T> = Value<'a, DenseLayout<T>>;
/// A vector being built, in the memory that becomes the datum.
pub(crate) type DenseBuilder<T> = ValueBuilder<DenseLayout<T>>;

/// A value of type `vector`.
pub(crate) type Vector<'a> = Dense<'a, f32>;
/// A `vector` being built.
pub(crate) type VectorBuilder = DenseBuilder<f32>;
/// A value of type `halfvec`.
pub(crate) type HalfVector<'a> = Dense<'a, f16>;
/// A `halfvec` being built.
pub(crate) type HalfVectorBuilder = DenseBuilder<f16>;

impl<T: DenseElement> Layout for DenseLayout<T> {
    const NAME: &'static str = T::TYPE.name();

    #[inline]
    fn check(payload: &[u8]) -> Result<()> {
        let dims = match payload {
            [d0, d1, _, _, ..] => i16::from_ne_bytes([*d0, *d1]),
            _ => 0,
        };
        match usize::try_from(dims) {
            Ok(dims @ 1..=MAX_DIMS) if payload.len() == HEADER_BYTES + dims * size_of::<T>() => Ok(()),
            _ => Err(malformed(Self::NAME, dims, payload.len())),
        }
    }
}

#[cold]
fn malformed(name: &str, dims: i16, payload_bytes: usize) -> Error {
    Error::new(
        ErrorKind::DataException,
        format!("malformed {name} value: {payload_bytes} bytes for {dims} dimensions"),
    )
}

impl<T: DenseElement> Dense<'_, T> {
    /// The elements.
    #[inline]
    pub(crate) fn elements(&self) -> &[T] {
        bytemuck::cast_slice(&self.payload()[HEADER_BYTES..])
    }
}

impl<T: DenseElement> Deref for Dense<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.elements()
    }
}

impl<T: DenseElement> DenseBuilder<T> {
    /// Allocates a vector of `dims` zeros in the current memory context.
    ///
    /// # Panics
    /// When `dims` has not been checked to lie in `1..=MAX_DIMS`.
    pub(crate) fn zeros(dims: usize) -> Self {
        assert!((1..=MAX_DIMS).contains(&dims), "unchecked dimensions {dims}");
        let mut vector = Self::zeroed(HEADER_BYTES + dims * size_of::<T>());
        let dims = i16::try_from(dims).expect("MAX_DIMS fits an i16");
        vector.payload_mut()[..2].copy_from_slice(&dims.to_ne_bytes());
        vector
    }

    /// Allocates a vector with these elements, of which there are `1..=MAX_DIMS`.
    pub(crate) fn from_elements(elements: &[T]) -> Self {
        let mut vector = Self::zeros(elements.len());
        vector.copy_from_slice(elements);
        vector
    }

    /// Allocates a vector of `dims` zeros after checking that `typmod` (negative: any) allows it.
    ///
    /// # Errors
    /// `DataException` or `LimitExceeded` for dimensions that a vector or the target column cannot have.
    pub(crate) fn checked_zeros(dims: usize, typmod: i32) -> Result<Self> {
        T::TYPE.check_dims(dims)?;
        check_typmod(typmod, dims)?;
        Ok(Self::zeros(dims))
    }
}

impl<T: DenseElement> Deref for DenseBuilder<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.payload()[HEADER_BYTES..])
    }
}

impl<T: DenseElement> DerefMut for DenseBuilder<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.payload_mut()[HEADER_BYTES..])
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
#[expect(unsafe_code, reason = "looks at the bytes of datums")]
mod tests {
    use pgrx::prelude::*;
    use pgrx::varlena::set_varsize_4b;

    use super::super::varlena::VarlenaBuilder;
    use super::*;

    #[pg_test]
    fn a_built_vector_has_the_documented_layout_and_reads_back() {
        for dims in [1, 2, 29, 30, 31, 2000, MAX_DIMS] {
            let elements: Vec<f32> = (0..dims)
                .map(|at| f32::from(u16::try_from(at).expect("small")) - 0.5)
                .collect();
            let datum = VectorBuilder::from_elements(&elements)
                .into_datum()
                .expect("not null");
            // SAFETY: the datum just built, of 8 + 4 * dims bytes.
            let bytes = unsafe { std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), 8 + 4 * dims) };
            let length = u32::try_from(bytes.len()).expect("small") << 2;
            assert_eq!(bytes[..4], length.to_le_bytes());
            assert_eq!(
                bytes[4..6],
                u16::try_from(dims).expect("at most MAX_DIMS").to_le_bytes()
            );
            assert_eq!(bytes[6..8], [0, 0]);
            // SAFETY: the datum just built.
            let vector = unsafe { Vector::from_datum(datum) }.expect("well-formed");
            assert_eq!(vector.elements(), elements);
        }
    }

    #[pg_test]
    fn a_built_halfvec_takes_two_bytes_an_element_and_reads_back() {
        let elements = [1.0, -2.0, -0.0].map(f16::from_f32);
        let datum = HalfVectorBuilder::from_elements(&elements)
            .into_datum()
            .expect("not null");
        // SAFETY: the datum just built, of 8 + 2 * 3 bytes.
        let bytes = unsafe { std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), 14) };
        assert_eq!(bytes, [14 << 2, 0, 0, 0, 3, 0, 0, 0, 0, 0x3c, 0, 0xc0, 0, 0x80]);
        // SAFETY: the datum just built.
        let vector = unsafe { HalfVector::from_datum(datum) }.expect("well-formed");
        assert_eq!(vector.elements(), elements);
        // SAFETY: the datum just built, though no vector: what this function is to find out.
        let error = unsafe { Vector::from_datum(datum) }.err().expect("refused");
        assert!(error.message().starts_with("malformed vector value: "));
    }

    #[pg_test]
    fn a_header_that_no_vector_has_is_an_error() {
        for (payload_bytes, dims) in [
            (0, 0i16),
            (3, 0),
            (4, 0),
            (4, 1),
            (7, 1),
            (9, 1),
            (12, 3),
            (8, -1),
            (65_536, 16_383),
        ] {
            let mut memory = VarlenaBuilder::zeroed(payload_bytes);
            if let Some(field) = memory.payload_mut().get_mut(..2) {
                field.copy_from_slice(&dims.to_ne_bytes());
            }
            // SAFETY: a varlena, though no vector: what this function is to find out.
            let error = unsafe { Vector::from_datum(memory.into_datum()) }
                .err()
                .expect("refused");
            assert_eq!(error.kind(), ErrorKind::DataException);
            assert!(error.message().starts_with("malformed vector value: "));
        }
    }

    #[pg_test]
    fn a_length_word_below_its_own_size_is_an_error() {
        let datum = VarlenaBuilder::zeroed(8).into_datum();
        // SAFETY: the datum just built.
        unsafe { set_varsize_4b(datum.cast_mut_ptr(), 0) };
        // SAFETY: memory with a length word, which is all that is read of it.
        assert!(unsafe { Vector::from_datum(datum) }.is_err());
    }

    #[pg_test]
    fn a_stored_vector_is_read_whatever_its_storage() {
        Spi::run("CREATE TEMP TABLE stored (v vector)").expect("created");
        for storage in ["plain", "main", "extended", "external"] {
            for dims in [1, 20, 30, 600, 5000] {
                Spi::run(&format!(
                    "TRUNCATE stored; ALTER TABLE stored ALTER v SET STORAGE {storage}"
                ))
                .expect("altered");
                if storage == "plain" && dims > 600 {
                    continue;
                }
                Spi::run(&format!(
                    "INSERT INTO stored SELECT array_agg(i % 50) FROM generate_series(1, {dims}) i"
                ))
                .expect("inserted");
                Spi::connect(|client| {
                    let rows = client
                        .select("SELECT v FROM stored", None, &[])
                        .expect("selected");
                    let row = rows.first();
                    let vector = row.get::<Vector<'_>>(1).expect("a vector").expect("not null");
                    let expected: Vec<f32> = (1..=dims).map(|at: u16| f32::from(at % 50)).collect();
                    assert_eq!(vector.elements(), expected, "{storage} {dims}");
                });
            }
        }
    }
}
