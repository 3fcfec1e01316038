//! Keys and values of a file's header.

use std::collections::HashMap;
use std::io::Read;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::strings::{self, MAX_STRING_BYTES};
use super::{StringTable, corrupt};
use crate::format::Bounded;

/// Longest key.
const MAX_KEY_BYTES: u64 = 1024;
/// Bytes of the shortest entry: key length, type, a value.
const ENTRY_BYTES: u64 = 8 + 4 + 1;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An unsigned number of 8 bits.
    U8(u8),
    /// A signed number of 8 bits.
    I8(i8),
    /// An unsigned number of 16 bits.
    U16(u16),
    /// A signed number of 16 bits.
    I16(i16),
    /// An unsigned number of 32 bits.
    U32(u32),
    /// A signed number of 32 bits.
    I32(i32),
    /// A single-precision number.
    F32(f32),
    /// Yes or no.
    Bool(bool),
    /// Bytes that should be UTF-8.
    String(Vec<u8>),
    /// Values of one type.
    Array(Array),
    /// An unsigned number of 64 bits.
    U64(u64),
    /// A signed number of 64 bits.
    I64(i64),
    /// A double-precision number.
    F64(f64),
}

/// Values of one type. Arrays of arrays are refused: no model has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Numbers that are whole, whatever their size in the file.
    Integers(Vec<i64>),
    /// Numbers with a fraction.
    Floats(Vec<f32>),
    /// Yes or no.
    Bools(Vec<bool>),
    /// Strings.
    Strings(StringTable),
}

/// What a file says, by key.
#[derive(Debug, Default)]
pub struct Metadata {
    values: HashMap<String, Value>,
}

impl Metadata {
    /// Reads `count` entries.
    pub(super) fn read<R: Read>(file: &mut Bounded<R>, count: usize) -> Result<Self> {
        file.expect(count as u64, ENTRY_BYTES)?;
        let mut values = HashMap::with_capacity(count);
        for _ in 0..count {
            let key = strings::name(file, MAX_KEY_BYTES)?;
            let of_type = file.u32()?;
            let value = value(file, of_type, &key)?;
            if let Some(_twice) = values.insert(key.clone(), value) {
                return Err(corrupt(format!("the file has the key \"{key}\" twice")));
            }
        }
        Ok(Self { values })
    }

    /// Says `value` of `key`, whatever was said before: for descriptions that another format has.
    pub(in crate::format) fn set(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), value);
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A whole number of any size; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value that is no whole number, or negative.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::U8(number)) => Some(u64::from(*number)),
            Some(Value::U16(number)) => Some(u64::from(*number)),
            Some(Value::U32(number)) => Some(u64::from(*number)),
            Some(Value::U64(number)) => Some(*number),
            Some(Value::I8(number)) => u64::try_from(*number).ok(),
            Some(Value::I16(number)) => u64::try_from(*number).ok(),
            Some(Value::I32(number)) => u64::try_from(*number).ok(),
            Some(Value::I64(number)) => u64::try_from(*number).ok(),
            Some(_) => None,
        };
        number
            .map(Some)
            .ok_or_else(|| corrupt(format!("\"{key}\" is not a whole number")))
    }

    /// A number with a fraction; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value that is no finite number.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "parameters are single-precision numbers"
    )]
    pub fn float(&self, key: &str) -> Result<Option<f32>> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::F32(number)) => Some(*number),
            Some(Value::F64(number)) => Some(*number as f32),
            Some(_) => None,
        };
        number
            .filter(|number| number.is_finite())
            .map(Some)
            .ok_or_else(|| corrupt(format!("\"{key}\" is not a finite number")))
    }

    /// Yes or no; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value of another type.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(corrupt(format!("\"{key}\" is neither true nor false"))),
        }
    }

    /// A text; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value of another type, or bytes that are not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(bytes)) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|_| corrupt(format!("\"{key}\" is not UTF-8"))),
            Some(_) => Err(corrupt(format!("\"{key}\" is not a text"))),
        }
    }

    /// Strings; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value of another type.
    pub fn strings(&self, key: &str) -> Result<Option<&StringTable>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Strings(strings))) => Ok(Some(strings)),
            Some(_) => Err(corrupt(format!("\"{key}\" is not an array of strings"))),
        }
    }

    /// Whole numbers; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value of another type.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Integers(numbers))) => Ok(Some(numbers)),
            Some(_) => Err(corrupt(format!("\"{key}\" is not an array of whole numbers"))),
        }
    }

    /// Numbers with fractions; `None` where the key is not there.
    ///
    /// # Errors
    /// `CorruptFile` for a value of another type.
    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Floats(numbers))) => Ok(Some(numbers)),
            Some(_) => Err(corrupt(format!("\"{key}\" is not an array of numbers"))),
        }
    }
}

fn value<R: Read>(file: &mut Bounded<R>, of_type: u32, key: &str) -> Result<Value> {
    Ok(match of_type {
        0 => Value::U8(u8::from_le_bytes(file.array()?)),
        1 => Value::I8(i8::from_le_bytes(file.array()?)),
        2 => Value::U16(u16::from_le_bytes(file.array()?)),
        3 => Value::I16(i16::from_le_bytes(file.array()?)),
        4 => Value::U32(file.u32()?),
        5 => Value::I32(i32::from_le_bytes(file.array()?)),
        6 => Value::F32(f32::from_le_bytes(file.array()?)),
        7 => Value::Bool(boolean(file, key)?),
        8 => Value::String(strings::string(file, MAX_STRING_BYTES)?),
        9 => Value::Array(array(file, key)?),
        10 => Value::U64(file.u64()?),
        11 => Value::I64(i64::from_le_bytes(file.array()?)),
        12 => Value::F64(f64::from_le_bytes(file.array()?)),
        _ => return Err(corrupt(format!("\"{key}\" is of unknown type {of_type}"))),
    })
}

fn boolean<R: Read>(file: &mut Bounded<R>, key: &str) -> Result<bool> {
    match file.array::<1>()? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(corrupt(format!("\"{key}\" is {other}, neither true nor false"))),
    }
}

fn array<R: Read>(file: &mut Bounded<R>, key: &str) -> Result<Array> {
    let of_type = file.u32()?;
    let count = file.u64()?;
    Ok(match of_type {
        0 => integers(file, count, |bytes| i64::from(u8::from_le_bytes(bytes)))?,
        1 => integers(file, count, |bytes| i64::from(i8::from_le_bytes(bytes)))?,
        2 => integers(file, count, |bytes| i64::from(u16::from_le_bytes(bytes)))?,
        3 => integers(file, count, |bytes| i64::from(i16::from_le_bytes(bytes)))?,
        4 => integers(file, count, |bytes| i64::from(u32::from_le_bytes(bytes)))?,
        5 => integers(file, count, |bytes| i64::from(i32::from_le_bytes(bytes)))?,
        // Numbers beyond what a model can have become the largest.
        10 => integers(file, count, |bytes| {
            i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(i64::MAX)
        })?,
        11 => integers(file, count, i64::from_le_bytes)?,
        6 => Array::Floats(values(file, count, f32::from_le_bytes)?),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "scores are single-precision numbers"
        )]
        12 => Array::Floats(values(file, count, |bytes| f64::from_le_bytes(bytes) as f32)?),
        7 => Array::Bools(values(file, count, |[byte]: [u8; 1]| byte != 0)?),
        8 => Array::Strings(StringTable::read(file, count)?),
        9 => return Err(corrupt(format!("\"{key}\" is an array of arrays"))),
        _ => {
            return Err(corrupt(format!(
                "\"{key}\" is an array of unknown type {of_type}"
            )));
        }
    })
}

fn integers<R: Read, const N: usize>(
    file: &mut Bounded<R>,
    count: u64,
    read: impl Fn([u8; N]) -> i64,
) -> Result<Array> {
    values(file, count, read).map(Array::Integers)
}

fn values<R: Read, T, const N: usize>(
    file: &mut Bounded<R>,
    count: u64,
    read: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>> {
    let count = file.expect(count, N as u64)?;
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|error| {
        Error::new(ErrorKind::OutOfMemory, "no memory to read a model file").with_detail(error.to_string())
    })?;
    for _ in 0..count {
        values.push(read(file.array()?));
    }
    Ok(values)
}
