//! SQL functions beyond pgvector's surface; they live in the schema `vectorgpu`.

mod device;
mod index;
mod scan;
mod stats;
