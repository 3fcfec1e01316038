//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

pub(crate) mod search;
