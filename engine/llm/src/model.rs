//! Models: a file for each architecture.

pub mod bert;
pub mod llama;
mod parameters;
mod rope;

pub use parameters::Parameters;
pub use rope::RopeScaling;
