//! The type `vector` as a Rust value: [`Vector`] reads a datum, [`VectorBuilder`] makes one.
//!
//! Layout, pgvector's byte for byte: int32 length word, int16 dims, int16 zero, float4 elements `[dims]`.
//! Must not know what is computed with the elements. Invariant: 1 to `MAX_DIMS` dimensions and a length to match.
#![expect(
    unsafe_code,
    reason = "implements pgrx's unsafe traits for values at the SQL boundary"
)]

use std::ops::{Deref, DerefMut};

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum, pg_sys};
use vectorgpu_core::limits::MAX_DIMS;
use vectorgpu_core::vector::{check_dims, check_typmod};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::varlena::{AggregateCall, Varlena, VarlenaBuilder};
use crate::error::OrRaise;

/// Bytes of `dims` and the reserved field, between the length word and the elements.
const HEADER_BYTES: usize = 4;
const ELEMENT_BYTES: usize = size_of::<f32>();

// The reserved field and the largest dims fit the layout's int16 fields.
const _: () = assert!(MAX_DIMS <= i16::MAX as usize);

/// A vector in PostgreSQL's memory, read as `&[f32]`.
///
/// As an argument of a `#[pg_extern]` function it borrows from the call. To read a datum elsewhere (a heap tuple, an
/// order-by argument), use [`Vector::from_datum`] and keep the value for as long as the elements are needed: a copy
/// that detoasting made is freed when it is dropped.
pub(crate) struct Vector<'a> {
    memory: Varlena<'a>,
}

impl<'a> Vector<'a> {
    /// Reads the vector in `datum`, detoasting it when it is stored out of line or with a short header.
    ///
    /// # Errors
    /// `DataException` for a header that no vector has. Detoasting raises PostgreSQL's own errors.
    ///
    /// # Safety
    /// `datum` is a non-null datum of type `vector` (or one with the same layout), unchanged during `'a`.
    #[inline]
    pub(crate) unsafe fn from_datum(datum: pg_sys::Datum) -> Result<Self> {
        // SAFETY: the type vector is an int-aligned varlena, and the caller vouches for the datum.
        let memory = unsafe { Varlena::detoast(datum) };
        check_layout(memory.payload())?;
        Ok(Self { memory })
    }

    /// The elements.
    #[inline]
    pub(crate) fn elements(&self) -> &[f32] {
        bytemuck::cast_slice(&self.memory.payload()[HEADER_BYTES..])
    }

    /// The datum, which is valid as long as this value.
    pub(crate) fn as_datum(&self) -> pg_sys::Datum {
        self.memory.as_datum()
    }

    /// The same vector to be changed and returned: in place where `call` allows that, else as a copy.
    pub(crate) fn into_builder(self, call: &AggregateCall) -> VectorBuilder {
        match self.memory.into_writable(call) {
            Ok(memory) => VectorBuilder { memory },
            Err(memory) => VectorBuilder::from_elements(Vector { memory }.elements()),
        }
    }
}

impl Deref for Vector<'_> {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        self.elements()
    }
}

/// A vector being built, in the memory that becomes the datum.
pub(crate) struct VectorBuilder {
    memory: VarlenaBuilder,
}

impl VectorBuilder {
    /// Allocates a vector of `dims` zeros in the current memory context.
    ///
    /// # Panics
    /// When `dims` has not been checked to lie in `1..=MAX_DIMS`.
    pub(crate) fn zeros(dims: usize) -> Self {
        assert!((1..=MAX_DIMS).contains(&dims), "unchecked dimensions {dims}");
        let mut memory = VarlenaBuilder::zeroed(HEADER_BYTES + dims * ELEMENT_BYTES);
        let dims = i16::try_from(dims).expect("MAX_DIMS fits an i16");
        memory.payload_mut()[..2].copy_from_slice(&dims.to_ne_bytes());
        Self { memory }
    }

    /// Allocates a vector with these elements, of which there are `1..=MAX_DIMS`.
    pub(crate) fn from_elements(elements: &[f32]) -> Self {
        let mut vector = Self::zeros(elements.len());
        vector.copy_from_slice(elements);
        vector
    }

    /// The vector as it is now, to be read.
    pub(crate) fn as_vector(&self) -> Vector<'_> {
        Vector {
            memory: self.memory.as_varlena(),
        }
    }

    /// Allocates a vector of `dims` zeros after checking that `typmod` (negative: any) allows it.
    ///
    /// # Errors
    /// `DataException` or `LimitExceeded` for dimensions that a vector or the target column cannot have.
    pub(crate) fn checked_zeros(dims: usize, typmod: i32) -> Result<Self> {
        check_dims(dims)?;
        check_typmod(typmod, dims)?;
        Ok(Self::zeros(dims))
    }
}

impl Deref for VectorBuilder {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.memory.payload()[HEADER_BYTES..])
    }
}

impl DerefMut for VectorBuilder {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.memory.payload_mut()[HEADER_BYTES..])
    }
}

/// Checks the bytes after the length word.
#[inline]
fn check_layout(payload: &[u8]) -> Result<()> {
    let dims = match payload {
        [d0, d1, _, _, ..] => i16::from_ne_bytes([*d0, *d1]),
        _ => 0,
    };
    match usize::try_from(dims) {
        Ok(dims @ 1..=MAX_DIMS) if payload.len() == HEADER_BYTES + dims * ELEMENT_BYTES => Ok(()),
        _ => Err(malformed(dims, payload.len())),
    }
}

#[cold]
fn malformed(dims: i16, payload_bytes: usize) -> Error {
    Error::new(
        ErrorKind::DataException,
        format!("malformed vector value: {payload_bytes} bytes for {dims} dimensions"),
    )
}

// SAFETY: reads the argument as what the SQL declaration says it is, a vector.
unsafe impl<'fcx> ArgAbi<'fcx> for Vector<'fcx> {
    #[inline]
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: the datum is of the declared type and lives as long as the call.
        unsafe { arg.unbox_arg_using_from_datum() }
            .unwrap_or_else(|| panic!("argument {index} of a strict function is null"))
    }
}

impl FromDatum for Vector<'_> {
    #[inline]
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller vouches for a vector that outlives this value.
        (!is_null).then(|| unsafe { Vector::from_datum(datum) }.or_raise())
    }
}

// SAFETY: the result borrows from the datum's memory for exactly its lifetime.
unsafe impl UnboxDatum for Vector<'_> {
    type As<'src>
        = Vector<'src>
    where
        Self: 'src;

    #[inline]
    unsafe fn unbox<'src>(datum: Datum<'src>) -> Vector<'src>
    where
        Self: 'src,
    {
        // SAFETY: the caller vouches for a vector.
        unsafe { Vector::from_datum(datum.sans_lifetime()) }.or_raise()
    }
}

// SAFETY: returns a datum of the type that the SQL declaration names.
unsafe impl BoxRet for Vector<'_> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the memory lives until the caller's context is reset.
        unsafe { fcinfo.return_raw_datum(self.memory.into_datum()) }
    }
}

// SAFETY: returns a datum of the type that the SQL declaration names.
unsafe impl BoxRet for VectorBuilder {
    #[inline]
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: a finished datum in the caller's memory context.
        unsafe { fcinfo.return_raw_datum(self.memory.into_datum()) }
    }
}

impl IntoDatum for Vector<'_> {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.memory.into_datum())
    }

    fn type_oid() -> pg_sys::Oid {
        type_oid()
    }
}

impl IntoDatum for VectorBuilder {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.memory.into_datum())
    }

    fn type_oid() -> pg_sys::Oid {
        type_oid()
    }
}

/// The OID of the type that `vector` names on the current search path; `InvalidOid` when there is none.
fn type_oid() -> pg_sys::Oid {
    // SAFETY: a NUL-terminated name.
    unsafe { pg_sys::TypenameGetTypid(c"vector".as_ptr()) }
}

macro_rules! vector_in_sql {
    ($type:ty) => {
        // SAFETY: the SQL type of the same name, which sql/10_types.sql creates.
        unsafe impl SqlTranslatable for $type {
            const TYPE_IDENT: &'static str = "vector";
            // External: no pgrx macro creates it, so there is nothing for pgrx to order by.
            const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
            const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> =
                Ok(SqlMappingRef::literal("vector"));
            const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
                Ok(ReturnsRef::One(SqlMappingRef::literal("vector")));
        }
    };
}

vector_in_sql!(Vector<'_>);
vector_in_sql!(VectorBuilder);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;
    use pgrx::varlena::set_varsize_4b;

    use super::*;

    #[pg_test]
    fn a_built_vector_has_the_documented_layout_and_reads_back() {
        for dims in [1, 2, 29, 30, 31, 2000, MAX_DIMS] {
            let elements: Vec<f32> = (0..dims)
                .map(|at| f32::from(u16::try_from(at).expect("small")) - 0.5)
                .collect();
            let datum = VectorBuilder::from_elements(&elements).memory.into_datum();
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
