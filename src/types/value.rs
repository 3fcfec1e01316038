//! Values of variable length at the SQL boundary, generic over their layout: [`Value`] reads a datum, [`ValueBuilder`]
//! makes one.
//!
//! Must not know what the bytes mean. Invariant: the bytes of a value have passed the checks of its layout.
#![expect(
    unsafe_code,
    reason = "implements pgrx's unsafe traits for values at the SQL boundary"
)]

use std::ffi::CString;
use std::marker::PhantomData;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum, pg_sys};
use vectorgpu_core::Result;

use super::varlena::{AggregateCall, Varlena, VarlenaBuilder};
use crate::error::OrRaise;

/// What the bytes of a type's values look like. The type is an int-aligned varlena.
pub(crate) trait Layout {
    /// Name of the type in SQL.
    const NAME: &'static str;

    /// Checks the bytes after the length word.
    ///
    /// # Errors
    /// `DataException` for bytes that no value has.
    fn check(payload: &[u8]) -> Result<()>;
}

/// A value in PostgreSQL's memory.
///
/// As an argument of a `#[pg_extern]` function it borrows from the call. To read a datum elsewhere (a heap tuple, an
/// order-by argument), use [`Value::from_datum`] and keep the value for as long as its parts are needed: a copy that
/// detoasting made is freed when it is dropped.
pub(crate) struct Value<'a, L> {
    memory: Varlena<'a>,
    layout: PhantomData<L>,
}

impl<'a, L: Layout> Value<'a, L> {
    /// Reads the value in `datum`, detoasting it when it is stored out of line or with a short header.
    ///
    /// # Errors
    /// `DataException` for a header that no value has. Detoasting raises PostgreSQL's own errors.
    ///
    /// # Safety
    /// `datum` is a non-null datum of the type (or one with the same layout), unchanged during `'a`.
    #[inline]
    pub(crate) unsafe fn from_datum(datum: pg_sys::Datum) -> Result<Self> {
        // SAFETY: the type is an int-aligned varlena, and the caller vouches for the datum.
        let memory = unsafe { Varlena::detoast(datum) };
        L::check(memory.payload())?;
        Ok(Self::over(memory))
    }

    /// The bytes after the length word.
    #[inline]
    pub(super) fn payload(&self) -> &[u8] {
        self.memory.payload()
    }

    /// The datum, which is valid as long as this value.
    pub(crate) fn as_datum(&self) -> pg_sys::Datum {
        self.memory.as_datum()
    }

    /// The same value to be changed and returned: in place where `call` allows that, else as a copy.
    pub(crate) fn into_builder(self, call: &AggregateCall) -> ValueBuilder<L> {
        match self.memory.into_writable(call) {
            Ok(memory) => ValueBuilder {
                memory,
                layout: PhantomData,
            },
            Err(memory) => {
                let mut copy = ValueBuilder::zeroed(memory.payload().len());
                copy.payload_mut().copy_from_slice(memory.payload());
                copy
            }
        }
    }

    fn over(memory: Varlena<'a>) -> Self {
        Self {
            memory,
            layout: PhantomData,
        }
    }
}

/// A value being built, in the memory that becomes the datum.
pub(crate) struct ValueBuilder<L> {
    memory: VarlenaBuilder,
    layout: PhantomData<L>,
}

impl<L: Layout> ValueBuilder<L> {
    /// Allocates zeroed bytes after the length word, in the current memory context; the caller makes a value of them.
    pub(super) fn zeroed(payload_bytes: usize) -> Self {
        Self {
            memory: VarlenaBuilder::zeroed(payload_bytes),
            layout: PhantomData,
        }
    }

    /// The bytes after the length word.
    #[inline]
    pub(super) fn payload(&self) -> &[u8] {
        self.memory.payload()
    }

    /// The bytes after the length word, to be written.
    #[inline]
    pub(super) fn payload_mut(&mut self) -> &mut [u8] {
        self.memory.payload_mut()
    }

    /// The value as it is now, to be read.
    pub(crate) fn as_value(&self) -> Value<'_, L> {
        Value::over(self.memory.as_varlena())
    }
}

// SAFETY: reads the argument as what the SQL declaration says it is, a value of the layout's type.
unsafe impl<'fcx, L: Layout> ArgAbi<'fcx> for Value<'fcx, L> {
    #[inline]
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: the datum is of the declared type and lives as long as the call.
        unsafe { arg.unbox_arg_using_from_datum() }
            .unwrap_or_else(|| panic!("argument {index} of a strict function is null"))
    }
}

impl<L: Layout> FromDatum for Value<'_, L> {
    #[inline]
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller vouches for a value that outlives this one.
        (!is_null).then(|| unsafe { Value::from_datum(datum) }.or_raise())
    }
}

// SAFETY: the result borrows from the datum's memory for exactly its lifetime.
unsafe impl<L: Layout + 'static> UnboxDatum for Value<'_, L> {
    type As<'src>
        = Value<'src, L>
    where
        Self: 'src;

    #[inline]
    unsafe fn unbox<'src>(datum: Datum<'src>) -> Value<'src, L>
    where
        Self: 'src,
    {
        // SAFETY: the caller vouches for a value of the type.
        unsafe { Value::from_datum(datum.sans_lifetime()) }.or_raise()
    }
}

// SAFETY: returns a datum of the type that the SQL declaration names.
unsafe impl<L: Layout> BoxRet for Value<'_, L> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the memory lives until the caller's context is reset.
        unsafe { fcinfo.return_raw_datum(self.memory.into_datum()) }
    }
}

// SAFETY: returns a datum of the type that the SQL declaration names.
unsafe impl<L: Layout> BoxRet for ValueBuilder<L> {
    #[inline]
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: a finished datum in the caller's memory context.
        unsafe { fcinfo.return_raw_datum(self.memory.into_datum()) }
    }
}

impl<L: Layout> IntoDatum for Value<'_, L> {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.memory.into_datum())
    }

    fn type_oid() -> pg_sys::Oid {
        type_oid(L::NAME)
    }
}

impl<L: Layout> IntoDatum for ValueBuilder<L> {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.memory.into_datum())
    }

    fn type_oid() -> pg_sys::Oid {
        type_oid(L::NAME)
    }
}

/// The OID of the type of that name on the current search path; `InvalidOid` when there is none.
fn type_oid(name: &str) -> pg_sys::Oid {
    let name = CString::new(name).expect("a type's name holds no NUL");
    // SAFETY: a NUL-terminated name.
    unsafe { pg_sys::TypenameGetTypid(name.as_ptr()) }
}

// SAFETY: the SQL type of that name.
unsafe impl<L: Layout> SqlTranslatable for Value<'_, L> {
    const TYPE_IDENT: &'static str = L::NAME;
    // External: no pgrx macro creates it, so there is nothing for pgrx to order by.
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal(L::NAME));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal(L::NAME)));
}

// SAFETY: the SQL type of that name.
unsafe impl<L: Layout> SqlTranslatable for ValueBuilder<L> {
    const TYPE_IDENT: &'static str = L::NAME;
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal(L::NAME));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal(L::NAME)));
}
