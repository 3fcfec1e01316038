//! Array arguments of any element type, as far as the casts, the aggregate state and searches need them.
//!
//! Layout: int32 length word, ndim, data offset (0: no null bitmap), element type, then length and lower bound of each
//! dimension, the null bitmap, and at an 8-byte boundary the elements. Source: PostgreSQL's utils/array.h.
//! Invariant: nothing is read outside the datum, whatever its header says.
#![expect(
    unsafe_code,
    reason = "implements pgrx's unsafe traits for values at the SQL boundary"
)]

use std::ffi::c_char;
use std::ptr;

use bytemuck::Pod;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{AnyNumeric, Array, FromDatum, pg_sys};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::varlena::{LENGTH_BYTES, Varlena};
use super::vector::Vector;

/// An array argument; its header is checked by whoever reads from it.
pub(crate) struct ArrayArgument<'a> {
    memory: Varlena<'a>,
}

impl<'a> ArrayArgument<'a> {
    /// Number of elements of an array that may become a vector.
    ///
    /// # Errors
    /// `DataException` for more than one dimension, `NullNotAllowed` for a NULL element.
    pub(crate) fn dense_len(&self) -> Result<usize> {
        match self.field(0) {
            Some(0) => Ok(0),
            Some(1) if self.contains_nulls() => Err(Error::new(
                ErrorKind::NullNotAllowed,
                "array must not contain nulls",
            )),
            Some(1) => Ok(self.len()),
            _ => Err(Error::new(ErrorKind::DataException, "array must be 1-D")),
        }
    }

    /// The elements of a one-dimensional array without NULLs, whose type has the same layout as `T`.
    ///
    /// # Errors
    /// `DataException` for a datum too short for what its header says.
    pub(crate) fn values<T: Pod>(&self) -> Result<&[T]> {
        let offset = match self.data_offset() {
            0 => ELEMENTS_OFFSET,
            offset => offset - LENGTH_BYTES,
        };
        self.memory
            .payload()
            .get(offset..)
            .and_then(|bytes| bytes.get(..self.len().checked_mul(size_of::<T>())?))
            .and_then(|bytes| bytemuck::try_cast_slice(bytes).ok())
            .ok_or_else(|| Error::new(ErrorKind::DataException, "malformed array value"))
    }

    /// The same array with elements of type `numeric`.
    ///
    /// # Safety
    /// The array has elements of type `numeric`.
    pub(crate) unsafe fn numerics(&self) -> Array<'_, AnyNumeric> {
        // SAFETY: a plain array datum that outlives the result; the caller vouches for the element type.
        unsafe { Array::from_datum(self.memory.as_datum(), false) }.expect("not null")
    }

    /// The type of its elements.
    pub(crate) fn element_type(&self) -> pg_sys::Oid {
        pg_sys::Oid::from(self.field(2).unwrap_or_default())
    }

    /// The elements of an array of vectors, of any number of dimensions, one after the other.
    ///
    /// # Errors
    /// `NullNotAllowed` for a NULL element, `DataException` for one that is no vector.
    ///
    /// # Safety
    /// The array has elements of type `vector`.
    pub(crate) unsafe fn vectors(&self) -> Result<Vec<Vector<'_>>> {
        let (mut elements, mut nulls, mut count) = (ptr::null_mut(), ptr::null_mut(), 0);
        // SAFETY: a plain array datum; the type vector is a varlena with int alignment. The results are allocated in the
        // current context.
        unsafe {
            pg_sys::deconstruct_array(
                self.memory.as_datum().cast_mut_ptr(),
                self.element_type(),
                -1,
                false,
                b'i' as c_char,
                &raw mut elements,
                &raw mut nulls,
                &raw mut count,
            );
        }
        let mut vectors = Vec::new();
        for at in 0..usize::try_from(count).unwrap_or_default() {
            // SAFETY: both arrays have `count` entries.
            let (element, is_null) = unsafe { (*elements.add(at), *nulls.add(at)) };
            if is_null {
                return Err(Error::new(
                    ErrorKind::NullNotAllowed,
                    format!("element {} of the array is null", at + 1),
                ));
            }
            // SAFETY: an element of the array, which lives as long as `self`.
            vectors.push(unsafe { Vector::from_datum(element) }?);
        }
        Ok(vectors)
    }

    /// The memory, when it is a one-dimensional array without null bitmap of `element_type` with at least one element
    /// of `element_bytes` each, and nothing else.
    pub(crate) fn into_exact(self, element_type: pg_sys::Oid, element_bytes: usize) -> Option<Varlena<'a>> {
        let is_exact = self.field(0) == Some(1)
            && self.data_offset() == 0
            && self.field(2) == Some(element_type.to_u32())
            && self.len() >= 1
            && self
                .len()
                .checked_mul(element_bytes)
                .and_then(|bytes| bytes.checked_add(ELEMENTS_OFFSET))
                == Some(self.memory.payload().len());
        is_exact.then_some(self.memory)
    }

    /// Length of the first dimension; 0 when there is none.
    fn len(&self) -> usize {
        match self.field(0) {
            None | Some(0) => 0,
            _ => self
                .field(3)
                .and_then(|length| usize::try_from(length).ok())
                .unwrap_or(0),
        }
    }

    /// Offset of the elements from the start of the datum when there is a null bitmap, else 0.
    fn data_offset(&self) -> usize {
        self.field(1)
            .and_then(|offset| usize::try_from(offset).ok())
            .unwrap_or(0)
    }

    /// Whether the null bitmap of a one-dimensional array marks an element as NULL.
    fn contains_nulls(&self) -> bool {
        let bitmap = self.memory.payload().get(ELEMENTS_OFFSET..).unwrap_or_default();
        self.data_offset() >= LENGTH_BYTES
            && (0..self.len()).any(|at| bitmap.get(at / 8).is_none_or(|byte| byte >> (at % 8) & 1 == 0))
    }

    /// The `index`th int32 after the length word.
    fn field(&self, index: usize) -> Option<u32> {
        self.memory
            .payload()
            .as_chunks()
            .0
            .get(index)
            .copied()
            .map(u32::from_ne_bytes)
    }
}

/// Where the elements of a one-dimensional array without null bitmap start (or its null bitmap), after the length word:
/// five int32.
pub(super) const ELEMENTS_OFFSET: usize = 20;

// Elements of up to eight bytes are aligned when the datum is.
const _: () = assert!((LENGTH_BYTES + ELEMENTS_OFFSET).is_multiple_of(8));

// SAFETY: reads the argument as what the SQL declaration says it is, an array.
unsafe impl<'fcx> ArgAbi<'fcx> for ArrayArgument<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: the datum is of the declared type and lives as long as the call.
        unsafe { arg.unbox_arg_using_from_datum() }
            .unwrap_or_else(|| panic!("argument {index} of a strict function is null"))
    }
}

impl FromDatum for ArrayArgument<'_> {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: an array is a varlena with at least int alignment; the caller vouches for it and its lifetime.
        let memory = unsafe { Varlena::detoast_array(datum) };
        Some(Self { memory })
    }
}

// SAFETY: used with hand-written SQL only, which names the element type.
unsafe impl SqlTranslatable for ArrayArgument<'_> {
    const TYPE_IDENT: &'static str = "vectorgpu_array";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("anyarray"));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("anyarray")));
}
