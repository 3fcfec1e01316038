//! Casts from arrays of numbers to the vector types.
//!
//! Each takes the target's type modifier and an explicit-cast flag that makes no difference. Elements of any type become
//! `real` first, as PostgreSQL or C would round them.

use pgrx::prelude::*;
use pgrx::{AnyNumeric, IntoDatum, pg_sys};
use vectorgpu_core::Result;
use vectorgpu_core::sparse::SparseBuffer;
use vectorgpu_core::vector::{DenseElement, check_elements, check_typmod, checked_nearest};
use vectorgpu_core::vector_type::VectorType;

use super::array::ArrayArgument;
use super::sparse::SparseVectorBuilder;
use super::vector::{DenseBuilder, HalfVectorBuilder, VectorBuilder};
use crate::error::OrRaise;

/// The casts to one type: `array_to_T(integer[], integer, boolean) -> T`, and of `real[]`, `double precision[]` and
/// `numeric[]`.
macro_rules! array_casts {
    ($builder:ident, $build:ident: $int4:ident, $float4:ident, $float8:ident, $numeric:ident) => {
        #[pg_extern(sql = false)]
        fn $int4(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> $builder {
            $build(&array, typmod, || int4_values(&array)).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $float4(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> $builder {
            $build(&array, typmod, || float4_values(&array)).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $float8(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> $builder {
            $build(&array, typmod, || float8_values(&array)).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $numeric(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> $builder {
            $build(&array, typmod, || Ok(numeric_values(&array))).or_raise()
        }
    };
}

array_casts!(VectorBuilder, dense:
    int4_array_to_vector, float4_array_to_vector, float8_array_to_vector, numeric_array_to_vector);
array_casts!(HalfVectorBuilder, dense:
    int4_array_to_halfvec, float4_array_to_halfvec, float8_array_to_halfvec, numeric_array_to_halfvec);
array_casts!(SparseVectorBuilder, sparse:
    int4_array_to_sparsevec, float4_array_to_sparsevec, float8_array_to_sparsevec, numeric_array_to_sparsevec);

/// A dense vector of the array's values, which are asked for once its shape is known to be right.
fn dense<T: DenseElement, I: Iterator<Item = f32>>(
    array: &ArrayArgument<'_>,
    typmod: i32,
    values: impl FnOnce() -> Result<I>,
) -> Result<DenseBuilder<T>> {
    let mut vector = DenseBuilder::checked_zeros(array.dense_len()?, typmod)?;
    for (element, value) in vector.iter_mut().zip(values()?) {
        *element = checked_nearest(value)?;
    }
    check_elements(&vector)?;
    Ok(vector)
}

/// A sparse vector of the array's values that are not zero; else as [`dense`].
fn sparse<I: Iterator<Item = f32>>(
    array: &ArrayArgument<'_>,
    typmod: i32,
    values: impl FnOnce() -> Result<I>,
) -> Result<SparseVectorBuilder> {
    let dims = array.dense_len()?;
    VectorType::Sparsevec.check_dims(dims)?;
    check_typmod(typmod, dims)?;
    let vector = SparseBuffer::from_values(values()?)?;
    Ok(SparseVectorBuilder::from_sparse(vector.as_sparse()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the nearest f32 is what the cast means"
)]
fn int4_values<'a>(array: &'a ArrayArgument<'_>) -> Result<impl Iterator<Item = f32> + use<'a>> {
    Ok(array.values::<i32>()?.iter().map(|&value| value as f32))
}

fn float4_values<'a>(array: &'a ArrayArgument<'_>) -> Result<impl Iterator<Item = f32> + use<'a>> {
    Ok(array.values::<f32>()?.iter().copied())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounds; what becomes infinite is refused"
)]
fn float8_values<'a>(array: &'a ArrayArgument<'_>) -> Result<impl Iterator<Item = f32> + use<'a>> {
    Ok(array.values::<f64>()?.iter().map(|&value| value as f32))
}

/// One after the other, so that the first element that does not fit is the one that the error names.
fn numeric_values<'a>(array: &'a ArrayArgument<'_>) -> impl Iterator<Item = f32> + use<'a> {
    #[expect(unsafe_code, reason = "an array says its element type only at run time")]
    // SAFETY: the only SQL functions that lead here take numeric[].
    let numerics = unsafe { array.numerics() };
    // The array's shape has been checked, and with it that no element is NULL.
    numerics.into_iter().flatten().map(to_float4)
}

/// Converts as PostgreSQL casts `numeric` to `real`, with its error for what is out of range.
fn to_float4(number: AnyNumeric) -> f32 {
    let datum = number.into_datum();
    #[expect(
        unsafe_code,
        reason = "the conversion is a PostgreSQL function with a C interface"
    )]
    // SAFETY: a strict function of one numeric, which is given one.
    let converted = unsafe { pgrx::direct_function_call(pg_sys::numeric_float4, &[datum]) };
    converted.expect("a strict function of a non-null argument")
}
