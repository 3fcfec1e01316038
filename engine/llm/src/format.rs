//! Model files.

mod bounded;
pub mod gguf;

pub use bounded::Bounded;
