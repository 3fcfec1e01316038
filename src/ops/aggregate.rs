//! The functions behind `avg(vector)` and `avg(halfvec)`: sums are kept in double precision, in place.

use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::vector::{DenseElement, algebra, check_elements, check_expected_dims, checked_nearest};
use vectorgpu_core::vector_type::VectorType;

use crate::error::OrRaise;
use crate::types::array::ArrayArgument;
use crate::types::state::{State, StateBuilder};
use crate::types::varlena::AggregateCall;
use crate::types::vector::{DenseBuilder, HalfVector, HalfVectorBuilder, Vector, VectorBuilder};

/// `vector_accum(double precision[], vector) -> double precision[]`: adds one row to the state.
#[pg_extern(sql = false)]
fn vector_accum(state: ArrayArgument<'_>, row: Vector<'_>, call: AggregateCall) -> StateBuilder {
    accumulate(state, row.elements(), &call, "vector_accum").or_raise()
}

/// `halfvec_accum(double precision[], halfvec) -> double precision[]`: adds one row to the state.
#[pg_extern(sql = false)]
fn halfvec_accum(state: ArrayArgument<'_>, row: HalfVector<'_>, call: AggregateCall) -> StateBuilder {
    accumulate(state, row.elements(), &call, "halfvec_accum").or_raise()
}

fn accumulate<T: DenseElement>(
    state: ArrayArgument<'_>,
    row: &[T],
    call: &AggregateCall,
    caller: &str,
) -> Result<StateBuilder> {
    let state = State::from_array(state, caller)?;
    let count = state.count() + 1.0;
    let mut next = if state.sums().is_empty() {
        // Copied, not added to zeros, so that a negative zero stays one.
        let mut sums = StateBuilder::zeros(row.len());
        T::visit(row, |first, values| {
            let sums = sums.sums_mut()[first..].iter_mut();
            sums.zip(values).for_each(|(sum, &value)| *sum = f64::from(value));
        });
        sums
    } else {
        check_expected_dims(state.sums().len(), row.len())?;
        let mut sums = state.into_builder(call);
        algebra::accumulate(sums.sums_mut(), row)?;
        sums
    };
    *next.count_mut() = count;
    Ok(next)
}

/// `vector_combine(double precision[], double precision[]) -> double precision[]`, and `halfvec_combine`: adds two states.
#[pg_extern(sql = false)]
fn vector_combine(a: ArrayArgument<'_>, b: ArrayArgument<'_>, call: AggregateCall) -> StateBuilder {
    combine(a, b, &call).or_raise()
}

fn combine(a: ArrayArgument<'_>, b: ArrayArgument<'_>, call: &AggregateCall) -> Result<StateBuilder> {
    let a = State::from_array(a, "vector_combine")?;
    let b = State::from_array(b, "vector_combine")?;
    let count = a.count() + b.count();
    let dims = a.sums().len().max(b.sums().len());
    if dims > 0 {
        VectorType::Vector.check_dims(dims)?;
    }
    let mut both = match (a.sums(), b.sums()) {
        ([], sums) => StateBuilder::from_sums(sums.iter().copied()),
        (_, []) => a.into_builder(call),
        (_, sums) => {
            let mut both = a.into_builder(call);
            algebra::combine(both.sums_mut(), sums)?;
            both
        }
    };
    *both.count_mut() = count;
    Ok(both)
}

/// `vector_avg(double precision[]) -> vector`: NULL when there was no row.
#[pg_extern(sql = false)]
fn vector_avg(state: ArrayArgument<'_>) -> Option<VectorBuilder> {
    average(state, "vector_avg").or_raise()
}

/// `halfvec_avg(double precision[]) -> halfvec`: NULL when there was no row.
#[pg_extern(sql = false)]
fn halfvec_avg(state: ArrayArgument<'_>) -> Option<HalfVectorBuilder> {
    average(state, "halfvec_avg").or_raise()
}

fn average<T: DenseElement>(state: ArrayArgument<'_>, caller: &str) -> Result<Option<DenseBuilder<T>>> {
    let state = State::from_array(state, caller)?;
    if state.count() == 0.0 {
        return Ok(None);
    }
    T::TYPE.check_dims(state.sums().len())?;
    let mut mean = DenseBuilder::zeros(state.sums().len());
    for (element, sum) in mean.iter_mut().zip(state.sums()) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounds; what becomes infinite is refused"
        )]
        let quotient = (sum / state.count()) as f32;
        *element = checked_nearest(quotient)?;
    }
    check_elements(&mean)?;
    Ok(Some(mean))
}
