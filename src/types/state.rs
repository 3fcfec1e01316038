//! The running state of `avg(vector)`: a `float8[]` of the row count followed by the sum of each dimension.
//!
//! Invariant: one dimension, at least one element, no NULL; before the first row there are no sums.
#![expect(
    unsafe_code,
    reason = "implements pgrx's unsafe traits for values at the SQL boundary"
)]

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::array::{ArrayArgument, ELEMENTS_OFFSET};
use super::varlena::{AggregateCall, Varlena, VarlenaBuilder};

const VALUE_BYTES: usize = size_of::<f64>();

/// The state to be read.
pub(crate) struct State<'a> {
    memory: Varlena<'a>,
}

impl<'a> State<'a> {
    /// Takes `array` as a state.
    ///
    /// # Errors
    /// `Internal`, naming the `caller`, for an array that no transition function returns.
    pub(crate) fn from_array(array: ArrayArgument<'a>, caller: &str) -> Result<Self> {
        match array.into_exact(pg_sys::FLOAT8OID, VALUE_BYTES) {
            Some(memory) => Ok(Self { memory }),
            None => Err(Error::new(
                ErrorKind::Internal,
                format!("{caller}: expected state array"),
            )),
        }
    }

    /// Number of rows accumulated.
    pub(crate) fn count(&self) -> f64 {
        self.values()[0]
    }

    /// The sum of each dimension; empty before the first row.
    pub(crate) fn sums(&self) -> &[f64] {
        &self.values()[1..]
    }

    /// The same state to be changed and returned: in place where `call` allows that, else as a copy.
    pub(crate) fn into_builder(self, call: &AggregateCall) -> StateBuilder {
        match self.memory.into_writable(call) {
            Ok(memory) => StateBuilder { memory },
            Err(memory) => {
                let given = State { memory };
                let mut copy = StateBuilder::zeros(given.sums().len());
                copy.values_mut().copy_from_slice(given.values());
                copy
            }
        }
    }

    fn values(&self) -> &[f64] {
        bytemuck::cast_slice(&self.memory.payload()[ELEMENTS_OFFSET..])
    }
}

/// A state being built.
pub(crate) struct StateBuilder {
    memory: VarlenaBuilder,
}

impl StateBuilder {
    /// Allocates the state of no rows of `dims` dimensions in the current memory context.
    pub(crate) fn zeros(dims: usize) -> Self {
        let values = dims + 1;
        let mut memory = VarlenaBuilder::zeroed(ELEMENTS_OFFSET + values * VALUE_BYTES);
        let length = u32::try_from(values).expect("fewer values than a datum holds");
        let fields = [1, 0, pg_sys::FLOAT8OID.to_u32(), length, 1].map(u32::to_ne_bytes);
        memory.payload_mut()[..ELEMENTS_OFFSET].copy_from_slice(fields.as_flattened());
        Self { memory }
    }

    /// Allocates the state of no rows with these sums, which keep the sign of a zero.
    pub(crate) fn from_sums(sums: impl ExactSizeIterator<Item = f64>) -> Self {
        let mut state = Self::zeros(sums.len());
        state
            .sums_mut()
            .iter_mut()
            .zip(sums)
            .for_each(|(target, sum)| *target = sum);
        state
    }

    /// Number of rows accumulated.
    pub(crate) fn count_mut(&mut self) -> &mut f64 {
        &mut self.values_mut()[0]
    }

    /// The sum of each dimension.
    pub(crate) fn sums_mut(&mut self) -> &mut [f64] {
        &mut self.values_mut()[1..]
    }

    fn values_mut(&mut self) -> &mut [f64] {
        bytemuck::cast_slice_mut(&mut self.memory.payload_mut()[ELEMENTS_OFFSET..])
    }
}

// SAFETY: returns a datum of the type that the SQL declaration names.
unsafe impl BoxRet for StateBuilder {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: a finished datum in the caller's memory context.
        unsafe { fcinfo.return_raw_datum(self.memory.into_datum()) }
    }
}

// SAFETY: the built-in SQL type of the same layout.
unsafe impl SqlTranslatable for StateBuilder {
    const TYPE_IDENT: &'static str = "vectorgpu_state";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("double precision[]"));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("double precision[]")));
}
