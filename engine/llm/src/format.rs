//! Model files.

mod bounded;
pub mod gguf;
pub mod mmap;
mod model_file;

pub use bounded::Bounded;
pub use mmap::MappedFile;
pub use model_file::ModelFile;
