//! Which tensors a file has, and where.

use std::collections::HashSet;
use std::io::Read;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::{corrupt, strings};
use crate::format::Bounded;
use crate::tensor::{DType, MAX_TENSOR_DIMS, Shape};

/// Longest name of a tensor.
const MAX_NAME_BYTES: u64 = 256;
/// Bytes of the shortest entry: name length, number of dimensions, one dimension, type, offset.
const ENTRY_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the file.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// Outermost dimension first: the file has them the other way round.
    pub shape: Shape,
    /// Its first byte, counted from `Gguf::data_start`.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Reads the entries of `count` tensors.
pub(super) fn read<R: Read>(file: &mut Bounded<R>, count: usize) -> Result<Vec<TensorInfo>> {
    file.expect(count as u64, ENTRY_BYTES)?;
    let mut names = HashSet::new();
    let mut tensors = Vec::with_capacity(count);
    for _ in 0..count {
        let tensor = read_one(file)?;
        if !names.insert(tensor.name.clone()) {
            return Err(corrupt(format!("the file has two tensors \"{}\"", tensor.name)));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn read_one<R: Read>(file: &mut Bounded<R>) -> Result<TensorInfo> {
    let name = strings::name(file, MAX_NAME_BYTES)?;
    let dims_count = file.u32()? as usize;
    if !(1..=MAX_TENSOR_DIMS).contains(&dims_count) {
        return Err(corrupt(format!("tensor \"{name}\" has {dims_count} dimensions")));
    }
    let mut dims = [1; MAX_TENSOR_DIMS];
    for dim in dims[..dims_count].iter_mut().rev() {
        *dim =
            usize::try_from(file.u64()?).map_err(|_| corrupt(format!("tensor \"{name}\" is too large")))?;
    }
    let of_this = |error: Error| Error::new(error.kind(), format!("tensor \"{name}\": {}", error.message()));
    let shape = Shape::new(&dims[..dims_count]).map_err(of_this)?;
    let dtype = DType::from_gguf_number(file.u32()?).map_err(|unknown| match unknown.name() {
        Some(of_type) => Error::new(
            ErrorKind::Unsupported,
            format!("tensor \"{name}\" is of type {of_type}, which is not supported"),
        )
        .with_hint("Use a file with F32, F16, BF16, Q4_0 to Q8_0 or Q2_K to Q6_K tensors."),
        None => corrupt(format!("tensor \"{name}\" is of unknown type {}", unknown.0)),
    })?;
    let offset = file.u64()?;
    let bytes = shape.bytes(dtype).map_err(of_this)? as u64;
    Ok(TensorInfo {
        name,
        dtype,
        shape,
        offset,
        bytes,
    })
}

/// Checks that every tensor lies inside the `data_bytes` behind the header, aligned, and apart from all others.
pub(super) fn check_places(tensors: &[TensorInfo], alignment: u32, data_bytes: u64) -> Result<()> {
    let mut places: Vec<&TensorInfo> = tensors.iter().collect();
    places.sort_by_key(|tensor| tensor.offset);
    let mut free_from = 0;
    for tensor in places {
        let name = &tensor.name;
        if !tensor.offset.is_multiple_of(u64::from(alignment)) {
            return Err(corrupt(format!(
                "tensor \"{name}\" begins at byte {}, which is no multiple of {alignment}",
                tensor.offset
            )));
        }
        if tensor.offset < free_from {
            return Err(corrupt(format!("tensor \"{name}\" overlaps another one")));
        }
        free_from = tensor
            .offset
            .checked_add(tensor.bytes)
            .filter(|end| *end <= data_bytes)
            .ok_or_else(|| {
                corrupt(format!(
                    "tensor \"{name}\" of {} bytes at byte {} does not fit the {data_bytes} bytes of data in the file",
                    tensor.bytes, tensor.offset
                ))
            })?;
    }
    Ok(())
}
