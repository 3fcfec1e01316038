//! Variable-length datums: borrowed and detoasted, or being built.
//!
//! The raw pointers of all types stay in here. Must not know what the bytes mean. Invariant: the pointer is 4-byte
//! aligned (8 where PostgreSQL allocated it) and its plain length word covers `LENGTH_BYTES + payload`.
//! Source: PostgreSQL's postgres.h (varattrib_4b) and fmgr.h (PG_DETOAST_DATUM, PG_FREE_IF_COPY).
#![expect(unsafe_code, reason = "reads and allocates memory that PostgreSQL manages")]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::varlena::{
    set_varsize_4b, varatt_is_1b_e, varatt_is_4b_u, varsize_4b, vartag_external, vartag_is_expanded,
};

/// Bytes of the length word.
pub(crate) const LENGTH_BYTES: usize = 4;

/// A datum with a plain 4-byte header, detoasted if it was not so; a copy made for that is freed on drop.
///
/// `'a` is the lifetime of the memory that holds the datum: for a function's argument, the call.
pub(crate) struct Varlena<'a> {
    start: NonNull<pg_sys::varlena>,
    is_copy: bool,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Varlena<'a> {
    /// Detoasts `datum`.
    ///
    /// # Safety
    /// `datum` is a valid, non-null varlena of a type with int or double alignment, unchanged during `'a`, or
    /// changed by nobody but the holder of this value.
    #[inline]
    pub(crate) unsafe fn detoast(datum: pg_sys::Datum) -> Self {
        let given = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the caller vouches for a varlena; every varlena has a first byte to look at.
        if unsafe { varatt_is_4b_u(given) } {
            // SAFETY: a valid datum is not null.
            let start = unsafe { NonNull::new_unchecked(given) };
            return Self {
                start,
                is_copy: false,
                memory: PhantomData,
            };
        }
        // SAFETY: a valid varlena; the result is one with a plain header, allocated in the current context.
        let plain = unsafe { pg_sys::pg_detoast_datum(given) };
        let start = NonNull::new(plain).expect("pg_detoast_datum does not return null");
        Self {
            start,
            is_copy: plain != given,
            memory: PhantomData,
        }
    }

    /// As [`Self::detoast`] of an array, but one that PostgreSQL keeps expanded, as the variables of PL/pgSQL are, is not copied where
    /// its flat form is there, too.
    ///
    /// # Safety
    /// As [`Self::detoast`], of an array.
    pub(crate) unsafe fn detoast_array(datum: pg_sys::Datum) -> Self {
        // SAFETY: as the caller's.
        match unsafe { flat_form(datum) } {
            Some(start) => Self {
                start,
                is_copy: false,
                memory: PhantomData,
            },
            // SAFETY: as the caller's.
            None => unsafe { Self::detoast(datum) },
        }
    }

    /// The bytes after the length word.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        // SAFETY: a plain header by construction.
        let payload = unsafe { payload(self.start) };
        // SAFETY: the length word covers the payload, and nobody else changes it during 'a.
        unsafe { payload.as_ref() }
    }

    /// The datum as a value to change and return where that is allowed: for a private copy, and for the state of an
    /// aggregate. `self` back where it is not.
    pub(crate) fn into_writable(self, call: &AggregateCall) -> Result<VarlenaBuilder, Self> {
        if self.is_copy || call.state == Some(self.start) {
            return Ok(VarlenaBuilder {
                start: ManuallyDrop::new(self).start,
            });
        }
        Err(self)
    }

    /// The datum, which is valid as long as this value.
    pub(crate) fn as_datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.start.as_ptr())
    }

    /// Gives up the borrow: the datum, in memory that lives on until its context is reset.
    pub(crate) fn into_datum(self) -> pg_sys::Datum {
        pg_sys::Datum::from(ManuallyDrop::new(self).start.as_ptr())
    }
}

/// The flat form of an expanded array, which PostgreSQL keeps until the array is changed; `None` where there is none, or `datum`
/// is not an expanded array. Source: utils/array.h.
///
/// # Safety
/// As [`Varlena::detoast_array`].
unsafe fn flat_form(datum: pg_sys::Datum) -> Option<NonNull<pg_sys::varlena>> {
    let given = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: the caller vouches for a varlena.
    if !unsafe { varatt_is_1b_e(given) } {
        return None;
    }
    // SAFETY: a pointer to something external has a tag.
    let tag = u32::from(unsafe { vartag_external(given) });
    // SAFETY: looks at the number only.
    if !unsafe { vartag_is_expanded(tag) } {
        return None;
    }
    // SAFETY: the tag says that it is an expanded object.
    let expanded = unsafe { pg_sys::DatumGetEOHP(datum) }.cast::<pg_sys::ExpandedArrayHeader>();
    // SAFETY: of the declared type, an array, whose header says which kind of object it is.
    let (magic, flat) = unsafe { ((*expanded).ea_magic, (*expanded).fvalue) };
    let is_array = magic.cast_unsigned() == pg_sys::EA_MAGIC;
    NonNull::new(flat.cast()).filter(|_| is_array)
}

impl Drop for Varlena<'_> {
    #[inline]
    fn drop(&mut self) {
        // Freed at once, because a sort compares more values in one memory context than it could hold. Not while
        // unwinding: the context is about to be reset, and freeing must not get in the way of the first error.
        if self.is_copy && !std::thread::panicking() {
            // SAFETY: the copy is ours, made by pg_detoast_datum with palloc, and nothing borrows from it any more.
            unsafe { pg_sys::pfree(self.start.as_ptr().cast()) }
        }
    }
}

/// A virtual argument that says whether the function runs as part of an aggregate, whose state it may then change.
///
/// The executor lets a transition or combine function modify its argument 0 in place, as `float8_accum` does.
pub(crate) struct AggregateCall {
    state: Option<NonNull<pg_sys::varlena>>,
}

// SAFETY: reads the call that the argument belongs to, and no argument but a by-reference argument 0.
unsafe impl<'fcx> ArgAbi<'fcx> for AggregateCall {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: every call has its call info.
        let call = unsafe { arg.unbox_unchecked::<pg_sys::FunctionCallInfo>() };
        // SAFETY: a valid call; a null second argument is allowed.
        let is_aggregate = unsafe { pg_sys::AggCheckCallContext(call, std::ptr::null_mut()) } != 0;
        // SAFETY: as above; used only with functions of at least one argument, the state.
        let first = unsafe { pgrx::fcinfo::pg_getarg_datum_raw(call, 0) };
        Self {
            state: NonNull::new(first.cast_mut_ptr()).filter(|_| is_aggregate),
        }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: not an argument in SQL.
unsafe impl SqlTranslatable for AggregateCall {
    const TYPE_IDENT: &'static str = "vectorgpu_aggregate_call";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}

/// A new datum in the current memory context, which frees it; nothing happens on drop.
pub(crate) struct VarlenaBuilder {
    start: NonNull<pg_sys::varlena>,
}

impl VarlenaBuilder {
    /// Allocates a datum of `payload_bytes` zero bytes behind its length word.
    ///
    /// Raises 54000 (palloc's own limit, just below 1 GiB) or 53200 through PostgreSQL.
    pub(crate) fn zeroed(payload_bytes: usize) -> Self {
        let bytes = payload_bytes + LENGTH_BYTES;
        // SAFETY: any size is allowed; one beyond the limit is refused by an ERROR.
        let memory = unsafe { pg_sys::palloc0(bytes) };
        let start = NonNull::new(memory.cast::<pg_sys::varlena>()).expect("palloc0 does not return null");
        let length = i32::try_from(bytes).expect("palloc0 refuses 1 GiB and more");
        // SAFETY: freshly allocated with room for the length word.
        unsafe { set_varsize_4b(start.as_ptr(), length) };
        Self { start }
    }

    /// The bytes after the length word.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        // SAFETY: a plain header by construction.
        let payload = unsafe { payload(self.start) };
        // SAFETY: the length word covers the payload, and `self` is the only way to it.
        unsafe { payload.as_ref() }
    }

    /// The bytes after the length word, to be written.
    #[inline]
    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        // SAFETY: a plain header by construction.
        let mut payload = unsafe { payload(self.start) };
        // SAFETY: the length word covers the payload, and `self` is the only way to it.
        unsafe { payload.as_mut() }
    }

    /// The datum as it is now, to be read.
    pub(crate) fn as_varlena(&self) -> Varlena<'_> {
        Varlena {
            start: self.start,
            is_copy: false,
            memory: PhantomData,
        }
    }

    /// The finished datum.
    #[inline]
    pub(crate) fn into_datum(self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.start.as_ptr())
    }
}

/// The bytes that the length word at `start` covers, without that word.
///
/// # Safety
/// `start` is a varlena with a plain 4-byte header.
#[inline]
unsafe fn payload(start: NonNull<pg_sys::varlena>) -> NonNull<[u8]> {
    // SAFETY: a plain header, as the caller vouches.
    let bytes = unsafe { varsize_4b(start.as_ptr()) };
    // SAFETY: a plain varlena has at least its length word.
    let first = unsafe { start.cast::<u8>().add(LENGTH_BYTES) };
    NonNull::slice_from_raw_parts(first, bytes.saturating_sub(LENGTH_BYTES))
}
