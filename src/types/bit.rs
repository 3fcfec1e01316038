//! Values of PostgreSQL's type `bit(n)`, for results only.
//!
//! Layout: int32 length word, int32 number of bits, then the bits from the highest of the first byte on; padding bits
//! are zero. Source: PostgreSQL's utils/varbit.h.
#![expect(
    unsafe_code,
    reason = "implements pgrx's unsafe traits for values at the SQL boundary"
)]

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use super::varlena::VarlenaBuilder;

/// Bytes of the number of bits, after the length word.
const HEADER_BYTES: usize = 4;

/// A `bit(n)` being built.
pub(crate) struct BitBuilder {
    memory: VarlenaBuilder,
}

impl BitBuilder {
    /// Allocates `count` zero bits in the current memory context.
    pub(crate) fn zeros(count: usize) -> Self {
        let mut memory = VarlenaBuilder::zeroed(HEADER_BYTES + count.div_ceil(8));
        let count = i32::try_from(count).expect("fewer bits than a datum holds");
        memory.payload_mut()[..HEADER_BYTES].copy_from_slice(&count.to_ne_bytes());
        Self { memory }
    }

    /// The bits, eight to a byte; the caller leaves padding bits zero.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory.payload_mut()[HEADER_BYTES..]
    }
}

// SAFETY: returns a datum of the type that the SQL declaration names.
unsafe impl BoxRet for BitBuilder {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: a finished datum in the caller's memory context.
        unsafe { fcinfo.return_raw_datum(self.memory.into_datum()) }
    }
}

// SAFETY: the built-in SQL type of the same layout.
unsafe impl SqlTranslatable for BitBuilder {
    const TYPE_IDENT: &'static str = "bit";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("bit"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("bit")));
}
