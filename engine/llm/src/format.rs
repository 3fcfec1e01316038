//! Model files.

mod bounded;
mod files;
mod folder;
pub mod gguf;
mod hugging_face;
pub mod mmap;
mod model_file;
mod safetensors;
#[cfg(test)]
mod scratch;
mod source;
mod storage;

pub use bounded::Bounded;
pub use files::{Files, open_model};
pub use folder::{FileRecord, Folder, Identity, VerifiedFile};
pub use hugging_face::description;
pub use mmap::MappedFile;
pub use model_file::ModelFile;
pub use safetensors::{Header, Index, SafeTensors};
pub use source::TensorSource;
