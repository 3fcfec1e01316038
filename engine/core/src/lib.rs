//! The part of vectorgpu that has never heard of PostgreSQL or of a GPU.
//!
//! Distances, the text and wire formats of the vector types, k-means and the page algorithms of the IVF index. Algorithms are
//! written against two small traits: [`backend::Backend`] (the arithmetic: CPU here, GPU in `vectorgpu-compute`) and
//! [`ivf::store::PageStore`] (pages: PostgreSQL's in the root crate, an in-memory one for tests).
//! Nothing here does I/O or raises a PostgreSQL error, and only [`crew`] starts threads, where a caller allows some.

pub mod backend;
pub mod blocks;
mod comparison;
pub mod cpu;
pub mod crew;
pub mod distance;
pub mod error;
pub mod estimate;
pub mod exact;
pub mod ivf;
pub mod kmeans;
pub mod limits;
pub mod metric;
pub mod quantize;
pub mod random;
pub mod sample;
pub mod sparse;
pub mod vector;
pub mod vector_type;

#[cfg(test)]
mod property;

pub use error::{Error, ErrorKind, Result};
