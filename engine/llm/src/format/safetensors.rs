//! Models as folders with safetensors files: `config.json` says what the model is, tensors lie in one file or in several that an index names.
//!
//! Headers are read by the crate `safetensors`, which checks that tensors fill the data without holes or overlaps; here, that the data fill
//! the file. The format promises no alignment, so bytes are never cast. Names in an index are names of files beside it, nothing else.

use std::collections::HashMap;
use std::io::Read;

use ::safetensors::Dtype;
use ::safetensors::tensor::Metadata as Tensors;
use serde::Deserialize;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::gguf::Metadata;
use super::hugging_face::{self, Names};
use super::storage::Storage;
use super::{Bounded, Files, TensorSource};
use crate::tensor::{DType, Shape, TensorView};

/// Longest header: one with 65,536 tensors has some 8 MiB.
const MAX_HEADER_BYTES: u64 = 32 << 20;
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Most files of one model: they are all open.
const MAX_FILES: usize = 512;
const ENDING: &str = ".safetensors";

/// A model in a folder.
#[derive(Debug)]
pub struct SafeTensors {
    description: Metadata,
    names: Names,
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    header: Header,
    storage: Storage,
}

/// The header of a file.
#[derive(Debug)]
pub struct Header {
    tensors: Tensors,
    data_start: u64,
}

/// Which file has which tensor.
#[derive(Debug, Deserialize)]
pub struct Index {
    weight_map: HashMap<String, String>,
}

impl SafeTensors {
    /// Opens the model in folder `path` of `files`.
    ///
    /// # Errors
    /// `InvalidArgument` for files that are missing or cannot be opened, `CorruptFile` for what contradicts itself or is not what was recorded,
    /// `Unsupported` for another kind of model, `LimitExceeded`, `OutOfMemory`.
    pub fn read(files: Files<'_>, path: &str) -> Result<Self> {
        let description = hugging_face::read_description(files, path)?;
        let names = Names::of(&description)?;
        let mut shards = Vec::new();
        for file in Self::files(files, path)? {
            if !file.ends_with(ENDING) {
                continue;
            }
            let storage = files.storage(&file)?;
            let header = Header::read(storage.reader(), storage.bytes())?;
            shards.push(Shard { header, storage });
        }
        Ok(Self {
            description,
            names,
            shards,
        })
    }

    /// The files of folder `path` that hold tensors, and their index.
    pub(super) fn files(files: Files<'_>, path: &str) -> Result<Vec<String>> {
        let within = |name: &str| format!("{path}/{name}");
        let one = within("model.safetensors");
        if files.has(&one) {
            return Ok(vec![one]);
        }
        let index = within("model.safetensors.index.json");
        if let Some(bytes) = files.small(&index, MAX_INDEX_BYTES)? {
            let mut paths = vec![index];
            paths.extend(Index::read(&bytes)?.files().into_iter().map(within));
            return Ok(paths);
        }
        match &files.names(path, ENDING)?[..] {
            [only] => Ok(vec![within(only)]),
            several => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "the model folder \"{path}\" has no model.safetensors, no index, and {} safetensors files",
                    several.len()
                ),
            )),
        }
    }
}

impl TensorSource for SafeTensors {
    fn description(&self) -> &Metadata {
        &self.description
    }

    fn pairs_are_adjacent(&self) -> bool {
        false
    }

    fn parameters(&self) -> u64 {
        let headers = self.shards.iter().map(|shard| &shard.header);
        let tensors = headers.flat_map(|header| header.names().into_iter().map(|name| header.tensor(&name)));
        // Tensors of whole numbers are no parameters; that they cannot be read does not matter.
        let shapes = tensors
            .flatten()
            .flatten()
            .map(|(_, shape, _)| shape.elements() as u64);
        shapes.sum()
    }

    fn optional(&self, name: &str) -> Result<Option<TensorView>> {
        for theirs in self.names.candidates(name) {
            for shard in &self.shards {
                if let Some((dtype, shape, start)) = shard.header.tensor(&theirs)? {
                    return shard.storage.tensor(name, start, dtype, shape).map(Some);
                }
            }
        }
        Ok(None)
    }
}

impl Header {
    /// Reads the header of a file of `length` bytes.
    ///
    /// # Errors
    /// `CorruptFile` for what no writer wrote, `LimitExceeded` for a header larger than any model's, `OutOfMemory`.
    pub fn read(source: impl Read, length: u64) -> Result<Self> {
        let mut file = Bounded::new(source, length);
        let header_bytes = file.u64()?;
        if header_bytes > MAX_HEADER_BYTES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("the file's header has {header_bytes} bytes, more than {MAX_HEADER_BYTES}"),
            ));
        }
        let header = file.bytes(header_bytes)?;
        let tensors: Tensors = serde_json::from_slice(&header).map_err(|error| {
            corrupt("the file's header cannot be".to_owned()).with_detail(error.to_string())
        })?;
        if tensors.data_len() as u64 != file.left() {
            return Err(corrupt(format!(
                "the file's tensors have {} bytes, and the file has {} for them",
                tensors.data_len(),
                file.left()
            )));
        }
        Ok(Self {
            tensors,
            data_start: file.position(),
        })
    }

    /// Names of the tensors, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.tensors.offset_keys()
    }

    /// How the tensor of this name is stored, and its first byte in the file.
    ///
    /// # Errors
    /// `Unsupported` for elements of a type that is not read, `CorruptFile` for a shape that no model's tensor has.
    pub fn tensor(&self, name: &str) -> Result<Option<(DType, Shape, u64)>> {
        let Some(info) = self.tensors.info(name) else {
            return Ok(None);
        };
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("tensor \"{name}\" is of type {other}, which is not supported"),
                )
                .with_hint("Use a model with F32, F16 or BF16 tensors."));
            }
        };
        let shape = Shape::new(&info.shape)
            .map_err(|error| corrupt(format!("tensor \"{name}\": {}", error.message())))?;
        Ok(Some((dtype, shape, self.data_start + info.data_offsets.0 as u64)))
    }
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// `CorruptFile` for what is no index, or names files elsewhere; `LimitExceeded` for too many files.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let index: Self = serde_json::from_slice(bytes).map_err(|error| {
            corrupt("the index of the model's files cannot be".to_owned()).with_detail(error.to_string())
        })?;
        let files = index.files();
        if let Some(elsewhere) = files.iter().find(|name| !is_base_name(name)) {
            return Err(corrupt(format!(
                "the index of the model's files names \"{}\"",
                elsewhere.escape_debug()
            )));
        }
        if files.is_empty() || files.len() > MAX_FILES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the model has {} files, not between 1 and {MAX_FILES}",
                    files.len()
                ),
            ));
        }
        Ok(index)
    }

    /// Names of the files, in order.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self.weight_map.values().map(String::as_str).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// Whether it is the name of a safetensors file, and no way to another folder.
fn is_base_name(name: &str) -> bool {
    let may = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    name.ends_with(ENDING) && !name.starts_with('.') && name.len() <= 255 && name.chars().all(may)
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::CorruptFile, message)
}

#[cfg(test)]
mod tests;
