//! Casts between `vector` and arrays, and to a type modifier.
//!
//! Each takes the target's type modifier and an explicit-cast flag that makes no difference.

use bytemuck::Pod;
use pgrx::array::FlatArray;
use pgrx::memcx::MemCx;
use pgrx::palloc::PBox;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, IntoDatum, pg_sys};
use vectorgpu_core::vector::{check_elements, check_typmod};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::array::ArrayArgument;
use super::vector::{Vector, VectorBuilder};
use crate::error::OrRaise;

/// `vector(vector, integer, boolean) -> vector`: checks the dimensions.
#[pg_extern(sql = false)]
fn vector_to_vector(vector: Vector<'_>, typmod: i32, _explicit: bool) -> Vector<'_> {
    check_typmod(typmod, vector.len()).or_raise();
    vector
}

/// `vector_to_float4(vector, integer, boolean) -> real[]`.
#[pg_extern(sql = false)]
fn vector_to_float4<'fcx>(
    vector: Vector<'fcx>,
    _typmod: i32,
    _explicit: bool,
    memory: &MemCx<'fcx>,
) -> PBox<'fcx, FlatArray<'fcx, f32>> {
    FlatArray::new_from_slice(&vector, memory)
        .map_err(|error| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("cannot allocate an array: {error:?}"),
            )
        })
        .or_raise()
}

/// `array_to_vector(integer[], integer, boolean) -> vector`.
#[pg_extern(sql = false)]
#[expect(
    clippy::cast_precision_loss,
    reason = "the nearest f32 is what the cast means"
)]
fn int4_array_to_vector(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> VectorBuilder {
    from_array(&array, typmod, |element: i32| element as f32).or_raise()
}

/// `array_to_vector(real[], integer, boolean) -> vector`.
#[pg_extern(sql = false)]
fn float4_array_to_vector(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> VectorBuilder {
    from_array(&array, typmod, |element: f32| element).or_raise()
}

/// `array_to_vector(double precision[], integer, boolean) -> vector`.
#[pg_extern(sql = false)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounds; what becomes infinite is refused"
)]
fn float8_array_to_vector(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> VectorBuilder {
    from_array(&array, typmod, |element: f64| element as f32).or_raise()
}

/// `array_to_vector(numeric[], integer, boolean) -> vector`.
#[pg_extern(sql = false)]
fn numeric_array_to_vector(array: ArrayArgument<'_>, typmod: i32, _explicit: bool) -> VectorBuilder {
    from_numeric_array(&array, typmod).or_raise()
}

fn from_array<T: Pod>(
    array: &ArrayArgument<'_>,
    typmod: i32,
    to_float4: impl Fn(T) -> f32,
) -> Result<VectorBuilder> {
    let mut vector = VectorBuilder::checked_zeros(array.dense_len()?, typmod)?;
    vector
        .iter_mut()
        .zip(array.values()?)
        .for_each(|(target, &element)| *target = to_float4(element));
    check_elements(&vector)?;
    Ok(vector)
}

fn from_numeric_array(array: &ArrayArgument<'_>, typmod: i32) -> Result<VectorBuilder> {
    let mut vector = VectorBuilder::checked_zeros(array.dense_len()?, typmod)?;
    #[expect(unsafe_code, reason = "an array says its element type only at run time")]
    // SAFETY: the only SQL function over this one takes numeric[].
    let numerics = unsafe { array.numerics() };
    vector
        .iter_mut()
        .zip(numerics.iter_deny_null())
        .for_each(|(target, element)| *target = to_float4(element));
    check_elements(&vector)?;
    Ok(vector)
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
